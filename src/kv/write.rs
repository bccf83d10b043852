//! Changes of settings, each in one transaction with the record of what it replaced.

use crate::kv::declared::Declarations;
use crate::kv::glass::Broken;
use crate::kv::history::{Action, Entry, Head};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp, secret_like};
use mfctl_core::ports::{ConfigChange, ConfigEntry, Error, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES, Result};

/// Bytes of values in a transaction: below what Consul takes as one request, 512 KiB of them in base64.
const MOST_BYTES: usize = 256 * 1024;

/// A key, what it is, and what it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The key.
    pub key: ConfigKey,
    /// As it was read; `None` where it was not there.
    pub is: Option<ConfigEntry>,
    /// Its new value; `None` removes it.
    pub to: Option<Vec<u8>>,
}

/// Who changes something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// By which verb.
    pub verb: String,
    /// What is changed together has the same.
    pub batch: String,
    /// When.
    pub at: Timestamp,
    /// Why values that look like secrets are written all the same.
    pub secret_like: Option<String>,
    /// Until when keys that a manifest declares are to be different.
    pub broken_until: Option<Timestamp>,
}

/// Why a key is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A manifest declares it.
    #[error("{key} is declared at {place}: it is changed there")]
    Declared {
        /// The key.
        key: ConfigKey,
        /// `base/consul-keys.yaml:7`.
        place: String,
    },
    /// Its new value looks like a secret.
    #[error("{key}: {why}")]
    SecretLike {
        /// The key.
        key: ConfigKey,
        /// What looks so, without the value.
        why: String,
    },
}

impl Edit {
    /// What it does; `None` for nothing.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        match (&self.is, &self.to) {
            (None, None) => None,
            (None, Some(_)) => Some(Action::Create),
            (Some(_), None) => Some(Action::Delete),
            (Some(is), Some(to)) => (is.value != *to).then_some(Action::Update),
        }
    }

    fn version(&self) -> u64 {
        self.is.as_ref().map_or(0, |entry| entry.version)
    }

    /// Bytes that a transaction with it carries.
    fn size(&self) -> usize {
        let before = self.is.as_ref().map_or(0, |entry| entry.value.len());
        before + self.to.as_ref().map_or(0, Vec::len) + 1024
    }
}

/// Why any of these must not be written.
#[must_use]
pub fn refused(edits: &[Edit], why: &Why, declarations: &Declarations) -> Vec<Refused> {
    let declared = |edit: &Edit| {
        let place = declarations.place(&edit.key).filter(|_| why.broken_until.is_none())?;
        Some(Refused::Declared { key: edit.key.clone(), place: place.to_owned() })
    };
    let secret = |edit: &Edit| {
        let text = edit.to.as_deref().map(String::from_utf8_lossy).filter(|_| why.secret_like.is_none())?;
        let why = secret_like::secret_reason(edit.key.name(), &text)?;
        Some(Refused::SecretLike { key: edit.key.clone(), why })
    };
    edits
        .iter()
        .filter(|edit| edit.action().is_some())
        .filter_map(|edit| declared(edit).or_else(|| secret(edit)))
        .collect()
}

/// Splits edits into what one transaction each can hold beside `reserved` parts of other things. Edits that change nothing
/// are left out.
#[must_use]
pub fn split(edits: &[Edit], why: &Why, declarations: &Declarations, reserved: usize) -> Vec<Vec<Edit>> {
    let most = MAX_CHANGES - reserved;
    let mut all: Vec<Vec<Edit>> = Vec::new();
    let (mut parts, mut bytes) = (0, 0);
    for edit in edits.iter().filter(|edit| edit.action().is_some()) {
        let needs = 2 + usize::from(breaks(edit, why, declarations));
        match all.last_mut() {
            Some(last) if parts + needs <= most && bytes + edit.size() <= MOST_BYTES => last.push(edit.clone()),
            _ => {
                all.push(vec![edit.clone()]);
                (parts, bytes) = (0, 0);
            }
        }
        parts += needs;
        bytes += edit.size();
    }
    all
}

/// The parts of a transaction that makes these edits, with the ids of their records.
///
/// # Errors
/// `Invalid` for a value that is too large, or whose record would be.
pub fn transaction(
    edits: &[Edit],
    why: &Why,
    declarations: &Declarations,
    env: &EnvName,
) -> Result<(Vec<ConfigChange>, Vec<String>)> {
    let (mut parts, mut ids) = (Vec::new(), Vec::new());
    for edit in edits {
        let Some(action) = edit.action() else { continue };
        let record = record(edit, action, why, declarations);
        let (path, value) = (edit.key.path(env), record.bytes()?);
        if value.len() > MAX_VALUE_BYTES {
            let what = format!("the value that {} has is too large to be kept beside the change", edit.key);
            return Err(Error::new(ErrorKind::Invalid, what).hint("change it with Consul's own tools"));
        }
        parts.push(match &edit.to {
            Some(to) => ConfigChange::Set { key: path, value: to.clone(), if_version: Some(edit.version()) },
            None => ConfigChange::Delete { key: path, if_version: Some(edit.version()) },
        });
        parts.push(ConfigChange::Set { key: Entry::path(env, &record.id), value, if_version: Some(0) });
        if let Some(broken) = broken(edit, why, declarations) {
            parts.push(broken.change(env)?);
        }
        ids.push(record.id);
    }
    Ok((parts, ids))
}

