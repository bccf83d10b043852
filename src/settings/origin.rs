//! Layers, origins of values, and resolved settings.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::key::SettingKey;
use super::value::RawValue;
use mfctl_core::domain::path::ShownPath as _;

/// A layer of the configuration, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Built-in defaults.
    Default,
    /// Configuration store of the environment: `<env>/mfctl/<key>`.
    Store,
    /// System file.
    System,
    /// User file, or the one `--config` names.
    User,
    /// Project file.
    Project,
    /// Environment variable `MFCTL_…`.
    Environment,
    /// Flag of the command line.
    Flag,
    /// The last value that passed the checks of a worker on this host, in place of one that did not.
    LastPassed,
}

impl Layer {
    /// Name of the layer in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Store => "store",
            Self::System => "system",
            Self::User => "user",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::LastPassed => "last_passed",
        }
    }
}

/// The location of a value within its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceLocation {
    /// Line of a file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: usize,
    },
    /// Key of the configuration store.
    Key(String),
    /// Environment variable.
    Variable(String),
    /// Flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.shown()),
            Self::Key(key) => write!(f, "kv:{key}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The origin of a value: its layer and, except for defaults, its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueOrigin {
    /// Layer that has the value.
    pub layer: Layer,
    /// Location within the layer; `None` for a default.
    pub location: Option<SourceLocation>,
}

impl ValueOrigin {
    /// The origin of a built-in default.
    #[must_use]
    pub const fn default_layer() -> Self {
        Self { layer: Layer::Default, location: None }
    }

    /// The origin of a value that passed before, and is used in place of one that did not pass.
    #[must_use]
    pub const fn last_passed() -> Self {
        Self { layer: Layer::LastPassed, location: None }
    }

    /// The origin of a value that a flag of the command line gives.
    #[must_use]
    pub const fn flag(name: &'static str) -> Self {
        Self { layer: Layer::Flag, location: Some(SourceLocation::Flag(name)) }
    }

    pub(super) fn key(path: &str) -> Self {
        Self { layer: Layer::Store, location: Some(SourceLocation::Key(path.to_owned())) }
    }

    pub(super) fn variable(name: &str) -> Self {
        Self { layer: Layer::Environment, location: Some(SourceLocation::Variable(name.to_owned())) }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{location}"),
            None => f.write_str(self.layer.as_str()),
        }
    }
}

/// A value from one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerValue {
    /// Value before it is parsed.
    pub raw: RawValue,
    /// Origin of the value.
    pub origin: ValueOrigin,
    /// Why it must not be used: its type or its bounds; `None` for a valid value.
    pub problem: Option<String>,
}

impl LayerValue {
    /// A value that is valid.
    #[must_use]
    pub const fn valid(raw: RawValue, origin: ValueOrigin) -> Self {
        Self { raw, origin, problem: None }
    }

    /// A value of `key`, checked.
    pub(super) fn checked(key: &SettingKey, raw: RawValue, origin: ValueOrigin) -> Self {
        let problem = key.validate(&raw).err();
        Self { raw, origin, problem }
    }
}

/// A value that would be in effect, but must not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSetting {
    /// Full name of the key.
    pub key: String,
    /// The value in canonical form; `None` where it is not of the setting's type, and may be a secret in the wrong place.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: ValueOrigin,
    /// Why it must not be used.
    pub reason: String,
}

/// The effective value of a key and the values it overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedSetting {
    /// Full name of the key, e.g. `worker.drain_timeout` or `profile.data_dir`.
    pub key: String,
    /// Effective value in canonical form.
    pub value: String,
    /// Origin of the effective value.
    pub origin: ValueOrigin,
    /// Overridden values in canonical form, highest layer first.
    pub hidden: Vec<(String, ValueOrigin)>,
    /// Values of higher layers that must not be used, highest layer first.
    pub refused: Vec<RefusedSetting>,
}
