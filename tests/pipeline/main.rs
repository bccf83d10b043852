//! The flow as its users see it, on the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[path = "../support/mod.rs"]
mod support;

mod ingest;
mod ingest_resume;
