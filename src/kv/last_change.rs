//! Who set the current values of settings, and the latest changes with the values after them.

use std::collections::BTreeMap;

use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigStore, Result};

use super::history::{self, HistoryEntry, HistoryHeader};
use super::read_settings;

/// The change that gave each current value of `service`. A value that another tool wrote has none, even if mfctl changed the
/// key before: a change and its history entry are one transaction, so that both have the same version.
///
/// # Errors
/// Those of the store.
pub async fn authors(
    store: &dyn ConfigStore,
    env: &EnvName,
    service: &str,
) -> Result<BTreeMap<ConfigKey, HistoryHeader>> {
    let settings = read_settings(store, env, Some(service)).await?;
    let mut authors = BTreeMap::new();
    if settings.entries.is_empty() {
        return Ok(authors);
    }
    for entry in store.list(&history::prefix(env)).await?.entries {
        // An unreadable entry names no author; `kv history` reports it.
        let Ok(change) = HistoryEntry::decode(&entry.key, &entry.value) else { continue };
        if settings.entries.get(&change.head.key).is_some_and(|current| current.version == entry.version) {
            authors.insert(change.head.key.clone(), change.head);
        }
    }
    Ok(authors)
}

/// A change with the values before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentChange {
    /// The change's metadata.
    pub head: HistoryHeader,
    /// Value before; `None` where the key did not exist.
    pub before: Option<Vec<u8>>,
    /// Value after; `None` where the key was deleted.
    pub after: Option<Vec<u8>>,
}

/// The changes since `since`, latest first.
///
/// # Errors
/// Those of the store.
pub async fn recent(store: &dyn ConfigStore, env: &EnvName, since: Timestamp) -> Result<Vec<RecentChange>> {
    let history = history::read(store, env).await?.entries;
    let settings = read_settings(store, env, None).await?;
    // The value after a change is the one before the next change of the key, else the current one.
    let mut next: BTreeMap<ConfigKey, Option<Vec<u8>>> =
        settings.entries.into_iter().map(|(key, entry)| (key, Some(entry.value))).collect();
    let mut changes = Vec::new();
    for HistoryEntry { head, before, .. } in history {
        let after = next.insert(head.key.clone(), before.clone()).flatten();
        if head.at >= since {
            changes.push(RecentChange { head, before, after });
        }
    }
    Ok(changes)
}
