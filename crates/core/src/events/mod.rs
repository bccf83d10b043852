//! Events on the log: their schemas, the codec that writes and reads them, and the contract's topics.
//!
//! Stands between `ports` and those who write or follow events (`pipeline`, `dlq`, `ops`); knows no engine.

mod codec;
pub mod dead_letters;
pub mod ledger;
pub mod pager;
pub mod schemas;
pub mod topics;
pub mod validator;

pub use codec::{DecodeError, EventCodec, validate};
