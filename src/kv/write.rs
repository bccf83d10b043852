//! Changes of settings. Each is one transaction with the history entry of the value that it replaces.

use crate::kv::break_glass::BreakGlassException;
use crate::kv::declared::KeyDeclarations;
use crate::kv::history::{HistoryEntry, HistoryHeader, SettingAction};
use mfctl_core::domain::{ConfigKey, EnvName, Sha256, Timestamp, secret_like};
use mfctl_core::ports::{ConfigChange, ConfigEntry, Error, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES, Result};

/// Maximum bytes of values in a transaction. In base64 this stays below Consul's limit of 512 KiB for a request.
const MAX_TRANSACTION_BYTES: usize = 256 * 1024;

/// A key with its current and its new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingEdit {
    /// The key.
    pub key: ConfigKey,
    /// The entry as it was read, whose version the write checks; `None` where the key does not exist.
    pub current: Option<ConfigEntry>,
    /// New value; `None` deletes the key.
    pub to: Option<Vec<u8>>,
}

/// Who makes a change, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeMetadata {
    /// Who makes the change.
    pub actor: String,
    /// Reason for the change.
    pub reason: String,
    /// The command, e.g. `kv put`.
    pub verb: String,
    /// Id that changes of the same command share.
    pub batch: String,
    /// Time of the change.
    pub at: Timestamp,
    /// Reason for writing values that look like secrets; `None` refuses them.
    pub secret_like: Option<String>,
    /// Expiry of the break-glass exceptions for declared keys; `None` refuses to change these keys.
    pub broken_until: Option<Timestamp>,
}

/// The reason why a key must not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// A manifest declares it.
    #[error("{key} is declared at {place}: it is changed there")]
    Declared {
        /// The key.
        key: ConfigKey,
        /// Location of the declaration, as `base/consul-keys.yaml:7`.
        place: String,
    },
    /// Its new value looks like a secret.
    #[error("{key}: {reason}")]
    SecretLike {
        /// The key.
        key: ConfigKey,
        /// Why it looks like one, without the value.
        reason: String,
    },
}

impl SettingEdit {
    /// What the edit does; `None` if it changes nothing.
    #[must_use]
    pub fn action(&self) -> Option<SettingAction> {
        match (&self.current, &self.to) {
            (None, None) => None,
            (None, Some(_)) => Some(SettingAction::Create),
            (Some(_), None) => Some(SettingAction::Delete),
            (Some(current), Some(to)) => (current.value != *to).then_some(SettingAction::Update),
        }
    }

    fn current_version(&self) -> u64 {
        self.current.as_ref().map_or(0, |entry| entry.version)
    }

    /// Bytes that the edit adds to a transaction, with an allowance of 1 KiB for the metadata.
    fn size(&self) -> usize {
        let current = self.current.as_ref().map_or(0, |entry| entry.value.len());
        current + self.to.as_ref().map_or(0, Vec::len) + 1024
    }
}

/// The edits that must not be written, each with the reason.
#[must_use]
pub fn refusals(edits: &[SettingEdit], metadata: &ChangeMetadata, declarations: &KeyDeclarations) -> Vec<EditRefusal> {
    let declared = |edit: &SettingEdit| {
        let place = declarations.location(&edit.key).filter(|_| metadata.broken_until.is_none())?;
        Some(EditRefusal::Declared { key: edit.key.clone(), place: place.to_owned() })
    };
    let secret_like = |edit: &SettingEdit| {
        let text = edit.to.as_deref().map(String::from_utf8_lossy).filter(|_| metadata.secret_like.is_none())?;
        let reason = secret_like::secret_reason(edit.key.name(), &text)?;
        Some(EditRefusal::SecretLike { key: edit.key.clone(), reason })
    };
    edits
        .iter()
        .filter(|edit| edit.action().is_some())
        .filter_map(|edit| declared(edit).or_else(|| secret_like(edit)))
        .collect()
}

/// Splits edits into transactions, each with room for `reserved` further operations. Edits that change nothing are left out.
#[must_use]
pub fn split_into_transactions(
    edits: &[SettingEdit],
    metadata: &ChangeMetadata,
    declarations: &KeyDeclarations,
    reserved: usize,
) -> Vec<Vec<SettingEdit>> {
    let max_operations = MAX_CHANGES - reserved;
    let mut transactions: Vec<Vec<SettingEdit>> = Vec::new();
    let mut operations = 0;
    let mut bytes = 0;
    for edit in edits.iter().filter(|edit| edit.action().is_some()) {
        let needed = 2 + usize::from(needs_exception(edit, metadata, declarations));
        match transactions.last_mut() {
            Some(last) if operations + needed <= max_operations && bytes + edit.size() <= MAX_TRANSACTION_BYTES => {
                last.push(edit.clone());
            }
            _ => {
                transactions.push(vec![edit.clone()]);
                operations = 0;
                bytes = 0;
            }
        }
        operations += needed;
        bytes += edit.size();
    }
    transactions
}

