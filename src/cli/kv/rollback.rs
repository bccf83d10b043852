//! `mfctl kv rollback`: restores an earlier value of a setting, or undoes a batch of changes.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, ChangeOptions, ChangeRequest, Confirmation};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::kv;
use crate::kv::history::{self, HistoryEntry};
use crate::kv::last_change::OutsideChange;
use mfctl_core::domain::ConfigKey;
use mfctl_core::ports::ConfigEntry;

/// Arguments of `mfctl kv rollback`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without --to, restores the value before the last change; refused where another tool has changed the setting since. A rollback is a change like any other: it can be rolled back.

Examples:
  mfctl kv rollback media-api/max_page_size --reason 'worse'
  mfctl kv history media-api/max_page_size                         list the earlier values
  mfctl kv rollback media-api/max_page_size --to 0199f1… --reason 'as last week'
  mfctl kv rollback --batch 0199f2… --reason 'the push was wrong'  undo all changes of a push

Exit codes: 0 rolled back, or nothing to change, 2 wrong usage, 5 Consul not reachable, 6 no such change, or mfctl's own setting
would be invalid, 7 another change is in progress, 8 not confirmed, or a manifest declares it")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", required_unless_present = "batch", add = ArgValueCandidates::new(complete::settings))]
    key: Option<String>,
    /// Restore the value that this change replaced; a unique prefix of its id is enough
    #[arg(long, value_name = "CHANGE", requires = "key")]
    to: Option<String>,
    /// Undo every change of this batch
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["key", "to"])]
    batch: Option<String>,
    #[command(flatten)]
    options: ChangeOptions,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let store = connection.store.as_ref();
    let env = connection.env();
    let history = history::read(store, env).await?;
    let values = match (&args.key, &args.batch) {
        (_, Some(batch)) => values_before_batch(&history.entries, batch)?,
        (Some(key), None) => value_before_change(&history.entries, &connection.parse_key(key)?, args.to.as_deref())?,
        (None, None) => return Err(Failure::usage("name a setting, or a batch with --batch")),
    };
    let settings = kv::read_settings(store, env, None).await?;
    if let (Some(key), None) = (&args.key, &args.to) {
        let key = connection.parse_key(key)?;
        check_last_is_current(&history.entries, &key, settings.entries.get(&key))?;
    }
    let (edits, unchanged) = change::edits_to(&settings, values);
    let request = ChangeRequest { verb: "kv rollback", edits, unchanged, confirmation: Confirmation::Dangerous };
    change::run(cx, &connection, &args.options, request).await
}

/// Refuses to restore the value before the last change by mfctl where another tool has changed the key since.
fn check_last_is_current(history: &[HistoryEntry], key: &ConfigKey, current: Option<&ConfigEntry>) -> Result<()> {
    let last = history.iter().find(|entry| entry.head.key == *key);
    match last.and_then(|last| OutsideChange::after(last, current)) {
        Some(outside) => {
            Err(Failure::refused(format!("{key}: {outside}; the value before that is not in the history"))
                .hint(format!("`mfctl kv history {key}` lists earlier values; --to CHANGE restores one of them")))
        }
        None => Ok(()),
    }
}

/// The value to restore for each key; none where the key did not exist.
type RollbackValues = BTreeMap<ConfigKey, Option<Vec<u8>>>;

/// The value of a key before the change whose id begins with `to`; without `to`, before its last change.
fn value_before_change(history: &[HistoryEntry], key: &ConfigKey, to: Option<&str>) -> Result<RollbackValues> {
    let changes: Vec<&HistoryEntry> = history.iter().filter(|entry| entry.head.key == *key).collect();
    let matching: Vec<&&HistoryEntry> = match to {
        None => changes.iter().take(1).collect(),
        Some(id) => changes.iter().filter(|entry| entry.id.starts_with(id)).collect(),
    };
    match matching.as_slice() {
        [change] => Ok([(key.clone(), change.before.clone())].into()),
        [] => {
            let message =
                to.map_or_else(|| format!("mfctl never changed {key}"), |id| format!("{key} has no change {id}"));
            Err(Failure::not_found(message).hint(format!("`mfctl kv history {key}` lists its changes")))
        }
        _ => Err(Failure::usage("several changes have this prefix: give more of the id")),
    }
}

/// The values of a batch's keys before the batch.
fn values_before_batch(history: &[HistoryEntry], batch: &str) -> Result<RollbackValues> {
    let of_batch = history.iter().filter(|entry| entry.head.batch == batch);
    // The history is sorted latest first, so that the earliest change of a key decides.
    let values: RollbackValues = of_batch.map(|entry| (entry.head.key.clone(), entry.before.clone())).collect();
    match values.is_empty() {
        true => Err(Failure::not_found(format!("there is no change of batch {batch}"))
            .hint("`mfctl kv history -o json` shows each change's batch")),
        false => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::history::{HistoryHeader, SettingAction};
    use mfctl_core::domain::Timestamp;

    fn entry(id: &str, key: &str, batch: &str, before: Option<&str>) -> HistoryEntry {
        let head = HistoryHeader {
            key: ConfigKey::parse(key).unwrap(),
            action: SettingAction::Update,
            at: Timestamp::UNIX_EPOCH,
            actor: "mina".to_owned(),
            verb: "kv put".to_owned(),
            reason: "r".to_owned(),
            batch: batch.to_owned(),
            had_value: before.is_some(),
            value_sha256: None,
            secret_like: None,
            broken_until: None,
        };
        HistoryEntry { id: id.to_owned(), head, before: before.map(|text| text.as_bytes().to_vec()), version: 1 }
    }

    #[test]
    fn rollback_restores_the_value_before_the_last_or_the_named_change_or_the_batch() {
        let history = [
            entry("c1", "a/x", "3", Some("2")),
            entry("b2", "a/y", "2", None),
            entry("a1", "a/x", "2", Some("1")),
            entry("a0", "a/x", "1", None),
        ];
        let key = ConfigKey::parse("a/x").unwrap();
        let value = |to| value_before_change(&history, &key, to).map(|values| values[&key].clone());
        assert_eq!(value(None).unwrap(), Some(b"2".to_vec()));
        assert_eq!(value(Some("a1")).unwrap(), Some(b"1".to_vec()));
        assert_eq!(value(Some("a0")).unwrap(), None);
        assert_eq!(value(Some("a")).unwrap_err().exit_code(), 2);
        assert_eq!(value(Some("b2")).unwrap_err().exit_code(), 6);
        let batch = values_before_batch(&history, "2").unwrap();
        assert_eq!(batch.into_values().collect::<Vec<_>>(), [Some(b"1".to_vec()), None]);
        assert_eq!(values_before_batch(&history, "9").unwrap_err().exit_code(), 6);
    }
}
