//! Events on the log: schemas, codec, topics, the redrive ledger and dead-letter counts.
//!
//! Between `ports` and the modules that write or read events (`pipeline`, `dlq`, `ops`); independent of any backend.

mod codec;
pub mod dead_letters;
pub mod ledger;
pub mod pager;
pub mod schemas;
pub mod topics;
pub mod validator;

pub use codec::{DecodeError, EventCodec, validate};
