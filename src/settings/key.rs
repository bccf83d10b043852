//! The definition of a setting: its name, its type, its default and where it may be set.

use super::value::{RawValue, SettingValue, ValueKind};

/// A key of the settings.
#[derive(Debug, Clone, Copy)]
pub struct SettingKey {
    /// Full name, e.g. `worker.drain_timeout` or `profile.data_dir`.
    pub name: &'static str,
    /// Table of the key: a section, a service, or `profile` for `[profile.NAME]`.
    pub section: &'static str,
    /// Name within the table.
    pub field: &'static str,
    /// Accepted values, for people.
    pub expects: &'static str,
    /// Default as written in a file; for a key of a profile, a description.
    pub default: &'static str,
    /// Purpose of the key.
    pub doc: &'static str,
    /// Whether an `MFCTL_…` variable sets it.
    pub from_env: bool,
    /// Variables of other tools that apply where the profile does not set the key; the first that is set wins.
    pub fallback_env: &'static [&'static str],
    /// Processing of a value before it is used.
    pub kind: ValueKind,
    pub(super) check: fn(&RawValue) -> Option<String>,
}

impl SettingKey {
    /// Variable that sets it: `MFCTL_WORKER_DRAIN_TIMEOUT`, or `MFCTL_DATA_DIR` for a key of a profile.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        let name = if self.section == "profile" { self.field.to_owned() } else { self.name.replace('.', "_") };
        self.from_env.then(|| format!("MFCTL_{}", name.to_ascii_uppercase()))
    }

    /// Name in the configuration store, below `<env>/mfctl/`: `worker_drain_timeout`. Keys of a profile are not stored there,
    /// because they configure the access to that store.
    #[must_use]
    pub fn stored(&self) -> Option<String> {
        (!self.name.starts_with("profile.")).then(|| self.name.replace('.', "_"))
    }

    /// Canonical form of a value; `None` if it is not valid for this key.
    pub(super) fn canonical(&self, raw: &RawValue) -> Option<String> {
        (self.check)(raw)
    }

    /// The default as a value; a key of a profile has none.
    pub(super) fn default_raw(&self) -> Option<RawValue> {
        (self.section != "profile" && self.default != NONE).then(|| RawValue::Text(self.default.to_owned()))
    }

    /// Whether it is a key of a service, in `[profile.NAME.SERVICE]`.
    #[must_use]
    pub fn is_of_service(&self) -> bool {
        self.section != "profile" && self.name.starts_with("profile.")
    }
}

/// The default of a key without a default.
pub(super) const NONE: &str = "none";

pub(super) fn canonical<T: SettingValue>(raw: &RawValue) -> Option<String> {
    T::parse(raw).map(|value| value.show())
}
