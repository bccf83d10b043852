//! Applies migrations: each marked as begun, then whole in one transaction that takes the mark away again.
//!
//! So a mark that stays says that a process died in between, and that nothing of the migration is there.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::{Address, Session};
use super::lock;
use super::migrations::{SCRIPTS, Script};
use super::status::{AppliedMigration, MigrationStatus};
use mfctl_core::ports::{Error, ErrorKind, Migration, Result};

/// What a session of migrations is like: it waits for no table for ever, and takes its time otherwise.
const SESSION: &str = "SET lock_timeout = '15s'; SET statement_timeout = 0; SET client_min_messages = warning;
                       SET idle_in_transaction_session_timeout = 0; SET search_path = pg_catalog";

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS media.schema_migrations (
        version       bigint PRIMARY KEY,
        name          text NOT NULL,
        checksum      text NOT NULL,
        applied_at    timestamptz NOT NULL DEFAULT now(),
        dirty         boolean NOT NULL,
        mfctl_version text NOT NULL
    )";

pub(super) async fn status(address: &Address) -> Result<MigrationStatus> {
    let session = address.open().await?;
    read(address, &session).await
}

pub(super) async fn migrate(address: &Address, patience: Duration) -> Result<Vec<Migration>> {
    let session = address.open().await?;
    run(address, &session, SESSION, "prepare the session").await?;
    fits(address, &session).await?;
    lock::take(address, &session, patience).await?;
    make_table(address, &session).await?;
    let mut status = read(address, &session).await?;
    // It is this session that is migrating.
    status.migrating = None;
    status.refuse_unsound()?;
    let mut applied = Vec::new();
    for script in SCRIPTS.iter().filter(|script| status.pending.iter().any(|one| one.version == script.version)) {
        apply(address, &session, script).await?;
        applied.push(script.named());
    }
    // Also where nothing was pending: a notice that nobody heard is sent again by migrating again.
    run(address, &session, "NOTIFY pgrst, 'reload schema'", "tell PostgREST of the new schema").await?;
    Ok(applied)
}

async fn run(address: &Address, session: &Session, sql: &str, what: &str) -> Result<()> {
    session.batch_execute(sql).await.map_err(|error| address.failed(&error, what))
}

/// Refuses a server that the migrations are not written for.
async fn fits(address: &Address, session: &Session) -> Result<()> {
    let row = session
        .query_one("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')", &[])
        .await
        .map_err(|error| address.failed(&error, "ask the database for its version"))?;
    let (version, encoding): (i32, String) = (row.get(0), row.get(1));
    let said = match (version, encoding.as_str()) {
        (130_000.., "UTF8") => return Ok(()),
        (130_000.., _) => format!("the database's encoding is {encoding}"),
        _ => format!("the database is PostgreSQL {}", version / 10_000),
    };
    Err(Error::new(ErrorKind::Invalid, said).hint("PostgreSQL 13 or newer is wanted, and a database of encoding UTF8"))
}

/// A role that owns the schema need not be one that could make it.
async fn make_table(address: &Address, session: &Session) -> Result<()> {
    let what = "make media.schema_migrations";
    let row = session
        .query_one("SELECT to_regnamespace('media') IS NULL", &[])
        .await
        .map_err(|error| address.failed(&error, what))?;
    if row.get(0) {
        run(address, session, "CREATE SCHEMA IF NOT EXISTS media", "make the schema media").await?;
    }
    run(address, session, TABLE, what).await
}

async fn apply(address: &Address, session: &Session, script: &Script) -> Result<()> {
    let title = format!("{:04}_{}", script.version, script.name);
    let version = i64::from(script.version);
    session
        .execute(
            "INSERT INTO media.schema_migrations (version, name, checksum, dirty, mfctl_version)
             VALUES ($1, $2, $3, true, $4)",
            &[&version, &script.name, &script.checksum(), &env!("CARGO_PKG_VERSION")],
        )
        .await
        .map_err(|error| address.failed(&error, format!("mark migration {title} as begun")))?;
    let clean = format!(
        "UPDATE media.schema_migrations SET dirty = false, applied_at = clock_timestamp() WHERE version = {version}"
    );
    let whole = format!("BEGIN;\n{}\n;\n{clean};\nCOMMIT", script.sql);
    let Err(error) = session.batch_execute(&whole).await else { return Ok(()) };
    let failed = address.failed(&error, format!("apply migration {title}; nothing of it is there"));
    if error.as_db_error().is_some() {
        let unmark = format!("ROLLBACK; DELETE FROM media.schema_migrations WHERE version = {version} AND dirty");
        run(address, session, &unmark, &format!("take back the mark of migration {title}")).await?;
    }
    Err(failed)
}

async fn read(address: &Address, session: &Session) -> Result<MigrationStatus> {
    let what = "read what migrations were applied";
    let failed = |error| address.failed(&error, what);
    let there = "SELECT to_regclass('media.schema_migrations') IS NOT NULL, to_regclass('media.meta') IS NOT NULL";
    let there = session.query_one(there, &[]).await.map_err(failed)?;
    let mut rows = Vec::new();
    if there.get(0) {
        let select =
            "SELECT version, name, checksum, (extract(epoch FROM applied_at) * 1000000)::bigint, dirty, mfctl_version
                      FROM media.schema_migrations ORDER BY version";
        rows = session.query(select, &[]).await.map_err(failed)?;
    }
    let rows: Vec<AppliedMigration> = rows.iter().map(applied).collect::<Result<_>>()?;
    let mut status = MigrationStatus::of(SCRIPTS, rows);
    if there.get(1) {
        let select = "SELECT value FROM media.meta WHERE key = 'identity'";
        status.identity = session.query_opt(select, &[]).await.map_err(failed)?.map(|row| row.get(0));
    }
    status.migrating = lock::holder(address, session).await?;
    Ok(status)
}

fn applied(row: &Row) -> Result<AppliedMigration> {
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
