//! The pipeline and what stands beside it, on the embedded backends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[path = "../support/mod.rs"]
mod support;

mod dead;
mod dlq;
mod dlq_verbs;
mod ingest;
mod ingest_folder;
mod ingest_resume;
mod media_folder;
mod media_verbs;
mod worker;
