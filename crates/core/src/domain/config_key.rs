//! The name of a setting that services read: `<env>/<service>/<key>`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::names::{EnvName, InvalidName};

/// Services that are mfctl's own: its lock, its marks, its history.
pub const OWN_SERVICES: &str = "mfctl-";

const RULE: &str = "<service>/<key>: the service of a-z 0-9 - and not beginning with mfctl-, the key of a-z 0-9 _";

/// A setting of a service, within its environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ConfigKey {
    service: String,
    name: String,
}

impl ConfigKey {
    /// Makes one from both parts.
    ///
    /// # Errors
    /// [`InvalidName`] when one of them has a character that it may not have.
    pub fn new(service: &str, name: &str) -> Result<Self, InvalidName> {
        match is_service(service) && is_name(name) {
            true => Ok(Self { service: service.to_owned(), name: name.to_owned() }),
            false => {
                let name = format!("{service}/{name}").chars().take(80).collect();
                Err(InvalidName { what: "configuration key", name, rule: RULE })
            }
        }
    }

    /// Reads `<service>/<key>`.
    ///
    /// # Errors
    /// As [`ConfigKey::new`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let (service, name) = text.split_once('/').unwrap_or((text, ""));
        Self::new(service, name)
    }

    /// Reads the whole name of a key of this environment; `None` for what is none: another environment's, mfctl's own, or
    /// one that breaks the rule because another tool made it.
    #[must_use]
    pub fn of_path(path: &str, env: &EnvName) -> Option<Self> {
        Self::parse(path.strip_prefix(env.as_str())?.strip_prefix('/')?).ok()
    }

    /// Its whole name.
    #[must_use]
    pub fn path(&self, env: &EnvName) -> String {
        format!("{env}/{self}")
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The key within its service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a service can be called so.
#[must_use]
pub fn is_service(text: &str) -> bool {
    let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(slug) && !text.starts_with(OWN_SERVICES)
}

/// Whether a service's key can be called so.
#[must_use]
pub fn is_name(text: &str) -> bool {
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
    fn a_key_is_a_service_and_a_name_of_few_characters() {
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
