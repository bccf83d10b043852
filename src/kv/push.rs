//! Changes of more keys than one transaction holds, stored first so that an interrupted push can be resumed.
//!
//! A push is stored as parts that one transaction each can apply; the transaction that applies a part also deletes it. The
//! header is written after the last part and deleted with the last part applied, so it marks the stored push as complete:
//! parts without a header belong to a push that never began.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::declared::KeyDeclarations;
use super::write::{self, ChangeMetadata, SettingEdit};
use super::{EnvironmentSettings, read_settings};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigChange, ConfigLock, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-push";
/// Operations of a transaction that delete the applied part and the header.
const RESERVED_OPERATIONS: usize = 2;

/// A stored push of which some parts are not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedPush {
    /// Who pushed, when and why.
    pub metadata: ChangeMetadata,
    /// Number of parts of the whole push.
    pub total_parts: usize,
    /// Number of parts that are not applied yet.
    pub remaining_parts: usize,
    /// Number of keys that these parts change.
    pub remaining_keys: usize,
    /// The values that these parts write, by key.
    pub remaining_values: Vec<(ConfigKey, Vec<u8>)>,
}

/// The stored header of a push.
#[derive(Debug, Serialize, Deserialize)]
struct PushHeader {
    actor: String,
    reason: String,
    verb: String,
    at: Timestamp,
    #[serde(rename = "of")]
    total_parts: usize,
    #[serde(default)]
    secret_like: Option<String>,
    #[serde(default)]
    broken_until: Option<Timestamp>,
}

/// An edit in a stored part.
#[derive(Debug, Serialize, Deserialize)]
struct StoredPushEdit {
    key: ConfigKey,
    /// Version that the key must have; 0: it must not exist.
    version: u64,
    /// New value in base64; null deletes the key.
    to: Option<String>,
}

/// A part of a stored push.
struct StoredPushPart {
    store_key: String,
    version: u64,
    edits: Vec<StoredPushEdit>,
}

/// A push as it is stored; without a header it never began.
struct StoredPush {
    header: Option<PushHeader>,
    header_version: u64,
    parts: Vec<StoredPushPart>,
}

/// The result of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Id of the history entry of each changed key.
    pub history_ids: BTreeMap<ConfigKey, String>,
    /// Number of parts that are not applied, because `on_progress` ended the push.
    pub remaining_parts: usize,
}

/// Applies the edits, in one transaction if they fit, otherwise as a stored push. `on_progress` receives the applied and the
/// total number of parts before each part of a stored push and after the last one, and ends the push with `false`.
///
/// # Errors
/// `Conflict` when a key has another version than its edit, `Locked` when the lock was lost, otherwise those of the store.
/// Transactions that were applied before stay applied.
pub async fn push(
    store: &dyn ConfigStore,
    env: &EnvName,
    edits: &[SettingEdit],
    metadata: &ChangeMetadata,
    declarations: &KeyDeclarations,
    lock: &dyn ConfigLock,
    on_progress: &dyn Fn(usize, usize) -> bool,
) -> Result<PushOutcome> {
    let transactions = write::split_into_transactions(edits, metadata, declarations, 0);
    if transactions.len() <= 1 {
        let edits = transactions.into_iter().next().unwrap_or_default();
        let (operations, history_ids) = write::transaction(&edits, metadata, declarations, env)?;
        lock.check().await?;
        store.apply(&operations).await?;
        return Ok(PushOutcome { history_ids: by_key(&edits, history_ids), remaining_parts: 0 });
    }
    let parts = write::split_into_transactions(edits, metadata, declarations, RESERVED_OPERATIONS);
    store_push(store, env, &parts, metadata).await?;
    mfctl_core::failpoint::hit("push_written");
    resume(store, env, &metadata.batch, declarations, lock, on_progress).await
}

fn by_key(edits: &[SettingEdit], history_ids: Vec<String>) -> BTreeMap<ConfigKey, String> {
    edits.iter().map(|edit| edit.key.clone()).zip(history_ids).collect()
}

