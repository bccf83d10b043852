//! The pipeline and what stands beside it, on the embedded backends.

mod dead;
mod dlq;
mod dlq_verbs;
mod ingest;
mod ingest_folder;
mod ingest_resume;
mod media_folder;
mod media_verbs;
mod worker;
