//! Settings of services, changed by hand. Each change is one transaction with a history entry that holds the reason and the
//! previous value.
//!
//! mfctl keeps its own data under reserved service names, which no service reads:
//!
//! | key below `<env>/` | content |
//! |-|-|
//! | `mfctl-history/<id>` | history entry: actor, time, reason and previous value |
//! | `mfctl-declared/<service>` | declared keys of a service, with the location of each declaration |
//! | `mfctl-glass/<hash>` | break-glass exception: a declared key that was changed by hand, with an expiry |
//! | `mfctl-push/<id>_<n>` | part of an unfinished push |
//! | `mfctl-owned/…`, `mfctl-lock/apply` | owner marks, and the lock of `bootstrap apply` and `kv` |
//!
//! Depends on the configuration store alone, so that settings can be changed while every other server is down. Prints
//! nothing.

pub mod break_glass;
pub mod declared;
pub mod history;
pub mod last_change;
pub mod push;
pub mod write;

use std::collections::BTreeMap;

use mfctl_core::domain::{ConfigKey, EnvName};
use mfctl_core::ports::{ConfigEntry, ConfigStore, Result};

/// An environment's settings, with the keys among them that are not valid settings.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentSettings {
    /// Entries by key.
    pub entries: BTreeMap<ConfigKey, ConfigEntry>,
    /// Full names of keys that do not match `<env>/<service>/<key>`, as other tools may write them.
    pub unrecognized_keys: Vec<String>,
}

/// Reads the settings of an environment, or of one service in it.
///
/// # Errors
/// Those of the store.
pub async fn read_settings(
    store: &dyn ConfigStore,
    env: &EnvName,
    service: Option<&str>,
) -> Result<EnvironmentSettings> {
    let prefix = service.map_or_else(|| format!("{env}/"), |service| format!("{env}/{service}/"));
    let reserved_prefix = format!("{env}/{}", mfctl_core::domain::config_key::OWN_SERVICES);
    let mut settings = EnvironmentSettings::default();
    for entry in store.list(&prefix).await?.entries {
        match ConfigKey::of_path(&entry.key, env) {
            Some(key) => {
                settings.entries.insert(key, entry);
            }
            None if entry.key.starts_with(&reserved_prefix) => {}
            None => settings.unrecognized_keys.push(entry.key),
        }
    }
    Ok(settings)
}

/// A value for display: its text, or `base64:…` where it is not UTF-8.
#[must_use]
pub fn display_value(value: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    std::str::from_utf8(value).map_or_else(|_| format!("base64:{}", STANDARD.encode(value)), str::to_owned)
}
