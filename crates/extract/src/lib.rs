//! Parses untrusted files: the parsers, the sandboxed child process that they run in, and the detection of media types by
//! content. Uses `mfctl_core::domain` and no port.

mod charset;
pub mod child;
mod fork_server;
mod guards;
pub mod mime;
mod parser_process;
pub mod parsers;
mod sample;
pub mod sandbox;
