//! What was changed: by whom, when, why, and the value that was there before.
//!
//! An entry is a line of JSON and, after it, the old value byte for byte, so that a value of any bytes and nearly the
//! largest size can be brought back. Ids grow with time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-history";

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which grows with time.
    pub id: String,
    /// What is said of it.
    pub head: Head,
    /// The value that was there before; `None` where there was no such key.
    pub before: Option<Vec<u8>>,
}

/// What is said of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// The key.
    pub key: ConfigKey,
    /// What was done.
    pub action: Action,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// By which verb, e.g. `kv put`.
    pub verb: String,
    /// Why.
    pub reason: String,
    /// Changes that were made together have the same.
    pub batch: String,
    /// Whether there was a value before.
    pub had_value: bool,
    /// Why a value that looks like a secret was written all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_like: Option<String>,
    /// Until when a key that a manifest declares was to be different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub broken_until: Option<Timestamp>,
}

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was made.
    Create,
    /// It was given another value.
    Update,
    /// It was removed.
    Delete,
}

impl Action {
    /// In a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Entry {
    /// The id of a change made now, later than every id before it in this process.
    #[must_use]
    pub fn new_id() -> String {
        Uuid::now_v7().simple().to_string()
    }

    /// The key that it is kept at.
    #[must_use]
    pub fn path(env: &EnvName, id: &str) -> String {
        format!("{env}/{SERVICE}/{id}")
    }

    /// As it is kept.
    ///
    /// # Errors
    /// Never for what can be a head.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let unwritten = |error| Error::new(ErrorKind::Internal, "write a change's record").because(error);
        let mut bytes = serde_json::to_vec(&self.head).map_err(unwritten)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(self.before.as_deref().unwrap_or_default());
        Ok(bytes)
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// `Corrupt`, naming the key it is kept at.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, format!("{path} is no record of a change"));
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(corrupt)?;
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|error| corrupt().because(error))?;
        let before = head.had_value.then(|| bytes[end + 1..].to_vec());
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self { id, head, before })
    }
}

/// What a history has, the latest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The changes.
    pub entries: Vec<Entry>,
    /// What is kept among them and cannot be read, and why.
    pub unreadable: Vec<String>,
}

/// Every change of an environment.
///
/// # Errors
/// Those of the store.
pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<History> {
    let mut history = History::default();
    for entry in store.list(&format!("{env}/{SERVICE}/")).await?.entries.into_iter().rev() {
        match Entry::read(&entry.key, &entry.value) {
            Ok(change) => history.entries.push(change),
            Err(error) => history.unreadable.push(error.full()),
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(before: Option<&[u8]>) -> Entry {
        Entry {
            id: Entry::new_id(),
            head: Head {
                key: ConfigKey::parse("a/b").unwrap(),
                action: Action::Update,
                at: Timestamp::UNIX_EPOCH,
                actor: "mina@host".to_owned(),
                verb: "kv put".to_owned(),
                reason: "line\nbreak".to_owned(),
                batch: "x".to_owned(),
                had_value: before.is_some(),
                secret_like: None,
                broken_until: None,
            },
            before: before.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn a_value_of_any_bytes_comes_back() {
        let env = EnvName::new("dev").unwrap();
        for before in [None, Some(&b""[..]), Some(b"a\nb\n"), Some(&[0, 159, 146, 150])] {
            let entry = entry(before);
            let read = Entry::read(&Entry::path(&env, &entry.id), &entry.bytes().unwrap()).unwrap();
            assert_eq!(read, entry);
        }
        assert!(Entry::read("dev/mfctl-history/x", b"{}\n").is_err());
        assert!(Entry::read("dev/mfctl-history/x", b"no line").is_err());
    }

    #[test]
    fn ids_grow() {
        let ids: Vec<String> = (0..100).map(|_| Entry::new_id()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric())));
    }
}
