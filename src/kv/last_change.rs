//! Who set the current values of settings, and the latest changes with the values after them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::humane;
use mfctl_core::ports::{ConfigEntry, ConfigStore, Result};

use super::history::{self, HistoryEntry, HistoryHeader};
use super::read_settings;

/// A change of a key that another tool made after mfctl had changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutsideChange {
    /// Time of mfctl's latest change of the key before it.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Version of the key after it; null where the key was deleted, or where mfctl has changed it again.
    pub version: Option<u64>,
}

impl OutsideChange {
    /// The change that another tool made after `last`; `None` where the key is as `last` left it. A change and its history
    /// entry are one transaction, so that both have the same version.
    #[must_use]
    pub fn after(last: &HistoryEntry, current: Option<&ConfigEntry>) -> Option<Self> {
        let is_of_last = last.head.may_have_left(current.map(|entry| entry.value.as_slice()))
            && current.is_none_or(|entry| entry.version == last.version);
        (!is_of_last).then(|| Self { since: last.head.at, version: current.map(|entry| entry.version) })
    }
}

impl fmt::Display for OutsideChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changed outside of mfctl since {}", humane::time(self.since))?;
        self.version.map_or(Ok(()), |version| write!(f, " (version {version})"))
    }
}

/// The latest change of a key that mfctl has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatestChange {
    /// A change by mfctl gave the current value.
    ByMfctl(Box<HistoryHeader>),
    /// Another tool has changed the key since.
    Outside(OutsideChange),
}

/// The latest change of each existing key of `service` that mfctl has changed.
///
/// # Errors
/// Those of the store.
pub async fn latest(
    store: &dyn ConfigStore,
    env: &EnvName,
    service: &str,
) -> Result<BTreeMap<ConfigKey, LatestChange>> {
    let settings = read_settings(store, env, Some(service)).await?;
    if settings.entries.is_empty() {
        return Ok(BTreeMap::new());
    }
    // An unreadable entry names no author; `kv history` reports it.
    let mut latest = BTreeMap::new();
    for entry in history::read(store, env).await?.entries {
        let Some(current) = settings.entries.get(&entry.head.key) else { continue };
        latest.entry(entry.head.key.clone()).or_insert_with(|| match OutsideChange::after(&entry, Some(current)) {
            Some(outside) => LatestChange::Outside(outside),
            None => LatestChange::ByMfctl(Box::new(entry.head)),
        });
    }
    Ok(latest)
}

/// A change with the values before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecentChange {
    /// A change by mfctl.
    ByMfctl {
        /// The change's metadata.
        head: Box<HistoryHeader>,
        /// Value before; `None` where the key did not exist.
        before: Option<Vec<u8>>,
        /// Value after; `None` where the key was deleted.
        after: ValueAfter,
    },
    /// Another tool changed the key after mfctl had. The value before is not known.
    Outside {
        /// The key.
        key: ConfigKey,
        /// When, as far as is known.
        change: OutsideChange,
        /// Value after; `None` where the key was deleted.
        after: Option<Vec<u8>>,
    },
}

/// The value that a change by mfctl left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueAfter {
    /// This value; `None` where the key was deleted.
    Known(Option<Vec<u8>>),
    /// Another tool has replaced it since, and the history does not hold it.
    Replaced,
}

/// The changes since `since`, latest first.
///
/// # Errors
/// Those of the store.
pub async fn recent(store: &dyn ConfigStore, env: &EnvName, since: Timestamp) -> Result<Vec<RecentChange>> {
    let history = history::read(store, env).await?.entries;
    let mut current = read_settings(store, env, None).await?.entries;
    // The value before the next change of a key; none for its latest change.
    let mut next: BTreeMap<ConfigKey, Option<Vec<u8>>> = BTreeMap::new();
    let mut changes = Vec::new();
    for entry in history {
        let key = entry.head.key.clone();
        let (after, outside) = match next.insert(key.clone(), entry.before.clone()) {
            Some(after) => {
                let is_of_entry = entry.head.may_have_left(after.as_deref());
                let outside = (!is_of_entry).then_some(OutsideChange { since: entry.head.at, version: None });
                (after, outside)
            }
            None => {
                let current = current.remove(&key);
                let outside = OutsideChange::after(&entry, current.as_ref());
                (current.map(|current| current.value), outside)
            }
        };
        if entry.head.at < since {
            continue;
        }
        let after = match outside {
            None => ValueAfter::Known(after),
            Some(change) => {
                changes.push(RecentChange::Outside { key, change, after });
                ValueAfter::Replaced
            }
        };
        changes.push(RecentChange::ByMfctl { head: Box::new(entry.head), before: entry.before, after });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::history::SettingAction;
    use mfctl_core::domain::Sha256;

    /// An update to `value` of an mfctl that records what it wrote, or of an older one.
    fn update(value: Option<&[u8]>) -> HistoryEntry {
        let head = HistoryHeader {
            key: ConfigKey::parse("a/b").unwrap(),
            action: SettingAction::Update,
            at: Timestamp::UNIX_EPOCH,
            actor: "mina@host".to_owned(),
            verb: "kv put".to_owned(),
            reason: "r".to_owned(),
            batch: "x".to_owned(),
            had_value: true,
            value_sha256: value.map(Sha256::of),
            secret_like: None,
            broken_until: None,
        };
        HistoryEntry { id: "x".to_owned(), head, before: Some(b"1".to_vec()), version: 7 }
    }

    fn current(value: &[u8], version: u64) -> ConfigEntry {
        ConfigEntry { key: "dev/a/b".to_owned(), value: value.to_vec(), version }
    }

    #[test]
    fn a_change_of_another_tool_is_found_by_the_version_and_by_the_value() {
        let put = update(Some(b"2"));
        assert_eq!(OutsideChange::after(&put, Some(&current(b"2", 7))), None);
        // An edit of the data folder's file may leave the version as it is.
        for (value, version) in [(b"3", 7), (b"2", 8), (b"3", 8)] {
            let outside = OutsideChange::after(&put, Some(&current(value, version))).unwrap();
            assert_eq!(outside.version, Some(version));
        }
        let of_older_release = update(None);
        assert_eq!(OutsideChange::after(&of_older_release, Some(&current(b"3", 7))), None);
        assert!(OutsideChange::after(&of_older_release, Some(&current(b"2", 8))).is_some());
    }

    #[test]
    fn a_deletion_and_a_creation_by_another_tool_are_found() {
        let mut delete = update(None);
        let deleted = OutsideChange::after(&delete, None).unwrap();
        assert_eq!(deleted.to_string(), "changed outside of mfctl since 1970-01-01T00:00:00Z");
        delete.head.action = SettingAction::Delete;
        assert_eq!(OutsideChange::after(&delete, None), None);
        assert!(OutsideChange::after(&delete, Some(&current(b"2", 9))).is_some());
    }
}
