//! Schema migrations of the catalog's database, where the catalog is in a database of its own.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;

/// A numbered schema migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// Version, counted from 1.
    pub version: u32,
    /// Name of the migration.
    pub name: String,
}

/// The migrations of a database.
///
/// Contract: each migration is applied completely or not at all, in order, by one caller at a time
/// ([`super::ErrorKind::Locked`] for the others). A database that differs from its migrations (one was changed after it
/// was applied, or stopped half-way) is refused, not repaired.
#[async_trait]
pub trait Migrations: Send + Sync {
    /// Migrations not applied yet, in order.
    async fn pending(&self) -> Result<Vec<Migration>>;

    /// Applies the pending migrations; returns those that this call applied.
    async fn migrate(&self) -> Result<Vec<Migration>>;
}
