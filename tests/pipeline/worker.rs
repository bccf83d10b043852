//! The consume loop on the embedded backends, with injected faults.

mod added_partitions;
mod audits;
mod claim_folding;
mod claims;
mod cleanup;
mod failures;
mod faulty_log;
mod faulty_objects;
mod hidden_records;
mod isolation;
pub mod late_catalog;
mod parsers;
mod platform;
mod processing;
mod refusals;
mod revoked_assets;
mod starvation;
mod takedown_races;
mod unreadable_objects;
