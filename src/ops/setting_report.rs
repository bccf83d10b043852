//! Where a setting's value comes from, in words: for one in the configuration store also who set it, when and why.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kv::history::HistoryHeader;
use crate::kv::last_change::{self, LatestChange};
use crate::settings::{Layer, RefusedSetting, SettingKey, Settings, SourceLocation, ValueOrigin, general_key, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::humane;
use mfctl_core::ports::{ConfigStore, Result};

/// Characters of a reason that are repeated.
const MAX_REASON_CHARS: usize = 200;

/// The latest changes of mfctl's own settings in the configuration store.
#[derive(Debug, Clone, Default)]
pub struct SettingAuthors {
    by_path: BTreeMap<String, LatestChange>,
}

impl SettingAuthors {
    /// Reads them from the history.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<Self> {
        let latest = last_change::latest(store, env, stored::SERVICE).await?;
        Ok(Self { by_path: latest.into_iter().map(|(key, change)| (key.path(env), change)).collect() })
    }

    /// The change that gave the value at `origin`; `None` for another layer, or where another tool wrote the value.
    #[must_use]
    pub fn of(&self, origin: &ValueOrigin) -> Option<&HistoryHeader> {
        match self.latest(origin)? {
            LatestChange::ByMfctl(head) => Some(head),
            LatestChange::Outside(_) => None,
        }
    }

    /// The latest change of the key at `origin`; `None` for another layer, or where mfctl never changed the key.
    #[must_use]
    pub fn latest(&self, origin: &ValueOrigin) -> Option<&LatestChange> {
        match &origin.location {
            Some(SourceLocation::Key(path)) => self.by_path.get(path),
            _ => None,
        }
    }

    /// Whether mfctl wrote the current value of the key with this full name in the store.
    #[must_use]
    pub fn is_set_by_mfctl(&self, path: &str) -> bool {
        matches!(self.by_path.get(path), Some(LatestChange::ByMfctl(_)))
    }

    /// The origin in words, e.g. `kv:dev/mfctl/enrich_memory, set by mina@host at 2026-11-24T03:40:58Z: "save memory"`.
    #[must_use]
    pub fn describe(&self, origin: &ValueOrigin) -> String {
        match (&origin.location, self.latest(origin), origin.layer) {
            (_, _, Layer::Default) => "the default".to_owned(),
            (_, _, Layer::LastPassed) => "the last value that passed".to_owned(),
            (_, Some(LatestChange::Outside(change)), _) => format!("{origin}, {change}"),
            (_, Some(LatestChange::ByMfctl(head)), _) => {
                let HistoryHeader { actor, at, reason, .. } = head.as_ref();
                let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
                format!("{origin}, set by {actor} at {}: {reason:?}", humane::time(*at))
            }
            (Some(SourceLocation::Key(_)), None, _) => format!("{origin}, with no change by mfctl in its history"),
            _ => origin.to_string(),
        }
    }
}

/// A value that would be in effect, but is not used, with the one that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnusedSetting {
    /// Full name of the setting, such as `enrich.memory`.
    pub key: String,
    /// The value that is not used; null where it is not of the setting's type.
    pub value: Option<String>,
    /// Where it comes from, and who set it, when and why.
    pub origin: String,
    /// Why it is not used.
    pub reason: String,
    /// The value in use.
    pub in_use: String,
    /// Where the value in use comes from.
    pub in_use_origin: String,
    /// The setting's default.
    pub default: String,
}

impl UnusedSetting {
    /// The report of a refused value; `settings` has the one in use.
    #[must_use]
    pub fn new(refused: &RefusedSetting, settings: &Settings, authors: &SettingAuthors) -> Self {
        let used = settings.resolved(&refused.key);
        Self {
            key: refused.key.clone(),
            value: refused.value.clone(),
            origin: authors.describe(&refused.origin),
            reason: refused.reason.clone(),
            in_use: used.map(|used| used.value.clone()).unwrap_or_default(),
            in_use_origin: used.map(|used| authors.describe(&used.origin)).unwrap_or_default(),
            default: general_key(&refused.key).map_or("", |key| key.default).to_owned(),
        }
    }
}

impl fmt::Display for UnusedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin, reason, in_use, in_use_origin, default } = self;
        let shown = value.as_deref().unwrap_or("a value");
        // The reason of a value beyond its bounds begins with what this line has said already.
        let said = [format!("{key} is {shown}, "), format!("{key} ")];
        let reason = said.iter().find_map(|said| reason.strip_prefix(said.as_str())).unwrap_or(reason);
        write!(f, "{key}: {shown} ({origin}) is not used: {reason}; in use {in_use}, {in_use_origin}")?;
        if reason.contains("(default ") || in_use == default { Ok(()) } else { write!(f, "; the default is {default}") }
    }
}

/// The value in force of a setting, where it comes from, and its default; for the message of what it limits.
#[must_use]
pub fn in_force(key: &SettingKey, settings: &Settings, authors: &SettingAuthors) -> String {
    let Some(resolved) = settings.resolved(key.name) else { return format!("{} is {}", key.name, key.default) };
    let from = authors.describe(&resolved.origin);
    let default = if resolved.origin.layer == Layer::Default {
        String::new()
    } else {
        format!("; the default is {}", key.default)
    };
    format!("{} is {} ({from}){default}", key.name, resolved.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unused_setting_is_one_line_that_names_who_set_it_and_what_is_in_use() {
        let unused = UnusedSetting {
            key: "enrich.memory".to_owned(),
            value: Some("24MiB".to_owned()),
            origin: "kv:dev/mfctl/enrich_memory, set by mina@host at 2026-11-24T03:40:58Z: \"save memory\"".to_owned(),
            reason: "enrich.memory is 24MiB, below its minimum of 192MiB (default 512MiB)".to_owned(),
            in_use: "512MiB".to_owned(),
            in_use_origin: "the last value that passed".to_owned(),
            default: "512MiB".to_owned(),
        };
        assert_eq!(
            unused.to_string(),
            "enrich.memory: 24MiB (kv:dev/mfctl/enrich_memory, set by mina@host at 2026-11-24T03:40:58Z: \"save memory\") is \
             not used: below its minimum of 192MiB (default 512MiB); in use 512MiB, the last value that passed"
        );
    }
}
