//! The file's format: how it is recognised, and how an older one is migrated.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::connection::{self, beside};
use super::error::SqlContext;
use crate::base::{OpenMode, io_error, open_at_once, special_file};
use crate::{locks, search_names};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// `mfct`, in the file's header: marks the file as mfctl's.
const APPLICATION_ID: u32 = 0x6d66_6374;
const APPLICATION_ID_OFFSET: usize = 68;
const USER_VERSION_OFFSET: usize = 60;
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Formats that later releases may have added. A greater number in the header is no format but damage.
const MAX_LATER_FORMATS: u32 = 100;
/// Larger than the default of 4096: records and documents have about a kilobyte each.
const PAGE_BYTES: u32 = 8192;

struct SqlMigration {
    version: u32,
    sql: &'static str,
}

/// The migration after which the names of documents are indexed.
const SEARCH_NAMES: u32 = 10;

/// Every migration, by version. A released one is never changed.
const MIGRATIONS: &[SqlMigration] = &[
    SqlMigration { version: 1, sql: include_str!("../migrations/0001_log.sql") },
    SqlMigration { version: 2, sql: include_str!("../migrations/0002_catalog.sql") },
    SqlMigration { version: 3, sql: include_str!("../migrations/0003_search.sql") },
    SqlMigration { version: 4, sql: include_str!("../migrations/0004_journal.sql") },
    SqlMigration { version: 5, sql: include_str!("../migrations/0005_registry.sql") },
    SqlMigration { version: 6, sql: include_str!("../migrations/0006_operators.sql") },
    SqlMigration { version: 7, sql: include_str!("../migrations/0007_config.sql") },
    SqlMigration { version: 8, sql: include_str!("../migrations/0008_job_inputs.sql") },
    SqlMigration { version: 9, sql: include_str!("../migrations/0009_file_versions.sql") },
    SqlMigration { version: SEARCH_NAMES, sql: include_str!("../migrations/0010_search_names.sql") },
    SqlMigration { version: 11, sql: include_str!("../migrations/0011_unread.sql") },
    SqlMigration { version: 12, sql: include_str!("../migrations/0012_claims.sql") },
    SqlMigration { version: 13, sql: include_str!("../migrations/0013_takedown.sql") },
    SqlMigration { version: 14, sql: include_str!("../migrations/0014_purged_takedowns.sql") },
    SqlMigration { version: 15, sql: include_str!("../migrations/0015_unfenced_claims.sql") },
    SqlMigration { version: 16, sql: include_str!("../migrations/0016_claim_folding.sql") },
    SqlMigration { version: 17, sql: include_str!("../migrations/0017_job_leases.sql") },
];

/// The format this binary writes.
pub(super) const fn latest_version() -> u32 {
    MIGRATIONS[MIGRATIONS.len() - 1].version
}

/// The state of the file, from its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// There is no file.
    Missing,
    /// The file has no version yet: another process is creating it, or died while it did.
    Unfinished,
    /// The file is mfctl's and has this version.
    Version(u32),
}

/// Makes sure that the file exists in the latest format, and returns its identity.
pub(super) fn prepare(path: &Path, mode: OpenMode) -> Result<String> {
    let format = reject_newer(read_format(path)?)?;
    if matches!(format, FileFormat::Missing | FileFormat::Unfinished) && is_lost(path) {
        let message = format!("{} is gone or empty, and objects are stored beside it", path.shown());
        return Err(Error::new(ErrorKind::Corrupt, message).hint(RESTORE));
    }
    match (mode, &format) {
        (OpenMode::MayCreate, FileFormat::Version(version)) if *version == latest_version() => {}
        (OpenMode::MayCreate, _) => migrate(path)?,
        (OpenMode::MustExist, FileFormat::Version(version)) if *version == latest_version() => {}
        (OpenMode::MustExist, FileFormat::Version(version)) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} has format {version}, this mfctl needs format {}", path.shown(), latest_version()),
            )
            .hint("run `mfctl init` on it: it takes a backup and migrates the folder"));
        }
        (OpenMode::MustExist, FileFormat::Missing | FileFormat::Unfinished) => return Err(no_data_folder(path)),
    }
    let connection = connection::open_read_only(path).map_err(as_damage)?;
    reject_newer(FileFormat::Version(version_of(&connection).map_err(as_damage)?))?;
    let what = "read the data folder's identity";
    connection
        .query_row("SELECT value FROM meta WHERE key = 'folder_id'", [], |row| row.get(0))
        .during(what)
        .map_err(as_damage)
}

