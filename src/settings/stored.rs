//! mfctl's own settings in the configuration store of the environment: one value for every host. The caller reads the store
//! and passes its entries.

use std::collections::BTreeMap;

use super::key::SettingKey;
use super::keys::KEYS;
use super::origin::{LayerValue, ValueOrigin};
use super::suggest::did_you_mean;
use super::value::RawValue;
use mfctl_core::domain::EnvName;

/// Service name of these settings in the store.
pub const SERVICE: &str = "mfctl";

/// Settings from a store, with warnings.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredSettings {
    pub(super) values: BTreeMap<&'static str, LayerValue>,
    pub(super) warnings: Vec<String>,
}

/// Key prefix of mfctl's own settings: `<env>/mfctl/`.
#[must_use]
pub fn prefix(env: &EnvName) -> String {
    format!("{env}/{SERVICE}/")
}

/// Validates a value of mfctl's own setting `name`, the part of the key after `<env>/mfctl/`.
///
/// # Errors
/// A message when the setting does not exist, or the value is not of its type or beyond its bounds.
pub fn check(name: &str, value: &[u8]) -> Result<(), String> {
    let key = named(name).ok_or_else(|| unknown(name))?;
    key.validate(&raw(value))
}

/// The full name of the setting that is stored as `name`, such as `enrich.memory` for `enrich_memory`.
#[must_use]
pub fn setting_name(name: &str) -> Option<&'static str> {
    named(name).map(|key| key.name)
}

/// Parses the entries below `<env>/mfctl/`, given as names without that prefix and values.
pub(super) fn read<'a>(env: &EnvName, found: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> StoredSettings {
    let mut stored = StoredSettings::default();
    for (name, value) in found {
        let path = format!("{}{name}", prefix(env));
        let Some(key) = named(name) else {
            stored.warnings.push(format!("kv:{path}: {}", unknown(name)));
            continue;
        };
        stored.values.insert(key.name, LayerValue::checked(key, raw(value), ValueOrigin::key(&path)));
    }
    stored
}

/// Bytes that are no text are of no setting's type, as the empty text.
fn raw(value: &[u8]) -> RawValue {
    RawValue::Text(std::str::from_utf8(value).unwrap_or_default().to_owned())
}

fn named(name: &str) -> Option<&'static SettingKey> {
    KEYS.iter().find(|key| key.stored().as_deref() == Some(name))
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = KEYS.iter().filter_map(SettingKey::stored).collect();
    let meant = did_you_mean(name, names.iter().map(String::as_str)).map(|meant| format!("; did you mean {meant}?"));
    let shown: String = name.chars().take(80).collect();
    format!("{shown} is no setting of mfctl that can be kept there{}", meant.unwrap_or_default())
}
