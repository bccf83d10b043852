//! mfctl: bulk ingest, pipeline workers, dead-letter redrive and a live view of a media backend, from one binary.
//!
//! Arrows go one way: `cli`, `tui` → `pipeline`, `dlq`, `bootstrap`, `ops` → `kv`, `events` → `ports` → `domain`, and `backends` → `ports`.
//! A test (`tests/cli/layers.rs`) reads the sources and holds this.

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
