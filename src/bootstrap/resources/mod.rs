//! One file per kind of resource: `plan` looks and says what is missing, `make` makes one thing that a plan named.

pub mod buckets;
pub mod migrations;
pub mod schemas;
pub mod topics;
