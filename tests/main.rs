//! Every test that needs no server, in one binary, so that there is one link.
//!
//! `cargo test --release --test main pipeline::` runs one folder, a longer part of a name one test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

mod cli;
mod contract;
mod faults;
mod pipeline;
mod support;
mod tui;
