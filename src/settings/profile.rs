//! Profiles: the platforms that commands work on.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::Error;
use super::services::Services;
use super::value::{RawValue, SettingValue};
use mfctl_core::domain::{EnvName, Tenant};

/// The name of a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

impl ProfileName {
    /// Name of the built-in profile.
    pub(super) const EMBEDDED: &'static str = "embedded";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn embedded() -> Self {
        Self(Self::EMBEDDED.to_owned())
    }
}

impl FromStr for ProfileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !text.starts_with('-');
        if valid {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Error::invalid(format!("{shown:?} is no profile name: 1 to 63 of a-z A-Z 0-9 - _, not beginning with -")))
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Kind of a profile's backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileKind {
    /// Everything in one data folder.
    Embedded,
    /// The servers that the profile configures.
    Cluster,
}

impl SettingValue for ProfileKind {
    const EXPECTS: &'static str = "\"embedded\" or \"cluster\"";

    fn parse(raw: &RawValue) -> Option<Self> {
        match raw {
            RawValue::Text(text) if text == "embedded" => Some(Self::Embedded),
            RawValue::Text(text) if text == "cluster" => Some(Self::Cluster),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        }
        .to_owned()
    }
}

/// The profile a command works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Profile name.
    pub name: ProfileName,
    /// Kind of its backends.
    pub kind: ProfileKind,
    /// Environment of the profile.
    pub environment: EnvName,
    /// Data folder, absolute.
    pub data_dir: PathBuf,
    /// Tenant whose assets the profile works on.
    pub tenant: Tenant,
    /// Whether destructive verbs require the environment's name as confirmation.
    pub protected: bool,
    /// Actor recorded for changes.
    pub actor: String,
    /// Servers of a cluster profile.
    pub services: Services,
}