/// The operations of a transaction that makes these edits, and the ids of their history entries.
///
/// # Errors
/// `Invalid` when a history entry, which holds the previous value, would exceed [`MAX_VALUE_BYTES`].
pub fn transaction(
    edits: &[SettingEdit],
    metadata: &ChangeMetadata,
    declarations: &KeyDeclarations,
    env: &EnvName,
) -> Result<(Vec<ConfigChange>, Vec<String>)> {
    let mut operations = Vec::new();
    let mut history_ids = Vec::new();
    for edit in edits {
        let Some(action) = edit.action() else { continue };
        let history_entry = history_entry(edit, action, metadata, declarations);
        let encoded = history_entry.encode()?;
        if encoded.len() > MAX_VALUE_BYTES {
            let message = format!("the previous value of {} is too large to be kept in the history", edit.key);
            return Err(Error::new(ErrorKind::Invalid, message).hint("change it with Consul's own tools"));
        }
        let key = edit.key.path(env);
        let if_version = Some(edit.current_version());
        operations.push(match &edit.to {
            Some(to) => ConfigChange::Set { key, value: to.clone(), if_version },
            None => ConfigChange::Delete { key, if_version },
        });
        let history_key = HistoryEntry::store_key(env, &history_entry.id);
        operations.push(ConfigChange::Set { key: history_key, value: encoded, if_version: Some(0) });
        if let Some(exception) = exception(edit, metadata, declarations) {
            operations.push(exception.set_change(env)?);
        }
        history_ids.push(history_entry.id);
    }
    Ok((operations, history_ids))
}

fn history_entry(
    edit: &SettingEdit,
    action: SettingAction,
    metadata: &ChangeMetadata,
    declarations: &KeyDeclarations,
) -> HistoryEntry {
    let text = edit.to.as_deref().map(String::from_utf8_lossy);
    let is_secret_like = text.is_some_and(|text| secret_like::secret_reason(edit.key.name(), &text).is_some());
    HistoryEntry {
        id: HistoryEntry::new_id(),
        head: HistoryHeader {
            key: edit.key.clone(),
            action,
            at: metadata.at,
            actor: metadata.actor.clone(),
            verb: metadata.verb.clone(),
            reason: metadata.reason.clone(),
            batch: metadata.batch.clone(),
            had_value: edit.current.is_some(),
            value_sha256: edit.to.as_deref().map(Sha256::of),
            secret_like: metadata.secret_like.clone().filter(|_| is_secret_like),
            broken_until: metadata.broken_until.filter(|_| declarations.location(&edit.key).is_some()),
        },
        before: edit.current.as_ref().map(|entry| entry.value.clone()),
        version: 0,
    }
}

/// Whether a break-glass exception is recorded for an edit: its key is declared.
fn needs_exception(edit: &SettingEdit, metadata: &ChangeMetadata, declarations: &KeyDeclarations) -> bool {
    metadata.broken_until.is_some() && declarations.location(&edit.key).is_some()
}

