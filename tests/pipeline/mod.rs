//! The pipeline, dead letters and media commands, on the embedded backends.

mod asset_names;
mod backlog;
mod damaged_database;
pub mod damaged_objects;
mod damaged_original;
mod dead_letter_records;
mod dlq;
mod dlq_recreated_topics;
mod dlq_verbs;
mod filters;
mod given_ids;
mod ingest;
mod ingest_folder;
mod ingest_inputs;
mod ingest_resume;
mod job_leases;
mod media_verbs;
mod merged_metadata;
mod object_folder;
mod oversize_records;
mod source_changes;
mod takedown;
mod takedown_audits;
mod takedown_purges;
mod takedown_surfaces;
mod worker;
