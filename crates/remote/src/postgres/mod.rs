//! Migrations of the catalog's database, over a direct PostgreSQL connection. Everything else goes through PostgREST.

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

/// The address of the database, with a role that may change its schema.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The table of settings with this address, for hints: `profile.prod.database`.
    pub settings: String,
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// CA, client certificate and key.
    pub tls: TlsFiles,
}

/// Runs the migrations of one database.
#[derive(Debug)]
pub struct PostgresAdmin {
    target: connection::ConnectionTarget,
    lock_timeout: Duration,
}

impl PostgresAdmin {
    /// The migrations of this database. No connection is opened yet.
    ///
    /// # Errors
    /// `Invalid` when the address or a file cannot be used.
    pub fn new(config: &PostgresConfig) -> Result<Self> {
        Ok(Self { target: connection::ConnectionTarget::new(config)?, lock_timeout: Duration::from_secs(20) })
    }

    /// Replaces the 20 s that a migration waits for another session's migration.
    #[must_use]
    pub fn lock_timeout(self, lock_timeout: Duration) -> Self {
        Self { lock_timeout, ..self }
    }

    /// The address without the password: `user@host:port/database`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.target.address()
    }

    /// Which migrations are applied, pending or damaged. Read-only.
    ///
    /// # Errors
    /// Errors of the connection.
    pub async fn status(&self) -> Result<MigrationStatus> {
        runner::status(&self.target).await
    }

    /// The database's identity, unique to it; `None` before its first migration.
    ///
    /// # Errors
    /// Errors of the connection.
    pub async fn identity(&self) -> Result<Option<String>> {
        Ok(self.status().await?.identity)
    }
}

#[async_trait]
impl Migrations for PostgresAdmin {
    async fn pending(&self) -> Result<Vec<Migration>> {
        let status = self.status().await?;
        status.check_sound()?;
        Ok(status.pending)
    }

    async fn migrate(&self) -> Result<Vec<Migration>> {
        runner::migrate(&self.target, self.lock_timeout).await
    }
}