fn exception(
    edit: &SettingEdit,
    metadata: &ChangeMetadata,
    declarations: &KeyDeclarations,
) -> Option<BreakGlassException> {
    let until = metadata.broken_until.filter(|_| needs_exception(edit, metadata, declarations))?;
    let ChangeMetadata { actor, reason, at, .. } = metadata.clone();
    Some(BreakGlassException { key: edit.key.clone(), actor, reason, at, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::declared::DeclaredKeys;

    fn metadata() -> ChangeMetadata {
        ChangeMetadata {
            actor: "mina@host".to_owned(),
            reason: "r".to_owned(),
            verb: "kv put".to_owned(),
            batch: "b".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            secret_like: None,
            broken_until: None,
        }
    }

    fn edit(name: &str, current: Option<&str>, to: Option<&str>) -> SettingEdit {
        let key = ConfigKey::new("svc", name).unwrap();
        let entry = |value: &str| ConfigEntry { key: format!("dev/svc/{name}"), value: value.into(), version: 7 };
        SettingEdit { key, current: current.map(entry), to: to.map(|to| to.as_bytes().to_vec()) }
    }

    fn declarations() -> KeyDeclarations {
        let declared = DeclaredKeys { keys: [("a".to_owned(), "base/keys.yaml:7".to_owned())].into() };
        KeyDeclarations([("svc".to_owned(), declared)].into())
    }

    #[test]
    fn a_transaction_holds_32_keys_and_fewer_with_large_values() {
        let edits: Vec<SettingEdit> = (0..100).map(|n| edit(&format!("k{n}"), Some("1"), Some("2"))).collect();
        let lengths = |edits: &[SettingEdit], reserved| -> Vec<usize> {
            split_into_transactions(edits, &metadata(), &KeyDeclarations::default(), reserved)
                .iter()
                .map(Vec::len)
                .collect()
        };
        assert_eq!(lengths(&edits, 0), [32, 32, 32, 4]);
        assert_eq!(lengths(&edits, 1), [31, 31, 31, 7]);
        let large = "x".repeat(100_000);
        let edits: Vec<SettingEdit> = (0..3).map(|n| edit(&format!("k{n}"), Some(&large), Some("2"))).collect();
        assert_eq!(lengths(&edits, 0), [2, 1]);
        assert_eq!(lengths(&[edit("a", Some("1"), Some("1")), edit("b", None, None)], 0), Vec::<usize>::new());
    }

    #[test]
    fn a_change_includes_its_history_entry_and_checks_the_version_that_was_read() {
        let env = EnvName::new("dev").unwrap();
        let edits = [edit("a", Some("1"), Some("2")), edit("b", None, Some("3")), edit("c", Some("4"), None)];
        let (operations, ids) = transaction(&edits, &metadata(), &KeyDeclarations::default(), &env).unwrap();
        assert_eq!((operations.len(), ids.len()), (6, 3));
        let ConfigChange::Set { value, if_version: Some(0), .. } = &operations[1] else { panic!("{operations:?}") };
        let stored = ConfigEntry { key: "dev/mfctl-history/x".to_owned(), value: value.clone(), version: 8 };
        let entry = HistoryEntry::decode(&stored).unwrap();
        assert_eq!((entry.head.action, entry.before.as_deref()), (SettingAction::Update, Some(&b"1"[..])));
        assert!(matches!(&operations[0], ConfigChange::Set { if_version: Some(7), .. }));
        assert!(matches!(&operations[2], ConfigChange::Set { if_version: Some(0), .. }));
        assert!(matches!(&operations[4], ConfigChange::Delete { if_version: Some(7), .. }));
    }

    #[test]
    fn a_declared_key_is_refused_unless_a_break_glass_exception_is_recorded() {
        let env = EnvName::new("dev").unwrap();
        let edits = [edit("a", Some("1"), Some("2")), edit("b", Some("1"), Some("2"))];
        let refused = refusals(&edits, &metadata(), &declarations());
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].to_string(), "svc/a is declared at base/keys.yaml:7: it is changed there");
        let metadata = ChangeMetadata { broken_until: Some(Timestamp::UNIX_EPOCH), ..metadata() };
        assert_eq!(refusals(&edits, &metadata, &declarations()), []);
        let (operations, _) = transaction(&edits, &metadata, &declarations(), &env).unwrap();
        let is_exception = |change: &&ConfigChange| match change {
            ConfigChange::Set { key, .. } => key.starts_with("dev/mfctl-glass/"),
            _ => false,
        };
        assert_eq!(operations.iter().filter(is_exception).count(), 1, "{operations:?}");
        // An edit that changes nothing is not refused.
        assert_eq!(refusals(&[edit("a", Some("1"), Some("1"))], &self::metadata(), &declarations()), []);
    }

    #[test]
    fn a_secret_is_refused_and_not_printed() {
        let edits = [edit("db_password", None, Some("hunter2"))];
        let refused = refusals(&edits, &metadata(), &KeyDeclarations::default());
        assert!(refused.len() == 1 && !refused[0].to_string().contains("hunter2"), "{refused:?}");
        let metadata = ChangeMetadata { secret_like: Some("a placeholder".to_owned()), ..metadata() };
        assert_eq!(refusals(&edits, &metadata, &KeyDeclarations::default()), []);
        let entry = history_entry(&edits[0], SettingAction::Create, &metadata, &KeyDeclarations::default());
        assert_eq!(entry.head.secret_like.as_deref(), Some("a placeholder"));
    }
}
