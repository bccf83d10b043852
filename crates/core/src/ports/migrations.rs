//! The tables behind the catalog, where somebody has to make them.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;

/// A numbered change of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// Its number, from 1.
    pub version: u32,
    /// Its name.
    pub name: String,
}

/// The migrations.
///
/// Contract: each is applied whole or not at all, in order, by one caller at a time ([`super::ErrorKind::Locked`] for the
/// others). A database that is not what its migrations say (one was changed after it was applied, or stopped half-way)
/// is refused, not mended.
#[async_trait]
pub trait Migrations: Send + Sync {
    /// Those that are yet to be applied, in order.
    async fn pending(&self) -> Result<Vec<Migration>>;

    /// Applies them; answers those that this call applied.
    async fn migrate(&self) -> Result<Vec<Migration>>;
}
