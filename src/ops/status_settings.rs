//! The settings' part of the status: values that are not used, and the recent changes.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::setting_report::{SettingAuthors, UnusedSetting};
use super::status::{PartHealth, StatusPart};
use super::vitals::GroupVitals;
use super::worker_reports::{TimedReport, WorkerReport};
use crate::kv::history::SettingAction;
use crate::kv::{display_value, last_change};
use crate::settings::{Settings, SourceLocation, stored};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
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
    /// Value before, cut at 80 characters; null where the key did not exist.
    pub from: Option<String>,
    /// Value after, cut at 80 characters; null where the key was deleted.
    pub to: Option<String>,
    /// Who made the change.
    pub actor: String,
    /// Time of the change.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The command, e.g. `kv put`.
    pub verb: String,
    /// Reason for the change.
    pub reason: String,
}

/// The changes of the last 24 hours, latest first.
pub(super) async fn recent_changes(
    store: &dyn ConfigStore,
    env: &EnvName,
    now: Timestamp,
) -> Result<Vec<SettingChange>> {
    let since = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    let changes = last_change::recent(store, env, since).await?.into_iter().take(MAX_CHANGES);
    let shown = |value: Option<Vec<u8>>| value.map(|value| cut(&display_value(&value)));
    Ok(changes
        .map(|change| SettingChange {
            key: change.head.key,
            action: change.head.action,
            from: shown(change.before),
            to: shown(change.after),
            actor: change.head.actor,
            at: change.head.at,
            verb: change.head.verb,
            reason: change.head.reason,
        })
        .collect())
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
pub(super) async fn unused_settings(
    store: &dyn ConfigStore,
    settings: &Settings,
    groups: &[GroupVitals],
    reports: &[TimedReport],
) -> Result<Vec<UnusedSetting>> {
    let mut unused = reported(groups, reports);
    let authors = SettingAuthors::read(store, &settings.profile.environment).await?;
    for refused in settings.refused() {
        let is_stored = matches!(refused.origin.location, Some(SourceLocation::Key(_)));
        if is_stored && unused.iter().all(|known| known.key != refused.key) {
            unused.push(UnusedSetting {
                in_use_origin: "the default, or on each host the last value that passed there".to_owned(),
                ..UnusedSetting::new(refused, settings, &authors)
            });
        }
    }
    Ok(unused)
}

/// What the workers that are members of a group reported last, since their start.
fn reported(groups: &[GroupVitals], reports: &[TimedReport]) -> Vec<UnusedSetting> {
    let live: BTreeSet<&str> =
        groups.iter().flat_map(|group| &group.lag.members).map(|member| member.instance.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut unused: Vec<UnusedSetting> = Vec::new();
    for TimedReport { stage, instance, report, .. } in reports {
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
pub(super) fn part(unused: &[UnusedSetting], is_complete: bool) -> StatusPart {
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
    let hint = unused.first().map(|first| {
        if !first.origin.starts_with("kv:") {
            return format!("correct {} where it is set", first.key);
        }
        let stored = format!("{}/{}", stored::SERVICE, first.key.replace('.', "_"));
        format!("`mfctl kv history {stored}` lists its changes, `mfctl kv rollback {stored}` restores the value before the last")
    });
    StatusPart { part: "settings".to_owned(), health, detail, hint }
}
