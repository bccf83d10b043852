//! The database behind the catalog, over a connection of its own: its migrations, and nothing else. What works on the
//! platform goes through PostgREST and never comes here.

mod connection;
mod lock;
mod migrations;
mod runner;
mod status;

use std::time::Duration;

use async_trait::async_trait;

pub use self::status::{AppliedMigration, MigrationStatus};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Migration, Migrations, Result};
use mfctl_core::tls_files::TlsFiles;

/// How to reach the database with a role that may change it.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The table of settings that this comes from, for hints: `profile.prod.database`.
    pub settings: String,
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// Whom to trust, and who we are.
    pub tls: TlsFiles,
}

/// The database's migrations.
#[derive(Debug)]
pub struct PostgresAdmin {
    address: connection::Address,
    patience: Duration,
}

impl PostgresAdmin {
    /// The database at this address. No connection is opened yet.
    ///
    /// # Errors
    /// `Invalid` when the address or a file cannot be used.
    pub fn new(config: &PostgresConfig) -> Result<Self> {
        Ok(Self { address: connection::Address::new(config)?, patience: Duration::from_secs(20) })
    }

    /// The same, waiting this long for another that is migrating.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where it is and as whom, without the password: `user@host:port/database`.
    #[must_use]
    pub fn place(&self) -> &str {
        self.address.place()
    }

    /// How the database stands. Changes nothing.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn status(&self) -> Result<MigrationStatus> {
        runner::status(&self.address).await
    }

    /// What makes this database another than every other; `None` before its first migration.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn identity(&self) -> Result<Option<String>> {
        Ok(self.status().await?.identity)
    }
}

#[async_trait]
impl Migrations for PostgresAdmin {
    async fn pending(&self) -> Result<Vec<Migration>> {
        let status = self.status().await?;
        status.refuse_unsound()?;
        Ok(status.pending)
    }

    async fn migrate(&self) -> Result<Vec<Migration>> {
        runner::migrate(&self.address, self.patience).await
    }
}
