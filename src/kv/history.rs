//! The history of settings: who changed a key, when, why, and its previous value.
//!
//! A stored entry is a line of JSON followed by the previous value byte for byte, so that a value of any bytes and almost the
//! maximum size can be restored. Ids are ordered by time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::{ConfigKey, EnvName, Sha256, Timestamp};
use mfctl_core::ports::{ConfigEntry, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-history";

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Id, ordered by time.
    pub id: String,
    /// The change's metadata.
    pub head: HistoryHeader,
    /// Previous value; `None` where the key did not exist.
    pub before: Option<Vec<u8>>,
    /// Version of the entry in the store, which the changed key got in the same transaction; 0 before it is stored.
    pub version: u64,
}

/// The metadata of a change: the first line of a stored entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryHeader {
    /// The key.
    pub key: ConfigKey,
    /// What was done to the key.
    pub action: SettingAction,
    /// Time of the change.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who made the change.
    pub actor: String,
    /// The command, e.g. `kv put`.
    pub verb: String,
    /// Reason for the change.
    pub reason: String,
    /// Id that changes of the same command share.
    pub batch: String,
    /// Whether the key existed before.
    pub had_value: bool,
    /// SHA-256 of the new value; none where the key was deleted, or where an older release made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_sha256: Option<Sha256>,
    /// Reason for writing a value that looks like a secret, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_like: Option<String>,
    /// Expiry of the break-glass exception, where a declared key was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub broken_until: Option<Timestamp>,
}

/// What a change does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingAction {
    /// The key is created.
    Create,
    /// The key gets another value.
    Update,
    /// The key is deleted.
    Delete,
}

impl HistoryHeader {
    /// Whether the key can have had this value (`None`: not existed) after the change. An older release did not record which
    /// value it wrote.
    #[must_use]
    pub fn may_have_left(&self, value: Option<&[u8]>) -> bool {
        match (value, self.action) {
            (None, action) => action == SettingAction::Delete,
            (Some(_), SettingAction::Delete) => false,
            (Some(value), _) => self.value_sha256.is_none_or(|digest| digest == Sha256::of(value)),
        }
    }
}

impl SettingAction {
    /// The action's name in JSON and tables: `create`, `update`, `delete`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl HistoryEntry {
    /// A new id (UUID version 7), greater than every earlier id of this process.
    #[must_use]
    pub fn new_id() -> String {
        mfctl_core::domain::ids::time_ordered_uuid().simple().to_string()
    }

    /// The key in the store that holds an entry.
    #[must_use]
    pub fn store_key(env: &EnvName, id: &str) -> String {
        format!("{env}/{SERVICE}/{id}")
    }

    /// The entry's stored form.
    ///
    /// # Errors
    /// `Internal` when the metadata cannot be serialized, which does not happen.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let unserializable = |error| Error::new(ErrorKind::Internal, "serialize a history entry").because(error);
        let mut bytes = serde_json::to_vec(&self.head).map_err(unserializable)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(self.before.as_deref().unwrap_or_default());
        Ok(bytes)
    }

    /// Parses an entry of the store.
    ///
    /// # Errors
    /// `Corrupt`, naming the key in the store.
    pub fn decode(entry: &ConfigEntry) -> Result<Self> {
        let ConfigEntry { key: store_key, value: bytes, version } = entry;
        let corrupt = || Error::new(ErrorKind::Corrupt, format!("{store_key} is not a valid history entry"));
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(corrupt)?;
        let head: HistoryHeader = serde_json::from_slice(&bytes[..end]).map_err(|error| corrupt().because(error))?;
        let before = head.had_value.then(|| bytes[end + 1..].to_vec());
        let id = store_key.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self { id, head, before, version: *version })
    }
}

/// The history of an environment, latest change first.
#[derive(Debug, Clone, Default)]
pub struct SettingsHistory {
    /// Entries that could be read.
    pub entries: Vec<HistoryEntry>,
    /// Errors of the entries that could not be read.
    pub unreadable: Vec<String>,
}

/// The keys of the store that hold an environment's history begin with this.
#[must_use]
pub fn prefix(env: &EnvName) -> String {
    format!("{env}/{SERVICE}/")
}

/// Reads the history of an environment.
///
/// # Errors
/// Those of the store.
pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<SettingsHistory> {
    let mut history = SettingsHistory::default();
    for entry in store.list(&prefix(env)).await?.entries.into_iter().rev() {
        match HistoryEntry::decode(&entry) {
            Ok(change) => history.entries.push(change),
            Err(error) => history.unreadable.push(error.full()),
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(before: Option<&[u8]>) -> HistoryEntry {
        HistoryEntry {
            id: HistoryEntry::new_id(),
            head: HistoryHeader {
                key: ConfigKey::parse("a/b").unwrap(),
                action: SettingAction::Update,
                at: Timestamp::UNIX_EPOCH,
                actor: "mina@host".to_owned(),
                verb: "kv put".to_owned(),
                reason: "line\nbreak".to_owned(),
                batch: "x".to_owned(),
                had_value: before.is_some(),
                value_sha256: None,
                secret_like: None,
                broken_until: None,
            },
            before: before.map(<[u8]>::to_vec),
            version: 7,
        }
    }

    fn stored(key: &str, value: &[u8]) -> ConfigEntry {
        ConfigEntry { key: key.to_owned(), value: value.to_vec(), version: 7 }
    }

    #[test]
    fn a_previous_value_of_any_bytes_is_restored() {
        let env = EnvName::new("dev").unwrap();
        for before in [None, Some(&b""[..]), Some(b"a\nb\n"), Some(&[0, 159, 146, 150])] {
            let entry = entry(before);
            let store_key = HistoryEntry::store_key(&env, &entry.id);
            assert_eq!(HistoryEntry::decode(&stored(&store_key, &entry.encode().unwrap())).unwrap(), entry);
        }
        assert!(HistoryEntry::decode(&stored("dev/mfctl-history/x", b"{}\n")).is_err());
        assert!(HistoryEntry::decode(&stored("dev/mfctl-history/x", b"no line")).is_err());
    }

    #[test]
    fn ids_are_ordered_by_time() {
        let ids: Vec<String> = (0..100).map(|_| HistoryEntry::new_id()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric())));
    }
}
