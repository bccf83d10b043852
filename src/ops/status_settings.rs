//! The settings' part of the status: values that are not used, and the recent changes.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::setting_report::{SettingAuthors, UnusedSetting};
use super::status::{PartHealth, StatusPart};
use super::vitals::GroupVitals;
use super::worker_reports::{TimedReport, WorkerReport};
use crate::kv::display_value;
use crate::kv::history::SettingAction;
use crate::kv::last_change::{self, OutsideChange, RecentChange, ValueAfter};
use crate::settings::{Settings, SourceLocation, stored};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::humane;
use mfctl_core::ports::{ConfigStore, Result};

/// How far back changes are listed.
const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// Most changes that are listed.
const MAX_CHANGES: usize = 20;
/// Characters of a value that are shown.
const MAX_VALUE_CHARS: usize = 80;

/// A recent change of a setting in the configuration store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingChange {
    /// The key, as `service/key`.
    pub key: ConfigKey,
    /// Whether it was created, updated or deleted.
    pub action: SettingAction,
    /// Value before, cut at 80 characters; null where the key did not exist, or where the value is not known.
    pub from: Option<String>,
    /// Value after, cut at 80 characters; null where the key was deleted, or where another tool has replaced the value since.
    pub to: Option<String>,
    /// Who made the change; empty for a change outside of mfctl.
    pub actor: String,
    /// Time of the change; for a change outside of mfctl that of mfctl's latest change before it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The command, e.g. `kv put`; empty for a change outside of mfctl.
    pub verb: String,
    /// Reason for the change; empty for a change outside of mfctl.
    pub reason: String,
    /// A change by another tool; null for a change by mfctl.
    #[serde(default)]
    pub outside: Option<OutsideChange>,
}

impl SettingChange {
    fn new(change: RecentChange) -> Self {
        let shown = |value: Option<Vec<u8>>| value.map(|value| cut(&display_value(&value)));
        match change {
            RecentChange::ByMfctl { head, before, after } => Self {
                key: head.key,
                action: head.action,
                from: shown(before),
                to: match after {
                    ValueAfter::Known(after) => shown(after),
                    ValueAfter::Replaced => None,
                },
                actor: head.actor,
                at: head.at,
                verb: head.verb,
                reason: head.reason,
                outside: None,
            },
            RecentChange::Outside { key, change, after } => Self {
                key,
                action: if after.is_some() { SettingAction::Update } else { SettingAction::Delete },
                from: None,
                to: shown(after),
                actor: String::new(),
                at: change.since,
                verb: String::new(),
                reason: String::new(),
                outside: Some(change),
            },
        }
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, actor, at, reason, outside, .. } = self;
        match outside {
            Some(outside) => write!(f, "{key} {outside}"),
            None => write!(f, "{key} changed {} by {actor}: {reason}", humane::time(*at)),
        }
    }
}

/// The changes of the last 24 hours, latest first.
pub(super) async fn recent_changes(
    store: &dyn ConfigStore,
    env: &EnvName,
    now: Timestamp,
) -> Result<Vec<SettingChange>> {
    let since = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    let changes = last_change::recent(store, env, since).await?.into_iter().take(MAX_CHANGES);
    Ok(changes.map(SettingChange::new).collect())
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_VALUE_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// The values that are not used: those that running workers report, and those of the configuration store that no worker can
/// use. `settings` are those of this host with the store's.
pub(super) fn unused_settings(
    settings: &Settings,
    authors: &SettingAuthors,
    groups: &[GroupVitals],
    reports: &[TimedReport],
) -> Vec<UnusedSetting> {
    let mut unused = reported(groups, reports);
    for refused in settings.refused() {
        let is_stored = matches!(refused.origin.location, Some(SourceLocation::Key(_)));
        if is_stored && unused.iter().all(|known| known.key != refused.key) {
            unused.push(UnusedSetting {
                in_use_origin: "the default, or on each host the last value that passed there".to_owned(),
                ..UnusedSetting::new(refused, settings, authors)
            });
        }
    }
    unused
}

/// What the workers that are members of a group reported last, since their start.
fn reported(groups: &[GroupVitals], reports: &[TimedReport]) -> Vec<UnusedSetting> {
    let live: BTreeSet<&str> =
        groups.iter().flat_map(|group| &group.lag.members).map(|member| member.instance.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut unused: Vec<UnusedSetting> = Vec::new();
    let tells = |report: &&TimedReport| !matches!(report.report, WorkerReport::Paused { .. } | WorkerReport::Resumed);
    for TimedReport { stage, instance, report, .. } in reports.iter().filter(tells) {
        if !live.contains(instance.as_str()) || !seen.insert((stage, instance)) {
            continue;
        }
        let WorkerReport::Settings(settings) = report else { continue };
        for setting in settings {
            if unused.iter().all(|known| known.to_string() != setting.to_string()) {
                unused.push(setting.clone());
            }
        }
    }
    unused
}

/// Whether every value is used; if not, one line for each that is not. `is_complete`: what the workers report is known.
pub(super) fn part(unused: &[UnusedSetting], is_complete: bool, authors: &SettingAuthors, env: &EnvName) -> StatusPart {
    let mut lines: Vec<String> = unused.iter().map(ToString::to_string).collect();
    let health = match (unused, is_complete) {
        (_, false) => PartHealth::Bad,
        ([], true) => PartHealth::Ok,
        (_, true) => PartHealth::Warn,
    };
    match health {
        PartHealth::Ok => lines.push("every value is used".to_owned()),
        PartHealth::Bad => lines.push("unknown: what the workers use".to_owned()),
        PartHealth::Warn => {}
    }
    let detail = lines.join("; ");
    let hint = unused.first().map(|first| correction(first, authors, env));
    StatusPart { part: "settings".to_owned(), health, detail, hint }
}

/// How to correct a value that is not used.
fn correction(unused: &UnusedSetting, authors: &SettingAuthors, env: &EnvName) -> String {
    if !unused.origin.starts_with("kv:") {
        return format!("correct {} where it is set", unused.key);
    }
    let stored = format!("{}/{}", stored::SERVICE, unused.key.replace('.', "_"));
    // The history does not hold the value before a change of another tool.
    if authors.is_set_by_mfctl(&format!("{env}/{stored}")) {
        format!(
            "`mfctl kv history {stored}` lists its changes, `mfctl kv rollback {stored}` restores the value before the last"
        )
    } else {
        format!(
            "another tool wrote it: `mfctl kv put {stored} VALUE` replaces it, `mfctl kv history {stored}` lists earlier values"
        )
    }
}
