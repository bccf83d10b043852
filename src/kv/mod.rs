//! Settings of services, changed by hand: every change with its reason, and what it replaced, in one transaction.
//!
//! What stands beside an environment's settings is under services of mfctl's own, which no service reads:
//!
//! | below `<env>/` | what |
//! |-|-|
//! | `mfctl-history/<id>` | a change: who, when, why, and the value it replaced |
//! | `mfctl-declared/<service>` | which keys a manifest declares, and where |
//! | `mfctl-glass/<hash>` | a declared key that was changed by hand all the same, for a while |
//! | `mfctl-push/<id>_<n>` | a part of a push that is yet to come |
//! | `mfctl-owned/…`, `mfctl-lock/apply` | marks and the lock of `bootstrap` |
//!
//! Knows the configuration store alone, and prints nothing: whoever changes a setting at night needs no other server.

pub mod declared;
pub mod glass;
pub mod history;
pub mod push;
pub mod write;

use std::collections::BTreeMap;

use mfctl_core::domain::{ConfigKey, EnvName};
use mfctl_core::ports::{ConfigEntry, ConfigStore, Result};

/// An environment's settings, and what else is below it that no setting can be called.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The settings.
    pub entries: BTreeMap<ConfigKey, ConfigEntry>,
    /// Names that other tools made and that break the rule.
    pub others: Vec<String>,
}

/// Reads an environment's settings, of one service or of all.
///
/// # Errors
/// Those of the store.
pub async fn read(store: &dyn ConfigStore, env: &EnvName, service: Option<&str>) -> Result<Settings> {
    let prefix = service.map_or_else(|| format!("{env}/"), |service| format!("{env}/{service}/"));
    let own = format!("{env}/{}", mfctl_core::domain::config_key::OWN_SERVICES);
    let mut settings = Settings::default();
    for entry in store.list(&prefix).await?.entries {
        match ConfigKey::of_path(&entry.key, env) {
            Some(key) => {
                settings.entries.insert(key, entry);
            }
            None if entry.key.starts_with(&own) => {}
            None => settings.others.push(entry.key),
        }
    }
    Ok(settings)
}

/// A value as a person reads it: its text, or for what is none its bytes in base64.
#[must_use]
pub fn shown(value: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    std::str::from_utf8(value).map_or_else(|_| format!("base64:{}", STANDARD.encode(value)), str::to_owned)
}
