//! mfctl's own settings in the configuration store of the environment: one value for every host. The caller reads the store
//! and passes its entries.

use std::collections::BTreeMap;

use super::error::Error;
use super::key::SettingKey;
use super::keys::KEYS;
use super::origin::{LayerValue, SourceLocation, ValueOrigin};
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
/// A message when the setting does not exist or the value is invalid.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let key = named(name).ok_or_else(|| unknown(name))?;
    let fits = key.canonical(&RawValue::Text(value.to_owned())).is_some();
    fits.then_some(()).ok_or_else(|| format!("{} expects {}", key.name, key.expects))
}

/// Parses the entries below `<env>/mfctl/`, given as names without that prefix and values.
pub(super) fn read<'a>(
    env: &EnvName,
    found: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<StoredSettings, Error> {
    let mut stored = StoredSettings::default();
    for (name, value) in found {
        let path = format!("{}{name}", prefix(env));
        let Some(key) = named(name) else {
            stored.warnings.push(format!("kv:{path}: {}", unknown(name)));
            continue;
        };
        let invalid = |message: String| {
            let remedy =
                format!("`mfctl kv put {SERVICE}/{name} VALUE` fixes it; `kv rollback` restores the previous value");
            Error::invalid(message).at(SourceLocation::Key(path.clone())).hint(remedy)
        };
        let text = std::str::from_utf8(value).map_err(|_| invalid("the value is not UTF-8".to_owned()))?;
        check(name, text).map_err(invalid)?;
        stored
            .values
            .insert(key.name, LayerValue { raw: RawValue::Text(text.to_owned()), origin: ValueOrigin::key(&path) });
    }
    Ok(stored)
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
