//! The contract of each port, as named cases that every backend of the port passes: behaviour that is not here is not
//! promised. A suite is a file; a backend runs it by passing its harness to the suite's macro.
//!
//! A harness is an async function that returns a fixture: an empty backend, and a guard that must live as long.

#[macro_use]
pub mod harness;
mod catalog;
mod catalog_claim_folding;
mod catalog_claims;
mod catalog_lists;
mod catalog_takedowns;
mod config_store;
mod embedded;
mod embedded_processes;
mod event_log;
mod event_log_fencing;
mod event_log_groups;
mod event_log_retention;
mod group_member;
mod job_leases;
mod journal;
mod objects;
mod operators;
mod registry;
mod search;
mod topic_admin;
