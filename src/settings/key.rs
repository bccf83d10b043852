//! What one setting is: its name, its type, its default and where it may be set.

use super::value::{RawValue, SettingValue, ValueKind};

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub struct SettingKey {
    /// Its full name, e.g. `worker.drain_timeout` or `profile.data_dir`.
    pub name: &'static str,
    /// The table it stands in: a section, or `profile` for `[profile.NAME]`.
    pub section: &'static str,
    /// Its name in that table.
    pub field: &'static str,
    /// What a value looks like.
    pub expects: &'static str,
    /// The default as written in a file; for a profile's key, said in words.
    pub default: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Whether a variable of mfctl's own may set it.
    pub from_env: bool,
    /// Other tools' variables that fill it where the profile leaves it open, the first that is set.
    pub fallback_env: &'static [&'static str],
    /// What is done with a value before it is used.
    pub kind: ValueKind,
    pub(super) check: fn(&RawValue) -> Option<String>,
}

impl SettingKey {
    /// The variable that sets it: `MFCTL_WORKER_DRAIN_TIMEOUT`, or `MFCTL_DATA_DIR` for a profile's key.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        let name = if self.section == "profile" { self.field.to_owned() } else { self.name.replace('.', "_") };
        self.from_env.then(|| format!("MFCTL_{}", name.to_ascii_uppercase()))
    }

    /// What it is called in the configuration store, below `<env>/mfctl/`: `worker_drain_timeout`. A profile's keys are not
    /// there, for they say where that store is.
    #[must_use]
    pub fn stored(&self) -> Option<String> {
        (!self.name.starts_with("profile.")).then(|| self.name.replace('.', "_"))
    }

    /// The value's canonical form, if it is a value of this key.
    pub(super) fn canonical(&self, raw: &RawValue) -> Option<String> {
        (self.check)(raw)
    }

    /// The default as a value; a profile's keys have none of their own.
    pub(super) fn default_raw(&self) -> Option<RawValue> {
        (self.section != "profile" && self.default != NONE).then(|| RawValue::Text(self.default.to_owned()))
    }

    /// Whether it is a key of a service: `[profile.NAME.SERVICE]`.
    #[must_use]
    pub fn is_of_service(&self) -> bool {
        self.section != "profile" && self.name.starts_with("profile.")
    }
}

/// What stands for the default of a key that has none.
pub(super) const NONE: &str = "none";

pub(super) fn canonical<T: SettingValue>(raw: &RawValue) -> Option<String> {
    T::parse(raw).map(|value| value.show())
}