/// The error of opening a file whose header is mfctl's: what any such file has is missing or cannot be understood.
pub(super) fn as_damage(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Internal => {
            Error::new(ErrorKind::Corrupt, "open the data folder's file").because(error.full()).hint(RESTORE)
        }
        _ => error,
    }
}

/// What to do with a damaged file.
const RESTORE: &str = "stop every mfctl on the data folder and restore the file from a backup; `mfctl audit` lists what \
                       is damaged";

/// Whether a file that is missing or empty was lost: nothing of it is in a write-ahead log, and the folder has objects, which
/// are stored only when the file exists.
fn is_lost(path: &Path) -> bool {
    if std::fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0) {
        return false;
    }
    let mut folders = vec![path.with_file_name("objects")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => return true,
                _ => {}
            }
        }
    }
    false
}

pub(super) fn no_data_folder(path: &Path) -> Error {
    let folder = path.parent().unwrap_or(path).shown();
    Error::new(ErrorKind::NotFound, format!("there is no data folder at {folder}"))
        .hint("create one with `mfctl init` or `mfctl ingest`, or name another with --data-dir")
}

/// `TooNew` if a later mfctl wrote the file, `Corrupt` if no mfctl did.
pub(super) fn reject_newer(format: FileFormat) -> Result<FileFormat> {
    match format {
        FileFormat::Version(version) if version > latest_version() + MAX_LATER_FORMATS => {
            let message = format!("the data folder's file is damaged: its header has the impossible format {version}");
            Err(Error::new(ErrorKind::Corrupt, message).hint(RESTORE))
        }
        FileFormat::Version(version) if version > latest_version() => Err(Error::new(
            ErrorKind::TooNew,
            format!("the data folder has format {version}; this mfctl supports formats up to {}", latest_version()),
        )
        .hint("use the mfctl that wrote it, or a later one; nothing was changed")),
        other => Ok(other),
    }
}

/// Reads the header without SQLite, which would create files beside it.
pub(super) fn read_format(path: &Path) -> Result<FileFormat> {
    for name in ["-wal", "-shm"] {
        require_file(&beside(path, name))?;
    }
    if !require_file(path)? {
        return Ok(FileFormat::Missing);
    }
    let failed = |error| io_error(error, format!("read {}", path.shown()));
    let file = open_at_once(path).map_err(failed)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(FileFormat::Unfinished);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(not_ours(path, "it is not a SQLite file"));
    }
    let number = |offset: usize| {
        u32::from_be_bytes([header[offset], header[offset + 1], header[offset + 2], header[offset + 3]])
    };
    match (number(APPLICATION_ID_OFFSET), number(USER_VERSION_OFFSET)) {
        (APPLICATION_ID, version) => Ok(FileFormat::Version(version)),
        // In WAL mode the first migration may not be checkpointed into the header yet; `migrate` checks again.
        (0, 0) => Ok(FileFormat::Unfinished),
        _ => Err(not_ours(path, "it is another program's SQLite file")),
    }
}

/// Whether there is an entry at this path, which has to be a file: SQLite would wait for the writer of a FIFO.
fn require_file(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(metadata) => {
            let found = special_file(metadata.file_type()).unwrap_or("a folder");
            Err(not_ours(path, &format!("it is {found}, not a file")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(error, format!("read {}", path.shown()))),
    }
}

/// In a folder that mfctl created, a file with another header is damage; elsewhere it is somebody's file.
fn not_ours(path: &Path, why: &str) -> Error {
    let is_data_folder = path.parent().is_some_and(|folder| folder.join("objects").is_dir());
    if is_data_folder {
        return Error::new(ErrorKind::Corrupt, format!("{} is damaged: {why}", path.shown())).hint(RESTORE);
    }
    Error::new(ErrorKind::Invalid, format!("{} is not an mfctl data file: {why}", path.shown()))
        .hint("name another folder with --data-dir; nothing was changed")
}

/// Creates or migrates the file, one process at a time.
fn migrate(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let _lock = locks::lock_exclusive(&folder.join("locks/migrate.lock"))?;
    // Another process may have migrated it while this one waited.
    if reject_newer(read_format(path)?)? == FileFormat::Version(latest_version()) {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).during("create the data folder's file")?;
    connection.pragma_update(None, "page_size", PAGE_BYTES).during("create the data folder's file")?;
    connection::configure(&connection).during("configure the data folder's file")?;
    let version = version_of(&connection)?;
    reject_newer(FileFormat::Version(version))?;
    if version == 0 {
        require_empty(&connection, path)?;
    } else if version < latest_version() {
        back_up(&connection, folder, version)?;
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .during("set the data folder's file to WAL")?;
    if mode != "wal" {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} cannot use WAL: its file system does not support it", path.shown()),
        )
        .hint("name a folder on a local disk with --data-dir"));
    }
    apply(&mut connection, version)?;
    // Writes the application id and the version to the header at once.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).during("finish the migration")
}

