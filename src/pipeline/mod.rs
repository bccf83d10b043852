//! The flow ingest → persist → enrich: the ingest run, the one consume loop and the steps it runs. Knows ports, no engine.

pub mod enrich;
pub mod follow;
pub mod ingest;
pub mod live;
pub mod persist;
pub mod worker;
