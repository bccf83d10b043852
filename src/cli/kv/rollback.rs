//! `mfctl kv rollback`: gives a setting an earlier value again.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, Ask, How, Wish};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::kv;
use crate::kv::history::{self, HistoryEntry};
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv rollback`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without --to, the value before the last change. A rollback is a change like any other: it can be rolled back.

Examples:
  mfctl kv rollback media-api/max_page_size --reason 'worse'
  mfctl kv history media-api/max_page_size                         which values there were
  mfctl kv rollback media-api/max_page_size --to 0199f1…  --reason 'as last week'
  mfctl kv rollback --batch 0199f2… --reason 'the push was wrong'  everything that was changed together

Exit codes: 0 rolled back, or it is so already, 2 wrong usage, 5 Consul not reachable, 6 there is no such change, 7 somebody
else is changing something, 8 not confirmed, or a manifest declares it")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", required_unless_present = "batch", add = ArgValueCandidates::new(complete::settings))]
    key: Option<String>,
    /// The value that this change replaced: the start of its id that no other has
    #[arg(long, value_name = "CHANGE", requires = "key")]
    to: Option<String>,
    /// Everything that was changed together
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["key", "to"])]
    batch: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let history = history::read(site.store.as_ref(), site.env()).await?;
    let wanted = match (&args.key, &args.batch) {
        (_, Some(batch)) => of_batch(&history.entries, batch)?,
        (Some(key), None) => of_key(&history.entries, &site.key(key)?, args.to.as_deref())?,
        (None, None) => return Err(Failure::usage("name a setting, or a batch with --batch")),
    };
    let settings = kv::read_settings(site.store.as_ref(), site.env(), None).await?;
    let (edits, unchanged) = change::edits(&settings, wanted);
    change::run(cx, &site, &args.how, Wish { verb: "kv rollback", edits, unchanged, ask: Ask::Dangerous }).await
}

type Wanted = BTreeMap<ConfigKey, Option<Vec<u8>>>;

/// The value that a change of a key replaced: the last one, or the one that is named.
fn of_key(history: &[HistoryEntry], key: &ConfigKey, to: Option<&str>) -> Result<Wanted> {
    let changes: Vec<&HistoryEntry> = history.iter().filter(|entry| entry.head.key == *key).collect();
    let found: Vec<&&HistoryEntry> = match to {
        None => changes.iter().take(1).collect(),
        Some(id) => changes.iter().filter(|entry| entry.id.starts_with(id)).collect(),
    };
    match found.as_slice() {
        [one] => Ok([(key.clone(), one.before.clone())].into()),
        [] => {
            let what = to.map_or_else(|| format!("mfctl never changed {key}"), |id| format!("no change {id} of {key}"));
            Err(Failure::not_found(what).hint(format!("`mfctl kv history {key}` shows which there are")))
        }
        _ => Err(Failure::usage("several changes begin so: give more of the id")),
    }
}

/// What everything of a batch was before it.
fn of_batch(history: &[HistoryEntry], batch: &str) -> Result<Wanted> {
    // The latest first: what a batch found at its beginning is what stays.
    let of_batch = history.iter().filter(|entry| entry.head.batch == batch);
    let wanted: Wanted = of_batch.map(|entry| (entry.head.key.clone(), entry.before.clone())).collect();
    match wanted.is_empty() {
        true => Err(Failure::not_found(format!("there is no change of batch {batch}"))
            .hint("`mfctl kv history -o json` shows each change's batch")),
        false => Ok(wanted),
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
            secret_like: None,
            broken_until: None,
        };
        HistoryEntry { id: id.to_owned(), head, before: before.map(|text| text.as_bytes().to_vec()) }
    }

    #[test]
    fn one_goes_back_before_the_last_change_or_the_one_that_is_named() {
        let history = [
            entry("c1", "a/x", "3", Some("2")),
            entry("b2", "a/y", "2", None),
            entry("a1", "a/x", "2", Some("1")),
            entry("a0", "a/x", "1", None),
        ];
        let key = ConfigKey::parse("a/x").unwrap();
        let value = |to| of_key(&history, &key, to).map(|wanted| wanted[&key].clone());
        assert_eq!(value(None).unwrap(), Some(b"2".to_vec()));
        assert_eq!(value(Some("a1")).unwrap(), Some(b"1".to_vec()));
        assert_eq!(value(Some("a0")).unwrap(), None);
        assert_eq!(value(Some("a")).unwrap_err().exit_code(), 2);
        assert_eq!(value(Some("b2")).unwrap_err().exit_code(), 6);
        let batch = of_batch(&history, "2").unwrap();
        assert_eq!(batch.into_values().collect::<Vec<_>>(), [Some(b"1".to_vec()), None]);
        assert_eq!(of_batch(&history, "9").unwrap_err().exit_code(), 6);
    }
}
