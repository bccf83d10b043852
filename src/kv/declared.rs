//! The keys that manifests declare. They are changed through Git; by hand only as a break-glass exception with a reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use mfctl_core::domain::{ConfigKey, EnvName};
use mfctl_core::ports::{ConfigChange, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-declared";

/// The declared keys of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeclaredKeys {
    /// Location of the declaration by key, as `base/consul-keys.yaml:7`.
    pub keys: BTreeMap<String, String>,
}

/// The declared keys of an environment, by service.
#[derive(Debug, Clone, Default)]
pub struct KeyDeclarations(pub BTreeMap<String, DeclaredKeys>);

impl KeyDeclarations {
    /// Reads the declarations that the last `bootstrap apply` published.
    ///
    /// # Errors
    /// Those of the store. A malformed declaration is `Corrupt`: it may protect a key.
    pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<Self> {
        let prefix = format!("{env}/{SERVICE}/");
        let entries = store.list(&prefix).await?.entries.into_iter();
        let declared = entries.map(|entry| {
            let declared = serde_json::from_slice(&entry.value).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{} is not a valid list of declared keys", entry.key))
                    .because(error)
            })?;
            Ok((entry.key[prefix.len()..].to_owned(), declared))
        });
        declared.collect::<Result<_>>().map(Self)
    }

    /// Location of a key's declaration; `None` if no manifest declares it.
    #[must_use]
    pub fn location(&self, key: &ConfigKey) -> Option<&str> {
        self.0.get(key.service())?.keys.get(key.name()).map(String::as_str)
    }

    /// The store changes that publish the services of `desired`. With `complete`, `desired` is the whole environment, and
    /// services that it does not name are removed.
    ///
    /// # Errors
    /// `Internal` when a declaration cannot be serialized, which does not happen.
    pub fn changes_to(&self, desired: &Self, env: &EnvName, complete: bool) -> Result<Vec<ConfigChange>> {
        let path = |service: &str| format!("{env}/{SERVICE}/{service}");
        let differing = desired.0.iter().filter(|(service, declared)| self.0.get(*service) != Some(*declared));
        let mut changes = differing
            .map(|(service, declared)| {
                let unserializable = |error| Error::new(ErrorKind::Internal, "serialize declared keys").because(error);
                let value = serde_json::to_vec(declared).map_err(unserializable)?;
                Ok(ConfigChange::Set { key: path(service), value, if_version: None })
            })
            .collect::<Result<Vec<_>>>()?;
        if complete {
            let removed = self.0.keys().filter(|service| !desired.0.contains_key(*service));
            changes.extend(removed.map(|service| ConfigChange::Delete { key: path(service), if_version: None }));
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declarations(services: &[(&str, &str, &str)]) -> KeyDeclarations {
        let mut all = KeyDeclarations::default();
        for (service, key, location) in services {
            let declared = all.0.entry((*service).to_owned()).or_default();
            declared.keys.insert((*key).to_owned(), (*location).to_owned());
        }
        all
    }

    #[test]
    fn only_differing_services_are_written_and_only_a_complete_set_removes_others() {
        let env = EnvName::new("dev").unwrap();
        let published = declarations(&[("a", "x", "f:1"), ("b", "y", "f:2"), ("c", "z", "f:3")]);
        let desired = declarations(&[("a", "x", "f:1"), ("b", "y", "f:9")]);
        let names = |complete| -> Vec<String> {
            let changes = published.changes_to(&desired, &env, complete).unwrap().into_iter();
            changes
                .map(|change| match change {
                    ConfigChange::Set { key, .. } => format!("set {key}"),
                    ConfigChange::Delete { key, .. } => format!("delete {key}"),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(names(false), ["set dev/mfctl-declared/b"]);
        assert_eq!(names(true), ["set dev/mfctl-declared/b", "delete dev/mfctl-declared/c"]);
        assert_eq!(published.location(&ConfigKey::parse("b/y").unwrap()), Some("f:2"));
        assert_eq!(published.location(&ConfigKey::parse("b/q").unwrap()), None);
    }
}
