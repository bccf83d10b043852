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
#[path = "../contract/event_log.rs"]
mod event_log;
#[path = "../contract/event_log_groups.rs"]
mod event_log_groups;
#[path = "../contract/objects.rs"]
mod objects;
#[path = "../contract/registry.rs"]
mod registry;

mod kafka;
mod kafka_faults;
mod postgrest;
mod proxy;
mod s3;
mod schema_registry;
mod scripted;
mod stack;

use harness::{Fixture, fails_as, random};
