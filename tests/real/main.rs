//! Every test that needs real servers, in one binary: each port's contract on its cluster backend, the stories of the
//! embedded profile that look at nothing but the command line, and what only real servers can do.
//!
//! `make test-real` starts the servers and says where they are, by the variables that `make stack-env` prints. It leaves out
//! `outages`, which break the servers for everybody: `make test-outages` runs these alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
#[path = "../contract"]
mod contract {
    #[macro_use]
    pub mod harness;
    pub mod catalog;
    pub mod catalog_lists;
    pub mod config_store;
    pub mod consul_acl;
    pub mod event_log;
    pub mod event_log_groups;
    pub mod objects;
    pub mod registry;
    pub mod secret_store;
    pub mod topic_admin;
    pub mod vault_admin;
}

#[path = "../cli"]
mod cli {
    mod kv;
}

#[path = "../faults"]
mod faults {
    mod hostile;
    mod kills;
}

#[path = "../pipeline"]
mod pipeline {
    pub mod dead;
    mod dlq_verbs;
    mod ingest;
    mod ingest_resume;
    mod media_verbs;
}

mod bootstrap;
mod cases;
mod consul;
mod crashes;
mod discovery;
mod independent;
mod instances;
mod kafka;
mod kafka_faults;
mod large;
mod neighbours;
mod outages;
mod outsiders;
mod postgrest;
mod proxy;
mod runbooks;
mod s3;
mod schema_registry;
mod scripted;
mod secrets;
mod smoke;
mod stack;
mod stack_kills;
mod throwaway;
mod troubles;
mod vault;
