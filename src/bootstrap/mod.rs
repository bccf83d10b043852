//! Makes a platform match its manifests: tables, topics, buckets, schemas, and the configuration of Consul and Vault.
//! Nothing else in mfctl creates these resources.
//!
//! Planning only reads. Applying makes the planned changes in order, under a lock, and stops at the first failure. Each kind
//! of resource is one file in [`resources`]; planning, refusing, pruning and importing are the same for every kind. Prints
//! nothing; knows no backend.

pub mod apply;
pub mod fields;
pub mod import;
pub mod key_declarations;
pub mod manifest;
mod mark_writer;
mod normal_form;
pub mod owner_marks;
pub mod pending_marks;
pub mod plan;
pub mod resources;
pub mod saved_plan;
pub mod settings_file;
