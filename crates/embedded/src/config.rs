//! The configuration of services in the data folder's file, and its locks: file locks, which the kernel releases when
//! the holder's process ends, however it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::db::{Db, SqlContext};
use super::folder::DataFolder;
use super::locks::{self, FileLock};
use mfctl_core::ports::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, Error, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES,
    Result,
};

/// Characters of a lock holder's description that are stored.
const MAX_HOLDER_CHARS: usize = 500;

/// The configuration of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    db: Db,
    folder: PathBuf,
    id: String,
}

impl SqliteConfig {
    /// The configuration in this folder.
    #[must_use]
    pub fn new(folder: &DataFolder) -> Self {
        Self { db: folder.db().clone(), folder: folder.path().to_owned(), id: folder.identity().to_owned() }
    }
}

#[async_trait]
impl ConfigStore for SqliteConfig {
    async fn identity(&self) -> Result<String> {
        Ok(self.id.clone())
    }

    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>> {
        validate_key(key)?;
        let key = key.to_owned();
        self.db.read("read a key", move |c| entry(c, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot> {
        let prefix = prefix.to_owned();
        self.db.read("read keys", move |c| snapshot(c, &prefix)).await
    }

    async fn wait_for_change(&self, prefix: &str, after: u64, timeout: Duration) -> Result<ConfigSnapshot> {
        let deadline = Instant::now() + timeout;
        let mut cursor = self.db.commit_cursor();
        loop {
            let snapshot = self.list(prefix).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            // The index counts changes of the whole store: a change of another prefix wakes too, as it may in Consul.
            if snapshot.index != after || left.is_zero() {
                return Ok(snapshot);
            }
            self.db.wait_for_commit(&mut cursor, left).await;
        }
    }

    async fn apply(&self, change: &[ConfigChange]) -> Result<()> {
        if change.len() > MAX_CHANGES {
            let what = format!("a change of {} keys, more than {MAX_CHANGES}", change.len());
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        change.iter().try_for_each(validate)?;
        if change.is_empty() {
            return Ok(());
        }
        let change = change.to_vec();
        let folder = self.folder.clone();
        self.db.write("change keys", move |tx| apply(tx, &folder, &change)).await
    }

    async fn lock(&self, key: &str, holder: &str, _: Duration) -> Result<Box<dyn ConfigLock>> {
        validate_key(key)?;
        let path = lock_path(&self.folder, key);
        let holder: String = holder.chars().filter(|c| !c.is_control()).take(MAX_HOLDER_CHARS).collect();
        let Some(lock) = locks::try_lock_exclusive(&path)? else { return Err(locked_by_another(&path, key)) };
        let token = uuid::Uuid::new_v4().to_string();
        let text = format!("{holder}\n{:.0}\n{token}\n", Timestamp::now());
        std::fs::write(&path, text)
            .map_err(|error| super::base::io_error(error, format!("write the holder of lock {key}")))?;
        Ok(Box::new(SqliteConfigLock { key: key.to_owned(), path, token, _lock: lock }))
    }
}

/// A held lock. Its file has three lines: the holder, the time of acquisition, a token that is unique to this lock.
struct SqliteConfigLock {
    key: String,
    path: PathBuf,
    token: String,
    _lock: FileLock,
}

#[async_trait]
impl ConfigLock for SqliteConfigLock {
    async fn check(&self) -> Result<()> {
        check_held(&self.path, &self.key, &self.token)
    }

    fn lock_check(&self) -> ConfigChange {
        ConfigChange::CheckLock { key: self.key.clone(), session: self.token.clone() }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        // The file lock itself is released when `self` is dropped.
        std::fs::write(&self.path, "").map_err(|error| super::base::io_error(error, "release a lock"))
    }
}

/// `Locked` if the lock file has another token: no process can acquire the lock while it is held, but the file may have
/// been removed.
fn check_held(path: &Path, key: &str, token: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.lines().nth(2) == Some(token) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Locked, format!("the lock {key} was lost"))),
    }
}

fn locked_by_another(path: &Path, key: &str) -> Error {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let what = match (lines.next(), lines.next()) {
        (Some(holder), Some(since)) => format!("{holder} has the lock {key} since {since}"),
        _ => format!("another process has the lock {key}"),
    };
    Error::new(ErrorKind::Locked, what).hint("wait for it; the lock of a process that died is released at once")
}

fn lock_path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("locks/config-{}.lock", hex::encode(&Sha256::digest(key.as_bytes())[..8])))
}