/// Unfinished pushes, by batch. Stored parts without a header are not listed: nothing of them was applied.
///
/// # Errors
/// Those of the store; `Corrupt` for a malformed header or part.
pub async fn unfinished(store: &dyn ConfigStore, env: &EnvName) -> Result<BTreeMap<String, UnfinishedPush>> {
    let mut unfinished = BTreeMap::new();
    for (batch, push) in stored_pushes(store, env).await? {
        let Some(header) = push.header else { continue };
        let mut remaining_values = Vec::new();
        for part in &push.parts {
            for edit in &part.edits {
                remaining_values.extend(edit.value(part)?.map(|value| (edit.key.clone(), value)));
            }
        }
        let push = UnfinishedPush {
            metadata: header.metadata(batch.clone()),
            total_parts: header.total_parts,
            remaining_parts: push.parts.len(),
            remaining_keys: push.parts.iter().map(|part| part.edits.len()).sum(),
            remaining_values,
        };
        unfinished.insert(batch, push);
    }
    Ok(unfinished)
}

/// Applies the remaining parts of an unfinished push.
///
/// # Errors
/// As [`push`]; also `Conflict` when a key must no longer be written, and `NotFound` when the batch has no unfinished push.
pub async fn resume(
    store: &dyn ConfigStore,
    env: &EnvName,
    batch: &str,
    declarations: &KeyDeclarations,
    lock: &dyn ConfigLock,
    on_progress: &dyn Fn(usize, usize) -> bool,
) -> Result<PushOutcome> {
    let Some(StoredPush { header: Some(header), header_version, parts }) =
        stored_pushes(store, env).await?.remove(batch)
    else {
        return Err(no_unfinished_push(batch));
    };
    let metadata = header.metadata(batch.to_owned());
    let total_parts = header.total_parts;
    let mut remaining_parts = parts.len();
    let settings = read_settings(store, env, None).await?;
    let mut outcome = PushOutcome::default();
    for part in parts {
        if !on_progress(total_parts - remaining_parts, total_parts) {
            return Ok(PushOutcome { remaining_parts, ..outcome });
        }
        let edits = to_edits(&part, &settings)?;
        if let Some(refusal) = write::refusals(&edits, &metadata, declarations).first() {
            return Err(Error::new(ErrorKind::Conflict, format!("since it was pushed: {refusal}"))
                .hint("abandon the push, and push the remaining settings again"));
        }
        let (mut operations, history_ids) = write::transaction(&edits, &metadata, declarations, env)?;
        operations.push(ConfigChange::Delete { key: part.store_key, if_version: Some(part.version) });
        if remaining_parts == 1 {
            operations.push(ConfigChange::Delete { key: header_key(env, batch), if_version: Some(header_version) });
        }
        lock.check().await?;
        store.apply(&operations).await?;
        mfctl_core::failpoint::hit("push_part");
        outcome.history_ids.extend(by_key(&edits, history_ids));
        remaining_parts -= 1;
    }
    on_progress(total_parts, total_parts);
    Ok(outcome)
}

/// Deletes the remaining parts of an unfinished push; the applied ones stay applied. Returns the number of keys that the
/// deleted parts would have changed.
///
/// # Errors
/// `NotFound` when the batch has no unfinished push, otherwise those of the store.
pub async fn abandon(store: &dyn ConfigStore, env: &EnvName, batch: &str) -> Result<usize> {
    let Some(StoredPush { header: Some(_), header_version, parts }) = stored_pushes(store, env).await?.remove(batch)
    else {
        return Err(no_unfinished_push(batch));
    };
    // The header goes first: without it, parts that a crash leaves are never applied.
    store.apply(&[ConfigChange::Delete { key: header_key(env, batch), if_version: Some(header_version) }]).await?;
    let keys = parts.iter().map(|part| part.edits.len()).sum();
    delete_parts(store, parts).await?;
    Ok(keys)
}

fn no_unfinished_push(batch: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no unfinished push {batch}"))
}

async fn delete_parts(store: &dyn ConfigStore, parts: Vec<StoredPushPart>) -> Result<()> {
    for part in parts {
        store.apply(&[ConfigChange::Delete { key: part.store_key, if_version: None }]).await?;
    }
    Ok(())
}

