//! Configuration keys of services: `<env>/<service>/<key>`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::names::{EnvName, InvalidName};

/// Prefix of the service names that mfctl reserves for its lock, its ownership marks and its history.
pub const OWN_SERVICES: &str = "mfctl-";

const RULE: &str = "<service>/<key>: the service of a-z 0-9 - and not beginning with mfctl-, the key of a-z 0-9 _";

/// A configuration key of a service, within one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ConfigKey {
    service: String,
    name: String,
}

impl ConfigKey {
    /// Creates a key from service and name.
    ///
    /// # Errors
    /// [`InvalidName`] when a part has a character that is not allowed, or the service is reserved.
    pub fn new(service: &str, name: &str) -> Result<Self, InvalidName> {
        match is_service_name(service) && is_key_name(name) {
            true => Ok(Self { service: service.to_owned(), name: name.to_owned() }),
            false => {
                let name = format!("{service}/{name}").chars().take(80).collect();
                Err(InvalidName { what: "configuration key", name, rule: RULE })
            }
        }
    }

    /// Parses `<service>/<key>`.
    ///
    /// # Errors
    /// As [`ConfigKey::new`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let (service, name) = text.split_once('/').unwrap_or((text, ""));
        Self::new(service, name)
    }

    /// Parses a full key name of this environment; `None` for a key of another environment, one of mfctl's own, or one
    /// that another tool wrote and that breaks the rule.
    #[must_use]
    pub fn of_path(path: &str, env: &EnvName) -> Option<Self> {
        Self::parse(path.strip_prefix(env.as_str())?.strip_prefix('/')?).ok()
    }

    /// Full name, `<env>/<service>/<key>`.
    #[must_use]
    pub fn path(&self, env: &EnvName) -> String {
        format!("{env}/{self}")
    }

    /// Service part.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Key part, within the service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether the text is a valid, unreserved service name.
#[must_use]
pub fn is_service_name(text: &str) -> bool {
    let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(slug) && !text.starts_with(OWN_SERVICES)
}

/// Whether the text is a valid key within a service.
#[must_use]
pub fn is_key_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

impl Serialize for ConfigKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ConfigKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_environments_and_reserved_services_are_not_parsed() {
        let env = EnvName::new("dev").unwrap();
        let key = ConfigKey::parse("media-api/max_page_size").unwrap();
        assert_eq!((key.service(), key.name()), ("media-api", "max_page_size"));
        assert_eq!(key.path(&env), "dev/media-api/max_page_size");
        assert_eq!(ConfigKey::of_path("dev/media-api/max_page_size", &env), Some(key));
        for wrong in ["", "a", "a/", "/b", "A/b", "a/B", "a/b-c", "a/b/c", "mfctl-lock/apply", "a b/c", "a/ü"] {
            assert!(ConfigKey::parse(wrong).is_err(), "{wrong}");
        }
        for other in ["prod/a/b", "dev-2/a/b", "dev/a", "dev/mfctl-history/x", "dev"] {
            assert_eq!(ConfigKey::of_path(other, &env), None, "{other}");
        }
    }
}
