//! Makes a platform what its manifests say: tables, topics, buckets, schemas, and the configuration of Consul and Vault.
//! Nothing else makes them.
//!
//! A plan is made by looking alone; applying it does what it says, in order, under a lock, and stops at the first failure.
//! Each kind of resource is one file in [`resources`]; what is planned, refused, removed or imported is decided in one place
//! for all of them. Prints nothing; knows no engine.

pub mod apply;
pub mod claim;
pub mod fields;
pub mod import;
pub mod manifest;
pub mod owned;
pub mod plan;
pub mod resources;
pub mod saved;
pub mod settings_file;