fn record(edit: &Edit, action: Action, why: &Why, declarations: &Declarations) -> Entry {
    let text = edit.to.as_deref().map(String::from_utf8_lossy);
    let looks_so = text.is_some_and(|text| secret_like::secret_reason(edit.key.name(), &text).is_some());
    Entry {
        id: Entry::new_id(),
        head: Head {
            key: edit.key.clone(),
            action,
            at: why.at,
            actor: why.actor.clone(),
            verb: why.verb.clone(),
            reason: why.reason.clone(),
            batch: why.batch.clone(),
            had_value: edit.is.is_some(),
            secret_like: why.secret_like.clone().filter(|_| looks_so),
            broken_until: why.broken_until.filter(|_| declarations.place(&edit.key).is_some()),
        },
        before: edit.is.as_ref().map(|entry| entry.value.clone()),
    }
}

fn breaks(edit: &Edit, why: &Why, declarations: &Declarations) -> bool {
    why.broken_until.is_some() && declarations.place(&edit.key).is_some()
}

fn broken(edit: &Edit, why: &Why, declarations: &Declarations) -> Option<Broken> {
    let until = why.broken_until.filter(|_| breaks(edit, why, declarations))?;
    let Why { actor, reason, at, .. } = why.clone();
    Some(Broken { key: edit.key.clone(), actor, reason, at, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::declared::Declared;

    fn why() -> Why {
        Why {
            actor: "mina@host".to_owned(),
            reason: "r".to_owned(),
            verb: "kv put".to_owned(),
            batch: "b".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            secret_like: None,
            broken_until: None,
        }
    }

    fn edit(name: &str, is: Option<&str>, to: Option<&str>) -> Edit {
        let key = ConfigKey::new("svc", name).unwrap();
        let entry = |value: &str| ConfigEntry { key: format!("dev/svc/{name}"), value: value.into(), version: 7 };
        Edit { key, is: is.map(entry), to: to.map(|to| to.as_bytes().to_vec()) }
    }

    fn declarations() -> Declarations {
        let declared = Declared { keys: [("a".to_owned(), "base/keys.yaml:7".to_owned())].into() };
        Declarations([("svc".to_owned(), declared)].into())
    }

    #[test]
    fn thirty_two_keys_are_one_transaction_and_large_values_are_fewer() {
        let edits: Vec<Edit> = (0..100).map(|n| edit(&format!("k{n}"), Some("1"), Some("2"))).collect();
        let lengths = |edits: &[Edit], reserved| -> Vec<usize> {
            split(edits, &why(), &Declarations::default(), reserved).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(&edits, 0), [32, 32, 32, 4]);
        assert_eq!(lengths(&edits, 1), [31, 31, 31, 7]);
        let large = "x".repeat(100_000);
        let edits: Vec<Edit> = (0..3).map(|n| edit(&format!("k{n}"), Some(&large), Some("2"))).collect();
        assert_eq!(lengths(&edits, 0), [2, 1]);
        assert_eq!(lengths(&[edit("a", Some("1"), Some("1")), edit("b", None, None)], 0), Vec::<usize>::new());
    }

    #[test]
    fn a_change_carries_its_record_and_holds_only_for_what_was_read() {
        let env = EnvName::new("dev").unwrap();
        let edits = [edit("a", Some("1"), Some("2")), edit("b", None, Some("3")), edit("c", Some("4"), None)];
        let (parts, ids) = transaction(&edits, &why(), &Declarations::default(), &env).unwrap();
        assert_eq!((parts.len(), ids.len()), (6, 3));
        let ConfigChange::Set { value, if_version: Some(0), .. } = &parts[1] else { panic!("{parts:?}") };
        let entry = Entry::read("dev/mfctl-history/x", value).unwrap();
        assert_eq!((entry.head.action, entry.before.as_deref()), (Action::Update, Some(&b"1"[..])));
        assert!(matches!(&parts[0], ConfigChange::Set { if_version: Some(7), .. }));
        assert!(matches!(&parts[2], ConfigChange::Set { if_version: Some(0), .. }));
        assert!(matches!(&parts[4], ConfigChange::Delete { if_version: Some(7), .. }));
    }

    #[test]
    fn what_a_manifest_declares_is_changed_there_until_somebody_breaks_the_glass() {
        let env = EnvName::new("dev").unwrap();
        let edits = [edit("a", Some("1"), Some("2")), edit("b", Some("1"), Some("2"))];
        let said = refused(&edits, &why(), &declarations());
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].to_string(), "svc/a is declared at base/keys.yaml:7: it is changed there");
        let why = Why { broken_until: Some(Timestamp::UNIX_EPOCH), ..why() };
        assert_eq!(refused(&edits, &why, &declarations()), []);
        let (parts, _) = transaction(&edits, &why, &declarations(), &env).unwrap();
        let glass =
            |part: &&ConfigChange| matches!(part, ConfigChange::Set { key, .. } if key.starts_with("dev/mfctl-glass/"));
        assert_eq!(parts.iter().filter(glass).count(), 1, "{parts:?}");
        // A key that is left as it is, is not a change.
        assert_eq!(refused(&[edit("a", Some("1"), Some("1"))], &self::why(), &declarations()), []);
    }

    #[test]
    fn a_secret_is_refused_without_being_repeated() {
        let edits = [edit("db_password", None, Some("hunter2"))];
        let said = refused(&edits, &why(), &Declarations::default());
        assert!(said.len() == 1 && !said[0].to_string().contains("hunter2"), "{said:?}");
        let why = Why { secret_like: Some("a placeholder".to_owned()), ..why() };
        assert_eq!(refused(&edits, &why, &Declarations::default()), []);
        let record = record(&edits[0], Action::Create, &why, &Declarations::default());
        assert_eq!(record.head.secret_like.as_deref(), Some("a placeholder"));
    }
}
