//! The flow ingest → persist → enrich: the ingest run, the consume loop and the steps it runs. Uses ports, no backend.

pub mod enrich;
pub mod follow;
pub mod ingest;
pub(crate) mod partition_ends;
pub mod persist;
pub mod scratch;
pub mod store_check;
pub mod withdrawal;
pub mod worker;
