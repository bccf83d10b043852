//! The definition of a setting: its name, its type, its default, its bounds and where it may be set.

use std::cmp::Ordering;

use super::value::{RawValue, SettingValue, ValueKind};

/// The smallest and the largest value of a setting, as written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest value.
    pub min: &'static str,
    /// The largest value.
    pub max: &'static str,
}

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
    /// Bounds of its values; `None` where values have no order.
    pub bounds: Option<Bounds>,
    pub(super) check: fn(&RawValue) -> Option<String>,
    pub(super) compare: fn(&RawValue, &str) -> Option<Ordering>,
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

    /// Checks the type and the bounds of a value.
    ///
    /// # Errors
    /// The reason, which names the setting, its bound and its default. It repeats the value only if that is of the setting's
    /// type: any other may be a secret in the wrong place.
    pub fn validate(&self, raw: &RawValue) -> Result<(), String> {
        let Some(shown) = self.canonical(raw) else {
            return Err(format!("{} expects {}{}", self.name, self.expects, self.bounds_and_default()));
        };
        let Some(Bounds { min, max }) = self.bounds else { return Ok(()) };
        let default = self.default;
        if (self.compare)(raw, min) == Some(Ordering::Less) {
            return Err(format!("{} is {shown}, below its minimum of {min} (default {default})", self.name));
        }
        if (self.compare)(raw, max) == Some(Ordering::Greater) {
            return Err(format!("{} is {shown}, above its maximum of {max} (default {default})", self.name));
        }
        Ok(())
    }

    /// Whether two values of its type mean the same.
    #[must_use]
    pub fn is_same(&self, one: &RawValue, other: &RawValue) -> bool {
        self.canonical(one) == self.canonical(other)
    }

    /// ` from MIN to MAX (default …)`; empty for a key without bounds.
    fn bounds_and_default(&self) -> String {
        match self.bounds {
            Some(Bounds { min, max }) => format!(", from {min} to {max} (default {})", self.default),
            None => String::new(),
        }
    }

    /// The accepted values for people, with their bounds.
    #[must_use]
    pub fn accepted(&self) -> String {
        match self.bounds {
            Some(Bounds { min, max }) => format!("{}, from {min} to {max}", self.expects),
            None => self.expects.to_owned(),
        }
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

/// How a value compares with a bound.
pub(super) fn compare<T: SettingValue>(raw: &RawValue, bound: &str) -> Option<Ordering> {
    T::parse(raw)?.compare(&T::parse(&RawValue::Text(bound.to_owned()))?)
}
