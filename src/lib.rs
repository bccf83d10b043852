//! mfctl: bulk ingest, pipeline workers, dead-letter redrive and a live view of a media backend, in one binary.
//!
//! Imports go one way: `cli`, `tui` → `pipeline`, `dlq`, `bootstrap`, `ops`, `kv` → `mfctl_core`; only `connect` names
//! the crates of the backends. `tests/cli/layers.rs` reads the sources and checks this.

pub mod bootstrap;
pub mod cli;
pub mod connect;
pub mod daemon;
pub mod dlq;
pub mod kv;
pub mod ops;
pub mod pipeline;
pub mod settings;
pub mod tui;
