//! Everything that parses files from outside: the parsers, the sandboxed child process they run in, and the recognition of
//! media types by content. Knows `mfctl_core::domain` and no port.

pub mod child;
mod guards;
pub mod mime;
pub mod parsers;
pub mod sandbox;
