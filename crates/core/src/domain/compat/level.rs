//! Compatibility levels of a subject.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A compatibility level of the schema registry.
///
/// BACKWARD: readers with the new schema can read data of old schemas. FORWARD: readers with an old schema can read data
/// of the new one. FULL: both. The plain levels check the latest version, the transitive ones every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// No check.
    None,
    /// The new schema can read data of the latest version.
    Backward,
    /// The new schema can read data of every version.
    BackwardTransitive,
    /// The latest version can read data of the new schema.
    Forward,
    /// Every version can read data of the new schema.
    ForwardTransitive,
    /// BACKWARD and FORWARD.
    Full,
    /// BACKWARD_TRANSITIVE and FORWARD_TRANSITIVE.
    FullTransitive,
}

impl Compatibility {
    /// Every level.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// Name of the level in the registry's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether the new schema must be able to read data of old versions.
    #[must_use]
    pub const fn backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether old versions must be able to read data of the new schema.
    #[must_use]
    pub const fn forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether every version is checked, not only the latest.
    #[must_use]
    pub const fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that is not a compatibility level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a compatibility level: NONE, BACKWARD, FORWARD or FULL, or one of the latter three with _TRANSITIVE appended"
)]
pub struct UnknownCompatibility(String);

impl FromStr for Compatibility {
    type Err = UnknownCompatibility;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.trim().to_ascii_uppercase().replace('-', "_");
        let found = Self::ALL.into_iter().find(|level| level.as_str() == word);
        found.ok_or_else(|| UnknownCompatibility(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatibility_levels_round_trip_as_text() {
        for level in Compatibility::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        assert_eq!("backward-transitive".parse(), Ok(Compatibility::BackwardTransitive));
        assert!("sideways".parse::<Compatibility>().is_err());
    }
}
