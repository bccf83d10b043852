//! Configuration of services in the data folder's file, and its lock: one of the kernel's, which it frees when the process
//! that has it ends, however it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::db::{Db, SqlContext};
use super::folder::DataFolder;
use super::locks::{self, FileLock};
use mfctl_core::ports::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, Error, ErrorKind, LARGEST_VALUE, MOST_CHANGES,
    Result,
};

/// Who holds a lock is no longer than this.
const LONGEST_HOLDER: usize = 500;

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
        check_key(key)?;
        let key = key.to_owned();
        self.db.read("read a key", move |c| entry(c, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot> {
        let prefix = prefix.to_owned();
        self.db.read("read keys", move |c| snapshot(c, &prefix)).await
    }

    async fn changed(&self, prefix: &str, after: u64, patience: Duration) -> Result<ConfigSnapshot> {
        let end = std::time::Instant::now() + patience;
        let mut seen = self.db.seen();
        loop {
            let found = self.list(prefix).await?;
            let left = end.saturating_duration_since(std::time::Instant::now());
            // The number of the latest change is of the whole store: one elsewhere wakes too, as Consul's may.
            if found.index != after || left.is_zero() {
                return Ok(found);
            }
            self.db.changed(&mut seen, left).await;
        }
    }

    async fn apply(&self, change: &[ConfigChange]) -> Result<()> {
        if change.len() > MOST_CHANGES {
            let what = format!("a change of {} parts, more than {MOST_CHANGES}", change.len());
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        change.iter().try_for_each(check)?;
        if change.is_empty() {
            return Ok(());
        }
        let (change, folder) = (change.to_vec(), self.folder.clone());
        self.db.write("change keys", move |tx| apply(tx, &folder, &change)).await
    }

    async fn lock(&self, key: &str, holder: &str, _: Duration) -> Result<Box<dyn ConfigLock>> {
        check_key(key)?;
        let path = lock_path(&self.folder, key);
        let said: String = holder.chars().filter(|c| !c.is_control()).take(LONGEST_HOLDER).collect();
        let Some(lock) = locks::try_now(&path)? else { return Err(held_by(&path, key)) };
        let token = uuid::Uuid::new_v4().to_string();
        let text = format!("{said}\n{:.0}\n{token}\n", Timestamp::now());
        std::fs::write(&path, text).map_err(|error| super::base::io_error(error, format!("take the lock {key}")))?;
        Ok(Box::new(HeldLock { key: key.to_owned(), path, token, _lock: lock }))
    }
}

struct HeldLock {
    key: String,
    path: PathBuf,
    token: String,
    _lock: FileLock,
}

#[async_trait]
impl ConfigLock for HeldLock {
    async fn check(&self) -> Result<()> {
        check_held(&self.path, &self.key, &self.token)
    }

    fn held(&self) -> ConfigChange {
        ConfigChange::Held { key: self.key.clone(), session: self.token.clone() }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        // What it says is nobody's any more; the kernel's lock goes with this.
        std::fs::write(&self.path, "").map_err(|error| super::base::io_error(error, "let go of a lock"))
    }
}

/// The file cannot be taken while it is held; what it says is compared in case somebody removed it.
fn check_held(path: &Path, key: &str, token: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.lines().nth(2) == Some(token) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Locked, format!("the lock {key} was lost"))),
    }
}

fn held_by(path: &Path, key: &str) -> Error {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let said = match (lines.next(), lines.next()) {
        (Some(holder), Some(since)) => format!("{holder} has the lock {key} since {since}"),
        _ => format!("another process has the lock {key}"),
    };
    Error::new(ErrorKind::Locked, said).hint("wait for it; a lock of a process that died is free at once")
}

fn lock_path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("locks/config-{}.lock", hex::encode(&Sha256::digest(key.as_bytes())[..8])))
}

fn check_key(key: &str) -> Result<()> {
    match key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        true => Err(Error::new(ErrorKind::Invalid, format!("{key:?} is no key"))),
        false => Ok(()),
    }
}

fn check(part: &ConfigChange) -> Result<()> {
    match part {
        ConfigChange::Set { key, value, .. } if value.len() > LARGEST_VALUE => {
            Err(Error::new(ErrorKind::Invalid, format!("the value of {key} is larger than 512 KiB")))
        }
        ConfigChange::Set { key, .. }
        | ConfigChange::Delete { key, .. }
        | ConfigChange::Expect { key, .. }
        | ConfigChange::Held { key, .. } => check_key(key),
    }
}

/// A version: SQLite's numbers have a sign.
fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn entry(c: &Connection, key: &str) -> Result<Option<ConfigEntry>> {
    c.prepare_cached("SELECT value, version FROM config WHERE key = ?1")
        .and_then(|mut select| {
            let found = |row: &rusqlite::Row<'_>| {
                Ok(ConfigEntry { key: key.to_owned(), value: row.get(0)?, version: number(row, 1)? })
            };
            select.query_row([key], found).optional()
        })
        .during("read a key")
}

fn snapshot(c: &Connection, prefix: &str) -> Result<ConfigSnapshot> {
    let what = "read keys";
    let index: u64 = c.query_row("SELECT latest FROM config_index", [], |row| number(row, 0)).during(what)?;
    let sql = "SELECT key, value, version FROM config WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key";
    let mut select = c.prepare_cached(sql).during(what)?;
    let rows = select
        .query_map([prefix], |row| Ok(ConfigEntry { key: row.get(0)?, value: row.get(1)?, version: number(row, 2)? }));
    let entries = rows.during(what)?.collect::<rusqlite::Result<Vec<_>>>().during(what)?;
    Ok(ConfigSnapshot { entries, index })
}

fn apply(tx: &Connection, folder: &Path, change: &[ConfigChange]) -> Result<()> {
    let what = "change keys";
    let sql = "UPDATE config_index SET latest = latest + 1 RETURNING latest";
    let version: u64 = tx.query_row(sql, [], |row| number(row, 0)).during(what)?;
    for part in change {
        match part {
            ConfigChange::Set { key, value, if_version } => {
                expect(tx, key, *if_version)?;
                let sql = "INSERT INTO config (key, value, version) VALUES (?1, ?2, ?3)
                           ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";
                tx.execute(sql, params![key, value, i64::try_from(version).unwrap_or(i64::MAX)]).during(what)?;
            }
            ConfigChange::Delete { key, if_version } => {
                expect(tx, key, *if_version)?;
                tx.execute("DELETE FROM config WHERE key = ?1", [key]).during(what)?;
            }
            ConfigChange::Expect { key, version } => expect(tx, key, Some(*version))?,
            ConfigChange::Held { key, session } => check_held(&lock_path(folder, key), key, session)?,
        }
    }
    Ok(())
}

fn expect(tx: &Connection, key: &str, version: Option<u64>) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let is = entry(tx, key)?.map_or(0, |entry| entry.version);
    match is == version {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Conflict, format!("key {key} is not what it was when it was read"))
            .hint("look at it again; nothing was changed")),
    }
}
