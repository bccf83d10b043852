//! Changes of more keys than one transaction holds, so that one that was cut short is known and gone on with.
//!
//! What is to come is written down first, in parts that one transaction each can hold; each part goes away in the
//! transaction that makes it. The head, written with the last part and removed with the last one made, says that what is
//! written down is whole: parts without one are of a push that never began.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::declared::Declarations;
use super::write::{self, Edit, Why};
use super::{Settings, read};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigChange, ConfigLock, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-push";
/// Parts of a transaction for the part that it makes, and the head.
const RESERVED: usize = 2;

/// A push that was written down and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Who pushed, and why.
    pub why: Why,
    /// How many parts it had.
    pub of: usize,
    /// How many are still to come.
    pub left: usize,
    /// How many keys those change.
    pub keys: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeadText {
    actor: String,
    reason: String,
    verb: String,
    at: Timestamp,
    of: usize,
    #[serde(default)]
    secret_like: Option<String>,
    #[serde(default)]
    broken_until: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartText {
    key: ConfigKey,
    /// The version that the key had; 0 where it was not there.
    version: u64,
    /// In base64; null removes the key.
    to: Option<String>,
}

/// A part that was written down.
struct Part {
    path: String,
    version: u64,
    edits: Vec<PartText>,
}

struct Written {
    head: Option<HeadText>,
    head_version: u64,
    parts: Vec<Part>,
}

/// Makes the edits, and gives the ids of their records. `tell` hears how many parts of how many are done, and says whether
/// to go on.
///
/// # Errors
/// `Conflict` when a key is not what the edit says it is, `Locked` when the lock was lost, otherwise those of the store.
/// What was done until then stays.
pub async fn make(
    store: &dyn ConfigStore,
    env: &EnvName,
    edits: &[Edit],
    why: &Why,
    declarations: &Declarations,
    lock: &dyn ConfigLock,
    tell: &dyn Fn(usize, usize) -> bool,
) -> Result<Made> {
    let at_once = write::split(edits, why, declarations, 0);
    if at_once.len() <= 1 {
        let edits = at_once.into_iter().next().unwrap_or_default();
        let (parts, ids) = write::transaction(&edits, why, declarations, env)?;
        lock.check().await?;
        store.apply(&parts).await?;
        return Ok(Made { ids: by_key(&edits, ids), left: 0 });
    }
    let parts = write::split(edits, why, declarations, RESERVED);
    write_down(store, env, &parts, why).await?;
    mfctl_core::failpoint::hit("push_written");
    go_on(store, env, &why.batch, declarations, lock, tell).await
}

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The record of each key's change.
    pub ids: BTreeMap<ConfigKey, String>,
    /// Parts that are still to come, because `tell` said so.
    pub left: usize,
}

fn by_key(edits: &[Edit], ids: Vec<String>) -> BTreeMap<ConfigKey, String> {
    edits.iter().map(|edit| edit.key.clone()).zip(ids).collect()
}

/// Every push that was not finished, by its batch. What was never whole is removed: nothing of it was made.
///
/// # Errors
/// Those of the store; `Corrupt` for what cannot be read.
pub async fn unfinished(store: &dyn ConfigStore, env: &EnvName) -> Result<BTreeMap<String, Unfinished>> {
    let written = written(store, env).await?.into_iter();
    Ok(written
        .filter_map(|(batch, written)| {
            let head = written.head?;
            let keys = written.parts.iter().map(|part| part.edits.len()).sum();
            let (of, left) = (head.of, written.parts.len());
            Some((batch.clone(), Unfinished { why: head.why(batch), of, left, keys }))
        })
        .collect())
}

/// Goes on with a push.
///
/// # Errors
/// As [`make`]; `NotFound` when there is no such push.
pub async fn go_on(
    store: &dyn ConfigStore,
    env: &EnvName,
    batch: &str,
    declarations: &Declarations,
    lock: &dyn ConfigLock,
    tell: &dyn Fn(usize, usize) -> bool,
) -> Result<Made> {
    let Some(Written { head: Some(head), head_version, parts }) = written(store, env).await?.remove(batch) else {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no unfinished push {batch}")));
    };
    let (why, of, mut left) = (head.why(batch.to_owned()), head.of, parts.len());
    let is = read(store, env, None).await?;
    let mut made = Made::default();
    for part in parts {
        if !tell(of - left, of) {
            return Ok(Made { left, ..made });
        }
        let edits = edits_of(&part, &is)?;
        if let Some(refused) = write::refused(&edits, &why, declarations).first() {
            return Err(Error::new(ErrorKind::Conflict, format!("since it was pushed: {refused}"))
                .hint("abandon the push, and push what is left anew"));
        }
        let (mut changes, ids) = write::transaction(&edits, &why, declarations, env)?;
        changes.push(ConfigChange::Delete { key: part.path, if_version: Some(part.version) });
        if left == 1 {
            changes.push(ConfigChange::Delete { key: head_path(env, batch), if_version: Some(head_version) });
        }
        lock.check().await?;
        store.apply(&changes).await?;
        mfctl_core::failpoint::hit("push_part");
        made.ids.extend(by_key(&edits, ids));
        left -= 1;
    }
    tell(of, of);
    Ok(made)
}