async fn store_push(
    store: &dyn ConfigStore,
    env: &EnvName,
    parts: &[Vec<SettingEdit>],
    metadata: &ChangeMetadata,
) -> Result<()> {
    let unserializable = |error| Error::new(ErrorKind::Internal, "serialize a push").because(error);
    let ChangeMetadata { actor, reason, verb, batch, at, secret_like, broken_until } = metadata.clone();
    let header = PushHeader { actor, reason, verb, at, total_parts: parts.len(), secret_like, broken_until };
    for (number, edits) in parts.iter().enumerate() {
        let edits = edits.iter().map(|edit| StoredPushEdit {
            key: edit.key.clone(),
            version: edit.current.as_ref().map_or(0, |entry| entry.version),
            to: edit.to.as_ref().map(|to| STANDARD.encode(to)),
        });
        let value = serde_json::to_vec(&edits.collect::<Vec<_>>()).map_err(unserializable)?;
        let key = format!("{env}/{SERVICE}/{batch}_{number:04}");
        store.apply(&[ConfigChange::Set { key, value, if_version: Some(0) }]).await?;
    }
    let value = serde_json::to_vec(&header).map_err(unserializable)?;
    store.apply(&[ConfigChange::Set { key: header_key(env, &batch), value, if_version: Some(0) }]).await
}

fn header_key(env: &EnvName, batch: &str) -> String {
    format!("{env}/{SERVICE}/{batch}")
}

async fn stored_pushes(store: &dyn ConfigStore, env: &EnvName) -> Result<BTreeMap<String, StoredPush>> {
    let prefix = format!("{env}/{SERVICE}/");
    let mut pushes: BTreeMap<String, StoredPush> = BTreeMap::new();
    for entry in store.list(&prefix).await?.entries {
        let corrupt = |error: serde_json::Error| {
            Error::new(ErrorKind::Corrupt, format!("{} is not a valid part of a push", entry.key)).because(error)
        };
        let name = &entry.key[prefix.len()..];
        let (batch, is_part) = name.split_once('_').map_or((name, false), |(batch, _)| (batch, true));
        let empty = StoredPush { header: None, header_version: 0, parts: Vec::new() };
        let push = pushes.entry(batch.to_owned()).or_insert(empty);
        if is_part {
            let edits = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            push.parts.push(StoredPushPart { store_key: entry.key, version: entry.version, edits });
        } else {
            push.header = Some(serde_json::from_slice(&entry.value).map_err(corrupt)?);
            push.header_version = entry.version;
        }
    }
    Ok(pushes)
}

/// Deletes stored parts without a header. The caller must hold the lock: another process may be storing a push.
///
/// # Errors
/// Those of the store.
pub async fn delete_incomplete(store: &dyn ConfigStore, env: &EnvName) -> Result<()> {
    for push in stored_pushes(store, env).await?.into_values().filter(|push| push.header.is_none()) {
        delete_parts(store, push.parts).await?;
    }
    Ok(())
}

fn to_edits(part: &StoredPushPart, settings: &EnvironmentSettings) -> Result<Vec<SettingEdit>> {
    let to_edit = |stored: &StoredPushEdit| {
        let current = settings.entries.get(&stored.key).cloned();
        if current.as_ref().map_or(0, |entry| entry.version) != stored.version {
            let message = format!("key {} has changed since it was pushed", stored.key);
            return Err(Error::new(ErrorKind::Conflict, message)
                .hint("review the key; then abandon the push, and push the remaining settings again"));
        }
        Ok(SettingEdit { key: stored.key.clone(), current, to: stored.value(part)? })
    };
    part.edits.iter().map(to_edit).collect()
}

impl StoredPushEdit {
    /// The new value; `None` deletes the key.
    fn value(&self, part: &StoredPushPart) -> Result<Option<Vec<u8>>> {
        let corrupt = |error| {
            Error::new(ErrorKind::Corrupt, format!("{} is not a valid part of a push", part.store_key)).because(error)
        };
        self.to.as_ref().map(|to| STANDARD.decode(to)).transpose().map_err(corrupt)
    }
}

impl PushHeader {
    fn metadata(&self, batch: String) -> ChangeMetadata {
        ChangeMetadata {
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
