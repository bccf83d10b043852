//! Configuration that services read: versioned keys and values, changed atomically, under an advisory lock.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Full name, `<env>/<service>/<key>`, or any name that another tool wrote.
    pub key: String,
    /// Value, byte for byte.
    pub value: Vec<u8>,
    /// Version of this key alone (Consul's `ModifyIndex`); it grows with each change.
    pub version: u64,
}

/// Every key below a prefix at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSnapshot {
    /// Entries sorted by name.
    pub entries: Vec<ConfigEntry>,
    /// Index of the snapshot. Later ones are larger, unless the store was recreated or restored in between.
    pub index: u64,
}

/// One operation of an atomic change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets a key.
    Set {
        /// Full name of the key.
        key: String,
        /// New value.
        value: Vec<u8>,
        /// Version the key must have; 0: it must not exist; `None`: any.
        if_version: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// Full name of the key.
        key: String,
        /// Version the key must have; `None`: any, or none at all.
        if_version: Option<u64>,
    },
    /// Fails the change unless the key has this version.
    CheckVersion {
        /// Full name of the key.
        key: String,
        /// Version the key must have; 0: it must not exist.
        version: u64,
    },
    /// Fails the change unless the lock is still held; made by [`ConfigLock::lock_check`].
    CheckLock {
        /// Key of the lock.
        key: String,
        /// Session that holds it, as the store names it.
        session: String,
    },
}

/// Maximum number of operations in one change.
pub const MAX_CHANGES: usize = 64;
/// Maximum size of a value in bytes.
pub const MAX_VALUE_BYTES: usize = 512 * 1024;

/// The configuration store.
///
/// Contract: a change is applied completely or not at all. A failed version check is `Conflict`, naming the first such
/// key; more operations than [`MAX_CHANGES`], a value over [`MAX_VALUE_BYTES`], an empty key or one that begins or ends
/// with a slash are `Invalid`. A read is never older than this caller's last write. A store without a leader is
/// `Unreachable` and never answers with stale data. A list from which the store's access control removed keys is
/// `Denied`. Keys that other tools use as folders (`a/`) are not returned.
#[async_trait]
pub trait ConfigStore: Send + Sync {
    /// The store's stable identity: Consul's data centre, or the id of a data folder. A profile pins it.
    async fn identity(&self) -> Result<String>;

    /// An entry; `None` if the key does not exist.
    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>>;

    /// Every key that begins with the prefix; no entries if there are none.
    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot>;

    /// Blocking query: [`ConfigStore::list`] once the index of the prefix is past `after`, or at the end of `timeout`.
    async fn wait_for_change(&self, prefix: &str, after: u64, timeout: Duration) -> Result<ConfigSnapshot>;

    /// Applies a change.
    async fn apply(&self, change: &[ConfigChange]) -> Result<()>;

    /// Acquires the lock on a key for `holder`, a description of a person or process. `Locked` when another holds it,
    /// naming the holder and since when. The lock is renewed in the background; after its process dies it is released
    /// within twice `lifetime`.
    async fn lock(&self, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>>;
}

/// A held lock. Dropped without [`ConfigLock::release`], it expires as if its process had died.
#[async_trait]
pub trait ConfigLock: Send + Sync {
    /// Fails with `Locked` when the lock was lost or another holds it.
    async fn check(&self) -> Result<()>;

    /// The operation that fails a change unless this lock is still held.
    fn lock_check(&self) -> ConfigChange;

    /// Releases the lock.
    async fn release(self: Box<Self>) -> Result<()>;
}