fn version_of(connection: &Connection) -> Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).during("read the data folder's format")
}

/// A file without a version must be empty, or it is another program's.
fn require_empty(connection: &Connection, path: &Path) -> Result<()> {
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .during("read the data folder's schema")?;
    if tables == 0 { Ok(()) } else { Err(not_ours(path, "it is another program's SQLite file")) }
}

/// Makes an online backup: other processes may read and write meanwhile.
fn back_up(connection: &Connection, folder: &Path, version: u32) -> Result<()> {
    let backups = folder.join("backups");
    std::fs::create_dir_all(&backups).map_err(|error| io_error(error, format!("create {}", backups.shown())))?;
    let name = format!("mfctl-format{version}-{}.db", jiff::Timestamp::now().as_second());
    let target = backups.join(name);
    connection
        .backup("main", &target, None::<fn(rusqlite::backup::Progress)>)
        .during("back up the data folder before its migration")?;
    let synced = File::open(&target).and_then(|file| file.sync_all());
    synced.map_err(|error| io_error(error, format!("write {}", target.shown())))?;
    tracing::info!(backup = %target.shown(), from = version, to = latest_version(), "migrating the data folder");
    Ok(())
}

/// Applies all missing migrations in one transaction.
fn apply(connection: &mut Connection, from: u32) -> Result<()> {
    let what = "migrate the data folder";
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during(what)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > from) {
        tx.execute_batch(migration.sql).during(&format!("apply migration {}", migration.version))?;
    }
    if from < SEARCH_NAMES {
        search_names::fill(&tx).during(what)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).during(what)?;
    tx.pragma_update(None, "user_version", latest_version()).during(what)?;
    let metadata = [
        ("folder_id", uuid::Uuid::new_v4().to_string()),
        ("created_by", format!("mfctl {}", env!("CARGO_PKG_VERSION"))),
        ("created_at", jiff::Timestamp::now().to_string()),
    ];
    for (key, value) in metadata {
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING", (key, value))
            .during(what)?;
    }
    tx.commit().during(what)
}

/// What the schema of the latest version has and this file has not: tables, indexes and triggers, one sentence each.
///
/// # Errors
/// Errors of reading the file's schema.
pub fn missing_schema(connection: &Connection) -> Result<Vec<String>> {
    let what = "compare the schema of the data folder's file";
    let fresh = Connection::open_in_memory().during(what)?;
    for migration in MIGRATIONS {
        fresh.execute_batch(migration.sql).during(what)?;
    }
    let found = schema_entries(connection).during(what)?;
    let missing = schema_entries(&fresh).during(what)?.into_iter().filter(|entry| !found.contains(entry));
    Ok(missing.map(|(kind, name)| format!("{kind} {name} is missing")).collect())
}

/// Kind and name of each entry of a schema, but those that SQLite makes by itself.
fn schema_entries(connection: &Connection) -> rusqlite::Result<BTreeSet<(String, String)>> {
    let sql = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
    connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Turns a file of the latest version into one of version 1.
#[cfg(test)]
pub(super) fn downgrade_to_first(connection: &Connection) {
    let fresh = Connection::open_in_memory().unwrap();
    fresh.execute_batch(MIGRATIONS[0].sql).unwrap();
    let names = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let columns = |connection: &Connection, table: &str| -> Vec<String> {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let first = names(&fresh);
    for table in names(connection) {
        if !first.contains(&table) {
            // Fails for the shadow tables of a virtual table, which are dropped with it.
            let _ = connection.execute_batch(&format!("DROP TABLE IF EXISTS \"{table}\""));
            continue;
        }
        let kept = columns(&fresh, &table);
        for column in columns(connection, &table).into_iter().filter(|column| !kept.contains(column)) {
            connection.execute_batch(&format!("ALTER TABLE \"{table}\" DROP COLUMN \"{column}\"")).unwrap();
        }
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_versions_have_no_gap() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1);
        }
    }
}
