//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::value::RawValue;

/// The layers, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Built in.
    Default,
    /// What the environment's configuration store says of mfctl itself: `<env>/mfctl/<key>`.
    Store,
    /// The machine's file.
    System,
    /// The user's file, or the one `--config` names.
    User,
    /// The project's file.
    Project,
    /// A variable `MFCTL_…`.
    Environment,
    /// A flag.
    Flag,
}

impl Layer {
    /// The layer's name as shown.
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
        }
    }
}

/// A place in a layer that a person can go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceLocation {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
    },
    /// A key of the configuration store.
    Key(String),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Key(key) => write!(f, "kv:{key}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A layer and, unless it is the default, the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueOrigin {
    /// The layer.
    pub layer: Layer,
    /// The place.
    pub location: Option<SourceLocation>,
}

impl ValueOrigin {
    /// The built-in default.
    #[must_use]
    pub const fn default_layer() -> Self {
        Self { layer: Layer::Default, location: None }
    }

    pub(super) fn key(path: &str) -> Self {
        Self { layer: Layer::Store, location: Some(SourceLocation::Key(path.to_owned())) }
    }

    pub(super) fn variable(name: &str) -> Self {
        Self { layer: Layer::Environment, location: Some(SourceLocation::Variable(name.to_owned())) }
    }

    pub(super) const fn flag(name: &'static str) -> Self {
        Self { layer: Layer::Flag, location: Some(SourceLocation::Flag(name)) }
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

/// A value that some layer gives.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerValue {
    /// The value as given.
    pub raw: RawValue,
    /// Who gives it.
    pub origin: ValueOrigin,
}

/// A key's effective value, and what it hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedSetting {
    /// The key, e.g. `worker.drain_timeout` or `profile.data_dir`.
    pub key: String,
    /// The value in its canonical form.
    pub value: String,
    /// Where it came from.
    pub origin: ValueOrigin,
    /// The values below it, highest first, in their canonical form.
    pub hidden: Vec<(String, ValueOrigin)>,
}
