//! What needs real servers: each port's contract on its cluster backend, and what only such a backend can do.
//!
//! `make test-real` starts the servers and says where they are, by the variables that `make stack-env` prints.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[macro_use]
#[path = "../contract/harness.rs"]
mod harness;
#[path = "../contract/catalog.rs"]
mod catalog;
#[path = "../contract/catalog_lists.rs"]
mod catalog_lists;
#[path = "../contract/config_store.rs"]
mod config_store;
#[path = "../contract/consul_access.rs"]
mod consul_access;
#[path = "../contract/event_log.rs"]
mod event_log;
#[path = "../contract/event_log_groups.rs"]
mod event_log_groups;
#[path = "../contract/objects.rs"]
mod objects;
#[path = "../contract/registry.rs"]
mod registry;
#[path = "../contract/secret_store.rs"]
mod secret_store;
#[path = "../contract/topic_admin.rs"]
mod topic_admin;
#[path = "../contract/vault_admin.rs"]
mod vault_admin;

mod consul;
mod kafka;
mod kafka_faults;
mod postgrest;
mod proxy;
mod s3;
mod schema_registry;
mod scripted;
mod stack;
mod vault;

// The stories of the embedded profile that look at nothing but the command line.
#[path = "../pipeline/dead.rs"]
mod dead;
#[path = "../pipeline/dlq_verbs.rs"]
mod dlq_verbs;
#[path = "../faults/hostile.rs"]
mod hostile;
#[path = "../pipeline/ingest.rs"]
mod ingest;
#[path = "../pipeline/ingest_resume.rs"]
mod ingest_resume;
#[path = "../faults/kills.rs"]
mod kills;
#[path = "../cli/kv.rs"]
mod kv;
#[path = "../pipeline/media_verbs.rs"]
mod media_verbs;
#[path = "../support/mod.rs"]
mod support;

// Those that only real servers have.
mod bootstrap;
mod cases;
mod crashes;
mod discovery;
mod independent;
mod instances;
mod large;
mod neighbours;
mod outsiders;
mod runbooks;
mod secrets;
mod smoke;
mod throwaway;
mod troubles;

use harness::{Fixture, eventually, fails_as, random};
