//! Parses untrusted files: the parsers, the sandboxed child process that they run in, and the detection of media types by
//! content. Uses `mfctl_core::domain` and no port.

mod charset;
pub mod child;
mod guards;
pub mod mime;
pub mod parsers;
mod sample;
pub mod sandbox;
