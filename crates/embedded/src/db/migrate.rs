//! The file's format: what it is recognised by, and how an older one becomes the present one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::SqlContext;
use crate::base::{OpenMode, io_error};
use crate::locks;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// `mfct`: says in the file's header whose it is.
const APPLICATION_ID: u32 = 0x6d66_6374;
const APPLICATION_ID_AT: usize = 68;
const USER_VERSION_AT: usize = 60;
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Fewer, larger pages: records and documents of about a kilobyte.
const PAGE_BYTES: u32 = 8192;

struct Migration {
    version: u32,
    sql: &'static str,
}

/// Every migration, by number. One that was released is never changed.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("../migrations/0001_log.sql") },
    Migration { version: 2, sql: include_str!("../migrations/0002_catalog.sql") },
    Migration { version: 3, sql: include_str!("../migrations/0003_search.sql") },
    Migration { version: 4, sql: include_str!("../migrations/0004_journal.sql") },
    Migration { version: 5, sql: include_str!("../migrations/0005_registry.sql") },
    Migration { version: 6, sql: include_str!("../migrations/0006_operators.sql") },
    Migration { version: 7, sql: include_str!("../migrations/0007_config.sql") },
];

/// The format this binary writes.
pub(super) const fn latest() -> u32 {
    MIGRATIONS[MIGRATIONS.len() - 1].version
}

/// What the file's first bytes say.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Begun, but never given a format: another process is at it, or died at it.
    Begun,
    Format(u32),
}

/// Makes sure that the file is there in the present format, and returns its identity.
pub(super) fn prepare(path: &Path, mode: OpenMode) -> Result<String> {
    let found = check(inspect(path)?)?;
    match (mode, &found) {
        (OpenMode::MayCreate, Found::Format(version)) if *version == latest() => {}
        (OpenMode::MayCreate, _) => migrate(path)?,
        (OpenMode::MustExist, Found::Format(version)) if *version == latest() => {}
        (OpenMode::MustExist, Found::Format(version)) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} has format {version}, this mfctl works with format {}", path.display(), latest()),
            )
            .hint("run `mfctl init` on it: it takes a backup and brings the folder up to date"));
        }
        (OpenMode::MustExist, Found::Nothing | Found::Begun) => return Err(missing(path)),
    }
    let connection = super::connect_reading(path)?;
    check(Found::Format(version_of(&connection)?))?;
    connection
        .query_row("SELECT value FROM meta WHERE key = 'folder_id'", [], |row| row.get(0))
        .during("read the data folder's identity")
}

fn missing(path: &Path) -> Error {
    let folder = path.parent().unwrap_or(path).display();
    Error::new(ErrorKind::NotFound, format!("there is no data folder at {folder}"))
        .hint("make one with `mfctl init` or `mfctl ingest`, or name another with --data-dir")
}

/// A newer format is left alone.
fn check(found: Found) -> Result<Found> {
    match found {
        Found::Format(version) if version > latest() => Err(Error::new(
            ErrorKind::TooNew,
            format!("the data folder has format {version}; this mfctl knows formats up to {}", latest()),
        )
        .hint("use the mfctl that wrote it, or a later one; nothing was changed")),
        other => Ok(other),
    }
}

/// Reads the header without SQLite, which would write beside it.
fn inspect(path: &Path) -> Result<Found> {
    let failed = |error| io_error(error, format!("read {}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(Found::Begun);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(foreign(path, "it is not a SQLite file"));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    match (number(APPLICATION_ID_AT), number(USER_VERSION_AT)) {
        (APPLICATION_ID, version) => Ok(Found::Format(version)),
        // In WAL mode the first migration may not have reached the header yet; `migrate` looks again.
        (0, 0) => Ok(Found::Begun),
        _ => Err(foreign(path, "it is another program's SQLite file")),
    }
}

fn foreign(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{} is not an mfctl data file: {why}", path.display()))
        .hint("name another folder with --data-dir; nothing was changed")
}

/// Makes or migrates the file, one process at a time.
fn migrate(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let _alone = locks::wait(&folder.join("locks/migrate.lock"))?;
    // Another process may have done it while this one waited.
    if check(inspect(path)?)? == Found::Format(latest()) {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).during("make the data folder's file")?;
    connection.pragma_update(None, "page_size", PAGE_BYTES).during("make the data folder's file")?;
    super::configure(&connection).during("configure the data folder's file")?;
    let version = version_of(&connection)?;
    check(Found::Format(version))?;
    if version == 0 {
        ours_to_make(&connection, path)?;
    } else if version < latest() {
        back_up(&connection, folder, version)?;
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .during("set the data folder's file to WAL")?;
    if mode != "wal" {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} cannot use WAL: its file system lacks it", path.display()),
        )
        .hint("name a folder on a local disk with --data-dir"));
    }
    apply(&mut connection, version)?;
    // So that the header says at once whose file it is and which format.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).during("finish the migration")
}

fn version_of(connection: &Connection) -> Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).during("read the data folder's format")
}

fn ours_to_make(connection: &Connection, path: &Path) -> Result<()> {
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .during("look into the data folder's file")?;
    if tables == 0 { Ok(()) } else { Err(foreign(path, "it is another program's SQLite file")) }
}

/// An online backup: other processes may read and write meanwhile.
fn back_up(connection: &Connection, folder: &Path, version: u32) -> Result<()> {
    let backups = folder.join("backups");
    std::fs::create_dir_all(&backups).map_err(|error| io_error(error, format!("make {}", backups.display())))?;
    let name = format!("mfctl-format{version}-{}.db", jiff::Timestamp::now().as_second());
    let target = backups.join(name);
    connection
        .backup("main", &target, None::<fn(rusqlite::backup::Progress)>)
        .during("back up the data folder before its migration")?;
    let synced = File::open(&target).and_then(|file| file.sync_all());
    synced.map_err(|error| io_error(error, format!("write {}", target.display())))?;
    tracing::info!(backup = %target.display(), from = version, to = latest(), "migrating the data folder");
    Ok(())
}

/// All missing migrations in one transaction.
fn apply(connection: &mut Connection, from: u32) -> Result<()> {
    let what = "migrate the data folder";
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during(what)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > from) {
        tx.execute_batch(migration.sql).during(&format!("apply migration {}", migration.version))?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).during(what)?;
    tx.pragma_update(None, "user_version", latest()).during(what)?;
    let facts = [
        ("folder_id", uuid::Uuid::new_v4().to_string()),
        ("created_by", format!("mfctl {}", env!("CARGO_PKG_VERSION"))),
        ("created_at", jiff::Timestamp::now().to_string()),
    ];
    for (key, value) in facts {
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING", (key, value))
            .during(what)?;
    }
    tx.commit().during(what)
}

/// Makes a present file look like one of format 1.
#[cfg(test)]
pub(super) fn back_to_first(connection: &Connection) {
    let fresh = Connection::open_in_memory().unwrap();
    fresh.execute_batch(MIGRATIONS[0].sql).unwrap();
    let names = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let first = names(&fresh);
    for table in names(connection) {
        if !first.contains(&table) {
            // Fails for a virtual table's own tables, which go with it.
            let _ = connection.execute_batch(&format!("DROP TABLE IF EXISTS \"{table}\""));
        }
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, at + 1);
        }
    }
}
