//! Configuration that services read: keys and values with versions, changed together or not at all, under one lock.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;

/// A key as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its whole name, `<env>/<service>/<key>`, or one that other tools made.
    pub key: String,
    /// Its value, as bytes.
    pub value: Vec<u8>,
    /// Its version: it grows with each change, and belongs to the key alone.
    pub version: u64,
}

/// Every key below a prefix, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSnapshot {
    /// By name.
    pub entries: Vec<ConfigEntry>,
    /// The moment. Later ones are larger, until the store begins anew.
    pub index: u64,
}

/// One part of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives a key this value.
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
        /// The version it must have; 0: it must not be there. `None`: whatever it has.
        if_version: Option<u64>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
        /// The version it must have; `None`: whatever it has, also if it is not there.
        if_version: Option<u64>,
    },
    /// Changes nothing; the key must have this version, 0: it must not be there.
    CheckVersion {
        /// The key.
        key: String,
        /// The version.
        version: u64,
    },
    /// Changes nothing; the lock that this came from must still be held.
    CheckLock {
        /// What the lock stands on.
        key: String,
        /// Who holds it, in the store's words.
        session: String,
    },
}

/// The most parts of one change.
pub const MAX_CHANGES: usize = 64;
/// The most bytes of a value.
pub const MAX_VALUE_BYTES: usize = 512 * 1024;

/// The store.
///
/// Contract: a change is applied whole or not at all. A part that does not fit what is there is `Conflict`, naming the
/// first such key; more parts than [`MAX_CHANGES`], a value over [`MAX_VALUE_BYTES`], an empty key or one that begins or
/// ends with a slash are `Invalid`. What is read is never older than what this caller wrote. A store that has no leader
/// does not answer with less: it is `Unreachable`. Nor does one that keeps keys from this caller: a list that is not whole
/// is `Denied`. Keys that are folders to others (`a/`) are not shown.
#[async_trait]
pub trait ConfigStore: Send + Sync {
    /// Which store it is, in words that stay for its life: a data centre, a folder's id.
    async fn identity(&self) -> Result<String>;

    /// A key; `None` if it is not there.
    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>>;

    /// Every key that begins with the prefix, by name. One that nothing begins with has no entries.
    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot>;

    /// As [`ConfigStore::list`], once something below the prefix is later than `after`, or when `patience` is over.
    async fn wait_for_change(&self, prefix: &str, after: u64, timeout: Duration) -> Result<ConfigSnapshot>;

    /// Applies a change.
    async fn apply(&self, change: &[ConfigChange]) -> Result<()>;

    /// Takes the lock on a key, for `holder`, a person or process in words. `Locked` when another has it, naming that
    /// one and since when. It is free again at most twice `lifetime` after the process that has it died; until then it
    /// is kept alive in the background.
    async fn lock(&self, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>>;
}

/// A lock that is held. Dropped without [`ConfigLock::release`], it frees itself like one of a process that died.
#[async_trait]
pub trait ConfigLock: Send + Sync {
    /// Whether it is still held: `Locked` when it was lost, or taken by another.
    async fn check(&self) -> Result<()>;

    /// The part of a change that fails unless it is still held.
    fn lock_check(&self) -> ConfigChange;

    /// Gives it back.
    async fn release(self: Box<Self>) -> Result<()>;
}
