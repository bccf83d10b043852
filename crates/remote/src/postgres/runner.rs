//! Applies migrations. Each is first marked as dirty; then one transaction runs its script and clears the mark.
//!
//! A mark that remains means that a process died in between, and that nothing of the migration was applied.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::{ConnectionTarget, DatabaseSession};
use super::lock;
use super::migrations::{MigrationScript, SCRIPTS};
use super::status::{AppliedMigration, MigrationStatus};
use mfctl_core::ports::{ClaimFence, Error, ErrorKind, Migration, Result};

/// A bounded wait for table locks, and no limit on how long a statement runs.
const SESSION_SETTINGS: &str = "SET lock_timeout = '15s'; SET statement_timeout = 0; SET client_min_messages = warning;
                       SET idle_in_transaction_session_timeout = 0; SET search_path = pg_catalog";

const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS media.schema_migrations (
        version       bigint PRIMARY KEY,
        name          text NOT NULL,
        checksum      text NOT NULL,
        applied_at    timestamptz NOT NULL DEFAULT now(),
        dirty         boolean NOT NULL,
        mfctl_version text NOT NULL
    )";

pub(super) async fn status(target: &ConnectionTarget) -> Result<MigrationStatus> {
    let session = target.open().await?;
    read_status(target, &session).await
}

pub(super) async fn migrate(target: &ConnectionTarget, lock_timeout: Duration) -> Result<Vec<Migration>> {
    let session = target.open().await?;
    run(target, &session, SESSION_SETTINGS, "prepare the session").await?;
    check_server(target, &session).await?;
    lock::acquire(target, &session, lock_timeout).await?;
    create_table(target, &session).await?;
    let mut status = read_status(target, &session).await?;
    // The lock's holder is this session.
    status.migrating = None;
    status.check_sound()?;
    let mut applied = Vec::new();
    for script in SCRIPTS.iter().filter(|script| status.pending.iter().any(|one| one.version == script.version)) {
        apply(target, &session, script).await?;
        applied.push(script.migration());
    }
    // Also when nothing was pending, so that migrating again repeats a notification that PostgREST missed.
    run(target, &session, "NOTIFY pgrst, 'reload schema'", "notify PostgREST of the new schema").await?;
    Ok(applied)
}

async fn run(target: &ConnectionTarget, session: &DatabaseSession, sql: &str, what: &str) -> Result<()> {
    session.batch_execute(sql).await.map_err(|error| target.error(&error, what))
}

/// Refuses a server that the migrations do not support.
async fn check_server(target: &ConnectionTarget, session: &DatabaseSession) -> Result<()> {
    let row = session
        .query_one("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')", &[])
        .await
        .map_err(|error| target.error(&error, "read the database's version"))?;
    let version: i32 = row.get(0);
    let encoding: String = row.get(1);
    let what = match (version, encoding.as_str()) {
        (130_000.., "UTF8") => return Ok(()),
        (130_000.., _) => format!("the database's encoding is {encoding}"),
        _ => format!("the database is PostgreSQL {}", version / 10_000),
    };
    Err(Error::new(ErrorKind::Invalid, what)
        .hint("mfctl needs PostgreSQL 13 or newer and a database with encoding UTF8"))
}

/// Creates the schema only where it is missing: the role that owns it need not be allowed to create one.
async fn create_table(target: &ConnectionTarget, session: &DatabaseSession) -> Result<()> {
    let what = "create media.schema_migrations";
    let row = session
        .query_one("SELECT to_regnamespace('media') IS NULL", &[])
        .await
        .map_err(|error| target.error(&error, what))?;
    if row.get(0) {
        run(target, session, "CREATE SCHEMA IF NOT EXISTS media", "create the schema media").await?;
    }
    run(target, session, CREATE_TABLE, what).await
}

async fn apply(target: &ConnectionTarget, session: &DatabaseSession, script: &MigrationScript) -> Result<()> {
    let title = format!("{:04}_{}", script.version, script.name);
    let version = i64::from(script.version);
    session
        .execute(
            "INSERT INTO media.schema_migrations (version, name, checksum, dirty, mfctl_version)
             VALUES ($1, $2, $3, true, $4)",
            &[&version, &script.name, &script.checksum(), &env!("CARGO_PKG_VERSION")],
        )
        .await
        .map_err(|error| target.error(&error, format!("mark migration {title} as dirty")))?;
    let clean = format!(
        "UPDATE media.schema_migrations SET dirty = false, applied_at = clock_timestamp() WHERE version = {version}"
    );
    let transaction = format!("BEGIN;\n{}\n;\n{clean};\nCOMMIT", script.sql);
    let Err(error) = session.batch_execute(&transaction).await else { return Ok(()) };
    let failed = target.error(&error, format!("apply migration {title}; nothing of it was applied"));
    if error.as_db_error().is_some() {
        let unmark = format!("ROLLBACK; DELETE FROM media.schema_migrations WHERE version = {version} AND dirty");
        run(target, session, &unmark, &format!("clear the mark of migration {title}")).await?;
    }
    Err(failed)
}

async fn read_status(target: &ConnectionTarget, session: &DatabaseSession) -> Result<MigrationStatus> {
    let what = "read the applied migrations";
    let failed = |error| target.error(&error, what);
    let tables = "SELECT to_regclass('media.schema_migrations') IS NOT NULL, to_regclass('media.meta') IS NOT NULL,
                         to_regclass('media.claim_epochs') IS NOT NULL,
                         to_regclass('media.last_unfenced_claim') IS NOT NULL";
    let exists = session.query_one(tables, &[]).await.map_err(failed)?;
    let mut rows = Vec::new();
    if exists.get(0) {
        let select =
            "SELECT version, name, checksum, (extract(epoch FROM applied_at) * 1000000)::bigint, dirty, mfctl_version
                      FROM media.schema_migrations ORDER BY version";
        rows = session.query(select, &[]).await.map_err(failed)?;
    }
    let rows: Vec<AppliedMigration> = rows.iter().map(applied_migration).collect::<Result<_>>()?;
    let mut status = MigrationStatus::of(SCRIPTS, rows);
    if exists.get(1) {
        let select = "SELECT value FROM media.meta WHERE key = 'identity'";
        status.identity = session.query_opt(select, &[]).await.map_err(failed)?.map(|row| row.get(0));
    }
    status.claim_fence = match (exists.get(2), exists.get(3)) {
        (_, true) => {
            let select = "SELECT (extract(epoch FROM claimed_at) * 1000000)::bigint FROM media.last_unfenced_claim";
            let row = session.query_opt(select, &[]).await.map_err(failed)?;
            let since = row.and_then(|row| Timestamp::from_microsecond(row.get(0)).ok());
            since.map_or(ClaimFence::Unknown, |since| ClaimFence::Holds { since })
        }
        (true, false) => ClaimFence::Unknown,
        (false, false) => ClaimFence::NotMigrated,
    };
    status.migrating = lock::holder(target, session).await?;
    Ok(status)
}

fn applied_migration(row: &Row) -> Result<AppliedMigration> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Corrupt, "read media.schema_migrations").because(error.to_string())
    };
    let version: i64 = row.get(0);
    Ok(AppliedMigration {
        version: u32::try_from(version).map_err(|error| damaged(&error))?,
        name: row.get(1),
        checksum: row.get(2),
        applied_at: Timestamp::from_microsecond(row.get(3)).map_err(|error| damaged(&error))?,
        dirty: row.get(4),
        mfctl_version: row.get(5),
    })
}
