//! Schema migrations of the catalog's database, where the catalog is in a database of its own.

use async_trait::async_trait;
use jiff::Timestamp;
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

/// Whether claims are fenced: whether what a member of a group claims is refused once another member has its partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ClaimFence {
    /// They are not: the catalog has no epochs yet. A migration adds them.
    #[default]
    NotMigrated,
    /// They are, except those of workers of a release without epochs. Since when none of these has claimed is not known.
    Unknown,
    /// They are since this time: the last claim of a worker of a release without epochs, or the migration that began to record
    /// it, if later. The time moves while such a worker runs.
    Holds {
        /// The time.
        #[schemars(with = "String")]
        since: Timestamp,
    },
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
