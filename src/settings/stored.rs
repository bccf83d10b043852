//! mfctl's own settings in the environment's configuration store: one value for every host. Knows no store: what is there is
//! handed in.

use std::collections::BTreeMap;

use super::error::Error;
use super::key::SettingKey;
use super::keys::KEYS;
use super::origin::{LayerValue, SourceLocation, ValueOrigin};
use super::suggest::did_you_mean;
use super::value::RawValue;
use mfctl_core::domain::EnvName;

/// The service in whose name they are kept.
pub const SERVICE: &str = "mfctl";

/// The settings found in a store, and what is odd about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) values: BTreeMap<&'static str, LayerValue>,
    pub(super) warnings: Vec<String>,
}

/// What begins the keys of mfctl's own settings: `<env>/mfctl/`.
#[must_use]
pub fn prefix(env: &EnvName) -> String {
    format!("{env}/{SERVICE}/")
}

/// Why this may not be written as mfctl's own setting `name`, the part behind `<env>/mfctl/`.
///
/// # Errors
/// That there is no such setting, or what its values look like.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let key = named(name).ok_or_else(|| unknown(name))?;
    let fits = key.canonical(&RawValue::Text(value.to_owned())).is_some();
    fits.then_some(()).ok_or_else(|| format!("{} wants {}", key.name, key.expects))
}

/// Reads what is below `<env>/mfctl/`: names without that prefix, with their values.
pub(super) fn read<'a>(env: &EnvName, found: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Stored, Error> {
    let mut stored = Stored::default();
    for (name, value) in found {
        let path = format!("{}{name}", prefix(env));
        let Some(key) = named(name) else {
            stored.warnings.push(format!("kv:{path}: {}", unknown(name)));
            continue;
        };
        let invalid = |said: String| {
            let remedy =
                format!("`mfctl kv put {SERVICE}/{name} VALUE` mends it; `kv rollback` takes the value before");
            Error::invalid(said).at(SourceLocation::Key(path.clone())).hint(remedy)
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
