//! `mfctl kv watch`: follows the changes of settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::change;
use crate::cli::complete;
use crate::cli::context::{ConfigConnection, Context};
use crate::cli::failure::Result;
use crate::cli::output::{Render, TextPage, humane};
use crate::cli::signals;
use crate::kv::display_value;
use crate::kv::history::SettingAction;
use crate::pipeline::follow::{ConfigFollower, ConfigUpdate};
use mfctl_core::domain::{ConfigKey, Timestamp};
use mfctl_core::ports::{ConfigEntry, ConfigSnapshot};
use mfctl_core::retry::{FailureAction, action_for};

/// Arguments of `mfctl kv watch`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Prints each change from now on, until Ctrl-C. An outage of Consul is reported, and the watch continues after it; several
changes of a setting during the outage are printed as one.

Examples:
  mfctl kv watch media-api
  mfctl kv watch -o jsonl | jq 'select(.action == \"delete\")'
  mfctl kv watch --initial -o jsonl                      print the current settings first

Exit codes: 2 wrong usage, 5 Consul not reachable at the start, 6 the profile has no Consul, 129/130/143 stopped")]
pub struct Args {
    /// Only settings of this service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    service: Option<String>,
    /// Print the current settings first
    #[arg(long)]
    initial: bool,
    /// Exit after this many changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// One change, as `mfctl kv watch` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvEvent {
    /// When the change was observed.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The key that changed.
    pub key: ConfigKey,
    /// Whether it was created, updated or deleted.
    pub action: SettingAction,
    /// The value before; null if the key did not exist.
    pub from: Option<String>,
    /// The value after; null if the key was deleted.
    pub to: Option<String>,
}

type EntriesByKey = BTreeMap<ConfigKey, ConfigEntry>;

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let env = connection.env();
    let service = connection.parse_service(args.service.as_deref())?;
    let prefix = service.map_or_else(|| format!("{env}/"), |service| format!("{env}/{service}/"));
    let stop = cx.stop()?;
    let first = connection.store.list(&prefix).await?;
    let mut follower = ConfigFollower::new(Arc::clone(&connection.store), prefix, &first);
    let after = entries_by_key(first, &connection);
    let mut remaining = args.count.unwrap_or(u64::MAX);
    let mut before = if args.initial { EntriesByKey::new() } else { after.clone() };
    print_changes(cx, &connection, &before, &after, &mut remaining)?;
    before = after;
    while remaining > 0 {
        let update = tokio::select! {
            reason = stop.wait() => return Err(signals::stopped(reason, "the watch was stopped")),
            update = follower.next() => update,
        };
        match update {
            ConfigUpdate::Current { snapshot, after_outage } => {
                if after_outage {
                    cx.out().note("Consul is reachable again");
                }
                let after = entries_by_key(snapshot, &connection);
                print_changes(cx, &connection, &before, &after, &mut remaining)?;
                before = after;
            }
            // An error that a retry cannot fix ends the watch.
            ConfigUpdate::Unavailable { error, .. }
                if matches!(action_for(error.kind()), FailureAction::DeadLetter | FailureAction::Stop) =>
            {
                return Err(error.into());
            }
            ConfigUpdate::Unavailable { error, is_first: true } => {
                cx.out().warn(format!("no changes are visible until Consul is reachable again: {}", error.full()));
            }
            ConfigUpdate::Unavailable { .. } => {}
        }
    }
    Ok(())
}

fn entries_by_key(snapshot: ConfigSnapshot, connection: &ConfigConnection) -> EntriesByKey {
    let entries = snapshot.entries.into_iter();
    entries.filter_map(|entry| Some((ConfigKey::of_path(&entry.key, connection.env())?, entry))).collect()
}

/// Prints the changes between two snapshots, at most `remaining`, which it counts down.
fn print_changes(
    cx: &Context,
    connection: &ConfigConnection,
    before: &EntriesByKey,
    after: &EntriesByKey,
    remaining: &mut u64,
) -> Result<()> {
    for (key, action) in changed_keys(before, after) {
        if *remaining == 0 {
            break;
        }
        let value = |entries: &EntriesByKey| entries.get(&key).map(|entry| display_value(&entry.value));
        cx.out().print_next(&KvEvent {
            at: connection.clock.now(),
            action,
            from: value(before),
            to: value(after),
            key,
        })?;
        *remaining -= 1;
    }
    Ok(())
}

/// The keys whose values differ between two snapshots; a new version with the same value is not a change.
fn changed_keys(before: &EntriesByKey, after: &EntriesByKey) -> Vec<(ConfigKey, SettingAction)> {
    let written = after.iter().filter_map(|(key, entry)| match before.get(key) {
        None => Some((key.clone(), SettingAction::Create)),
        Some(other) if other.value != entry.value => Some((key.clone(), SettingAction::Update)),
        Some(_) => None,
    });
    let deleted = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), SettingAction::Delete));
    written.chain(deleted).collect()
}

impl Render for KvEvent {
    fn page(&self, page: &mut TextPage) {
        let line = change::change_line(&self.key, self.from.as_deref(), self.to.as_deref());
        let (sign, tone) = change::action_style(self.action);
        page.toned(format!("{} {sign} {line}", humane::time(self.at)), tone);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