/// Gives a push up: what was made of it stays, what was to come does not come. Gives how many keys those were.
///
/// # Errors
/// `NotFound` when there is none, otherwise those of the store.
pub async fn abandon(store: &dyn ConfigStore, env: &EnvName, batch: &str) -> Result<usize> {
    let Some(Written { head: Some(_), head_version, parts }) = written(store, env).await?.remove(batch) else {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no unfinished push {batch}")));
    };
    // Without its head it is no push any more, whatever happens to the rest.
    store.apply(&[ConfigChange::Delete { key: head_path(env, batch), if_version: Some(head_version) }]).await?;
    let keys = parts.iter().map(|part| part.edits.len()).sum();
    remove(store, parts).await?;
    Ok(keys)
}

async fn remove(store: &dyn ConfigStore, parts: Vec<Part>) -> Result<()> {
    for part in parts {
        store.apply(&[ConfigChange::Delete { key: part.path, if_version: None }]).await?;
    }
    Ok(())
}

async fn write_down(store: &dyn ConfigStore, env: &EnvName, parts: &[Vec<Edit>], why: &Why) -> Result<()> {
    let unwritten = |error| Error::new(ErrorKind::Internal, "write down what is to be changed").because(error);
    let Why { actor, reason, verb, batch, at, secret_like, broken_until } = why.clone();
    let head = HeadText { actor, reason, verb, at, of: parts.len(), secret_like, broken_until };
    for (n, edits) in parts.iter().enumerate() {
        let edits = edits.iter().map(|edit| PartText {
            key: edit.key.clone(),
            version: edit.is.as_ref().map_or(0, |entry| entry.version),
            to: edit.to.as_ref().map(|to| STANDARD.encode(to)),
        });
        let value = serde_json::to_vec(&edits.collect::<Vec<_>>()).map_err(unwritten)?;
        let key = format!("{env}/{SERVICE}/{batch}_{n:04}");
        store.apply(&[ConfigChange::Set { key, value, if_version: Some(0) }]).await?;
    }
    let value = serde_json::to_vec(&head).map_err(unwritten)?;
    store.apply(&[ConfigChange::Set { key: head_path(env, &batch), value, if_version: Some(0) }]).await
}

fn head_path(env: &EnvName, batch: &str) -> String {
    format!("{env}/{SERVICE}/{batch}")
}

async fn written(store: &dyn ConfigStore, env: &EnvName) -> Result<BTreeMap<String, Written>> {
    let prefix = format!("{env}/{SERVICE}/");
    let mut all: BTreeMap<String, Written> = BTreeMap::new();
    for entry in store.list(&prefix).await?.entries {
        let corrupt = |error: serde_json::Error| {
            Error::new(ErrorKind::Corrupt, format!("{} is no part of a push", entry.key)).because(error)
        };
        let name = &entry.key[prefix.len()..];
        let (batch, is_part) = name.split_once('_').map_or((name, false), |(batch, _)| (batch, true));
        let written = all.entry(batch.to_owned()).or_insert(Written { head: None, head_version: 0, parts: Vec::new() });
        if is_part {
            let edits = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            written.parts.push(Part { path: entry.key, version: entry.version, edits });
        } else {
            written.head = Some(serde_json::from_slice(&entry.value).map_err(corrupt)?);
            written.head_version = entry.version;
        }
    }
    Ok(all)
}

/// Removes what was written down of pushes that never began. Only under the lock: another may be writing one down.
///
/// # Errors
/// Those of the store.
pub async fn sweep(store: &dyn ConfigStore, env: &EnvName) -> Result<()> {
    for written in written(store, env).await?.into_values().filter(|written| written.head.is_none()) {
        remove(store, written.parts).await?;
    }
    Ok(())
}

fn edits_of(part: &Part, settings: &Settings) -> Result<Vec<Edit>> {
    let edit = |text: &PartText| {
        let is = settings.entries.get(&text.key).cloned();
        if is.as_ref().map_or(0, |entry| entry.version) != text.version {
            let what = format!("key {} is not what it was when it was pushed", text.key);
            return Err(Error::new(ErrorKind::Conflict, what)
                .hint("look at it; then abandon the push, and push what is left anew"));
        }
        let decoded = text.to.as_ref().map(|to| STANDARD.decode(to)).transpose();
        let corrupt =
            |error| Error::new(ErrorKind::Corrupt, format!("{} is no part of a push", part.path)).because(error);
        Ok(Edit { key: text.key.clone(), is, to: decoded.map_err(corrupt)? })
    };
    part.edits.iter().map(edit).collect()
}

impl HeadText {
    fn why(&self, batch: String) -> Why {
        Why {
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            verb: self.verb.clone(),
            batch,
            at: self.at,
            secret_like: self.secret_like.clone(),
            broken_until: self.broken_until,
        }
    }
}
