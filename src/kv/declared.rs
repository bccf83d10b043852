//! Which keys a manifest declares: those are changed through Git, and by hand only where somebody says why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use mfctl_core::domain::{ConfigKey, EnvName};
use mfctl_core::ports::{ConfigChange, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-declared";

/// A service's keys that a manifest declares, with where it does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Declared {
    /// Key and place: `base/consul-keys.yaml:7`.
    pub keys: BTreeMap<String, String>,
}

/// What manifests declare of an environment, by service.
#[derive(Debug, Clone, Default)]
pub struct Declarations(pub BTreeMap<String, Declared>);

impl Declarations {
    /// Reads them.
    ///
    /// # Errors
    /// Those of the store. A declaration that cannot be read is `Corrupt`: it may be what protects a key.
    pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<Self> {
        let prefix = format!("{env}/{SERVICE}/");
        let entries = store.list(&prefix).await?.entries.into_iter();
        let declared = entries.map(|entry| {
            let declared = serde_json::from_slice(&entry.value).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{} does not say what is declared", entry.key)).because(error)
            })?;
            Ok((entry.key[prefix.len()..].to_owned(), declared))
        });
        declared.collect::<Result<_>>().map(Self)
    }

    /// Where a key is declared.
    #[must_use]
    pub fn place(&self, key: &ConfigKey) -> Option<&str> {
        self.0.get(key.service())?.keys.get(key.name()).map(String::as_str)
    }

    /// What has to be written for `wanted` to be what is declared; with `whole`, it is all that is.
    ///
    /// # Errors
    /// Never for what can be declared.
    pub fn changes_to(&self, wanted: &Self, env: &EnvName, whole: bool) -> Result<Vec<ConfigChange>> {
        let path = |service: &str| format!("{env}/{SERVICE}/{service}");
        let differing = wanted.0.iter().filter(|(service, declared)| self.0.get(*service) != Some(*declared));
        let mut changes = differing
            .map(|(service, declared)| {
                let unwritten = |error| Error::new(ErrorKind::Internal, "write what is declared").because(error);
                let value = serde_json::to_vec(declared).map_err(unwritten)?;
                Ok(ConfigChange::Set { key: path(service), value, if_version: None })
            })
            .collect::<Result<Vec<_>>>()?;
        if whole {
            let gone = self.0.keys().filter(|service| !wanted.0.contains_key(*service));
            changes.extend(gone.map(|service| ConfigChange::Delete { key: path(service), if_version: None }));
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declarations(services: &[(&str, &str, &str)]) -> Declarations {
        let mut all = Declarations::default();
        for (service, key, place) in services {
            let declared = all.0.entry((*service).to_owned()).or_default();
            declared.keys.insert((*key).to_owned(), (*place).to_owned());
        }
        all
    }

    #[test]
    fn only_what_differs_is_written_and_only_a_whole_folder_takes_away() {
        let env = EnvName::new("dev").unwrap();
        let is = declarations(&[("a", "x", "f:1"), ("b", "y", "f:2"), ("c", "z", "f:3")]);
        let wanted = declarations(&[("a", "x", "f:1"), ("b", "y", "f:9")]);
        let names = |whole| -> Vec<String> {
            let changes = is.changes_to(&wanted, &env, whole).unwrap().into_iter();
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
        assert_eq!(is.place(&ConfigKey::parse("b/y").unwrap()), Some("f:2"));
        assert_eq!(is.place(&ConfigKey::parse("b/q").unwrap()), None);
    }
}
