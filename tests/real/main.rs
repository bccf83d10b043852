//! Every test that needs real servers, in one binary: each port's contract on its cluster backend, the command-line tests of
//! the embedded profile that also run on a cluster, and tests of real servers.
//!
//! `make test-real` starts the servers and sets the variables that `make stack-env` prints. It skips `outages`, which break
//! the servers for other tests: `make test-outages` runs them alone. It skips `release_before` too, which needs the program of
//! the release before: `make test-upgrade` builds it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap ends the test with its error")]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
#[path = "../contract"]
mod contract {
    #[macro_use]
    pub mod harness;
    pub mod catalog;
    pub mod catalog_claim_folding;
    pub mod catalog_claims;
    pub mod catalog_lists;
    pub mod catalog_takedowns;
    pub mod config_store;
    pub mod consul_acl;
    pub mod event_log;
    pub mod event_log_fencing;
    pub mod event_log_groups;
    pub mod group_member;
    pub mod job_leases;
    pub mod objects;
    pub mod registry;
    pub mod secret_store;
    pub mod topic_admin;
    pub mod vault_admin;
}

#[path = "../cli"]
mod cli {
    mod kv;
    mod manifests_converge;
}

#[path = "../faults"]
mod faults {
    mod bad_settings;
    mod hostile;
    mod isolation;
    mod kills;
}

#[path = "../pipeline"]
mod pipeline {
    mod backlog;
    mod damaged_objects;
    pub mod dead_letter_records;
    mod dlq_verbs;
    mod ingest;
    mod ingest_inputs;
    mod ingest_resume;
    mod media_verbs;
    mod oversize_records;
    pub mod takedown;
    mod takedown_audits;
    mod takedown_purges;
    mod takedown_surfaces;
}

mod bootstrap;
#[path = "../campaign/mod.rs"]
mod campaign;
mod campaign_on_two_hosts;
mod consul;
mod consul_vault_lifecycle;
mod crashes;
mod dead_letters;
mod dedicated_servers;
mod discovery;
mod external_clients;
mod instances;
mod interoperability;
mod isolation;
mod jobs_of_hosts;
mod kafka;
mod kafka_faults;
mod kafka_members;
mod large;
mod open_transactions;
mod outages;
mod postgrest;
mod proxy;
mod release_before;
mod runbooks;
mod s3;
mod schema_registry;
mod scripted_http;
mod secrets;
mod smoke;
mod stack;
mod stack_kills;
mod tenants_and_versions;
mod vault;
