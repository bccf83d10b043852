//! The command line: one file per verb (a folder per noun). Parses, picks the target, calls the layers below and prints through `output`.

pub mod failure;
pub mod globals;
pub mod guard;
pub mod output;
pub mod target;
