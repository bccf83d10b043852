//! The flow ingest → persist → enrich: the ingest run, the one consume loop and the steps it runs. Knows ports, no engine.

pub mod mime;
pub mod stop;
