//! `mfctl kv watch`: changes of settings as they come.

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
use crate::cli::output::{Page, Render, humane};
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
Shows what changes from now on, until Ctrl-C. While Consul cannot be reached it says so and goes on when it can; what changed
meanwhile is shown then, as one change.

Examples:
  mfctl kv watch media-api
  mfctl kv watch -o jsonl | jq 'select(.action == \"delete\")'
  mfctl kv watch --initial -o jsonl                      first what there is, then changes

Exit codes: 2 wrong usage, 5 Consul not reachable at the start, 6 the profile names no Consul, 129/130/143 stopped")]
pub struct Args {
    /// Only this service's
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    service: Option<String>,
    /// Show first what there is
    #[arg(long)]
    initial: bool,
    /// End after this many changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// One change, as `mfctl kv watch` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvEvent {
    /// When it was seen.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The key.
    pub key: ConfigKey,
    /// What was done to it.
    pub action: SettingAction,
    /// The value before; null where there was none.
    pub from: Option<String>,
    /// The value after; null where there is none.
    pub to: Option<String>,
}

type Known = BTreeMap<ConfigKey, ConfigEntry>;

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let service = site.service(args.service.as_deref())?;
    let prefix = service.map_or_else(|| format!("{}/", site.env()), |service| format!("{}/{service}/", site.env()));
    let stop = cx.stop()?;
    let first = site.store.list(&prefix).await?;
    let mut follower = ConfigFollower::new(Arc::clone(&site.store), prefix, &first);
    let now = known(first, &site);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut before = if args.initial { Known::new() } else { now.clone() };
    show(cx, &site, &before, &now, &mut left)?;
    before = now;
    while left > 0 {
        let update = tokio::select! {
            reason = stop.wait() => return Err(signals::stopped(reason, "the watch was stopped")),
            update = follower.next() => update,
        };
        match update {
            ConfigUpdate::Current { snapshot, after_outage } => {
                if after_outage {
                    cx.out().note("Consul is back");
                }
                let now = known(snapshot, &site);
                show(cx, &site, &before, &now, &mut left)?;
                before = now;
            }
            // What trying again cannot mend ends the watch.
            ConfigUpdate::Unavailable { error, .. }
                if matches!(action_for(error.kind()), FailureAction::DeadLetter | FailureAction::Stop) =>
            {
                return Err(error.into());
            }
            ConfigUpdate::Unavailable { error, is_first: true } => {
                cx.out().warn(format!("nothing is seen until Consul is back: {}", error.full()));
            }
            ConfigUpdate::Unavailable { .. } => {}
        }
    }
    Ok(())
}

fn known(snapshot: ConfigSnapshot, site: &ConfigConnection) -> Known {
    let entries = snapshot.entries.into_iter();
    entries.filter_map(|entry| Some((ConfigKey::of_path(&entry.key, site.env())?, entry))).collect()
}

fn show(cx: &Context, site: &ConfigConnection, before: &Known, now: &Known, left: &mut u64) -> Result<()> {
    for (key, action) in differing(before, now) {
        if *left == 0 {
            break;
        }
        let value = |known: &Known| known.get(&key).map(|entry| display_value(&entry.value));
        cx.out().next(&KvEvent { at: site.clock.now(), action, from: value(before), to: value(now), key })?;
        *left -= 1;
    }
    Ok(())
}

/// In what two moments differ. A value that was written again as it is, is no change.
fn differing(before: &Known, now: &Known) -> Vec<(ConfigKey, SettingAction)> {
    let made = now.iter().filter_map(|(key, entry)| match before.get(key) {
        None => Some((key.clone(), SettingAction::Create)),
        Some(other) if other.value != entry.value => Some((key.clone(), SettingAction::Update)),
        Some(_) => None,
    });
    let gone = before.keys().filter(|key| !now.contains_key(*key)).map(|key| (key.clone(), SettingAction::Delete));
    made.chain(gone).collect()
}

impl Render for KvEvent {
    fn page(&self, page: &mut Page) {
        let told = change::told(&self.key, self.from.as_deref(), self.to.as_deref());
        let (sign, tone) = change::sign(self.action);
        page.toned(format!("{} {sign} {told}", humane::time(self.at)), tone);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