fn validate_key(key: &str) -> Result<()> {
    match key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        true => Err(Error::new(ErrorKind::Invalid, format!("{key:?} is not a valid key"))),
        false => Ok(()),
    }
}

fn validate(part: &ConfigChange) -> Result<()> {
    match part {
        ConfigChange::Set { key, value, .. } if value.len() > MAX_VALUE_BYTES => {
            Err(Error::new(ErrorKind::Invalid, format!("the value of {key} is larger than 512 KiB")))
        }
        ConfigChange::Set { key, .. }
        | ConfigChange::Delete { key, .. }
        | ConfigChange::CheckVersion { key, .. }
        | ConfigChange::CheckLock { key, .. } => validate_key(key),
    }
}

/// A version number. SQLite's integers are signed.
fn version(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn entry(c: &Connection, key: &str) -> Result<Option<ConfigEntry>> {
    c.prepare_cached("SELECT value, version FROM config WHERE key = ?1")
        .and_then(|mut select| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok(ConfigEntry { key: key.to_owned(), value: row.get(0)?, version: version(row, 1)? })
            };
            select.query_row([key], read).optional()
        })
        .during("read a key")
}

fn snapshot(c: &Connection, prefix: &str) -> Result<ConfigSnapshot> {
    let what = "read keys";
    let index: u64 = c.query_row("SELECT latest FROM config_index", [], |row| version(row, 0)).during(what)?;
    let sql = "SELECT key, value, version FROM config WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key";
    let mut select = c.prepare_cached(sql).during(what)?;
    let rows = select
        .query_map([prefix], |row| Ok(ConfigEntry { key: row.get(0)?, value: row.get(1)?, version: version(row, 2)? }));
    let entries = rows.during(what)?.collect::<rusqlite::Result<Vec<_>>>().during(what)?;
    Ok(ConfigSnapshot { entries, index })
}

fn apply(tx: &Connection, folder: &Path, change: &[ConfigChange]) -> Result<()> {
    let what = "change keys";
    let sql = "UPDATE config_index SET latest = latest + 1 RETURNING latest";
    let version: u64 = tx.query_row(sql, [], |row| version(row, 0)).during(what)?;
    for part in change {
        match part {
            ConfigChange::Set { key, value, if_version } => {
                expect_version(tx, key, *if_version)?;
                let sql = "INSERT INTO config (key, value, version) VALUES (?1, ?2, ?3)
                           ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";
                tx.execute(sql, params![key, value, i64::try_from(version).unwrap_or(i64::MAX)]).during(what)?;
            }
            ConfigChange::Delete { key, if_version } => {
                expect_version(tx, key, *if_version)?;
                tx.execute("DELETE FROM config WHERE key = ?1", [key]).during(what)?;
            }
            ConfigChange::CheckVersion { key, version } => expect_version(tx, key, Some(*version))?,
            ConfigChange::CheckLock { key, session } => check_held(&lock_path(folder, key), key, session)?,
        }
    }
    Ok(())
}

/// `Conflict` unless the key has this version; 0 is a key that does not exist.
fn expect_version(tx: &Connection, key: &str, version: Option<u64>) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let current = entry(tx, key)?.map_or(0, |entry| entry.version);
    match current == version {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Conflict, format!("key {key} has changed since it was read"))
            .hint("read it again; nothing was changed")),
    }
}
