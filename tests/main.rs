//! Every test that needs no server, in one binary, so that only one binary is linked.
//!
//! `cargo test --test main pipeline::` runs one folder, a longer part of a name runs one test.

#![expect(clippy::unwrap_used, reason = "a failed unwrap ends the test with its error")]

mod campaign;
mod cli;
mod contract;
mod faults;
mod pipeline;
mod support;
mod tui;
