//! Broken glass: keys that a manifest declares and that somebody changed by hand in an emergency, for a while.
//!
//! Until the time is over, `bootstrap` leaves such a key as it is. Then it is drift like any other. A key that is what its
//! manifest says again is nobody's exception any more.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigChange, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-glass";

/// A key whose glass is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// The key.
    pub key: ConfigKey,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Until when it may be different.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// Every key whose glass is broken.
#[derive(Debug, Clone, Default)]
pub struct Glass(BTreeMap<ConfigKey, Broken>);

impl Glass {
    /// Reads them.
    ///
    /// # Errors
    /// Those of the store. One that cannot be read is `Corrupt`: it may be what keeps an emergency's change.
    pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<Self> {
        let entries = store.list(&format!("{env}/{SERVICE}/")).await?.entries.into_iter();
        let broken = entries.map(|entry| {
            let broken: Broken = serde_json::from_slice(&entry.value).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{} does not say whose glass is broken", entry.key))
                    .because(error)
            })?;
            Ok((broken.key.clone(), broken))
        });
        broken.collect::<Result<_>>().map(Self)
    }

    /// The exception of a key.
    #[must_use]
    pub fn get(&self, key: &ConfigKey) -> Option<&Broken> {
        self.0.get(key)
    }

    /// Whether a key is to be left as it is now.
    #[must_use]
    pub fn holds(&self, key: &ConfigKey, now: Timestamp) -> bool {
        self.get(key).is_some_and(|broken| now < broken.until)
    }

    /// All of them, by key.
    pub fn all(&self) -> impl Iterator<Item = &Broken> {
        self.0.values()
    }
}

impl Broken {
    /// What breaks a key's glass.
    ///
    /// # Errors
    /// Never for what can be an exception.
    pub fn change(&self, env: &EnvName) -> Result<ConfigChange> {
        let unwritten = |error| Error::new(ErrorKind::Internal, "write whose glass is broken").because(error);
        let value = serde_json::to_vec(self).map_err(unwritten)?;
        Ok(ConfigChange::Set { key: path(env, &self.key), value, if_version: None })
    }

    /// What ends the exception.
    #[must_use]
    pub fn mend(&self, env: &EnvName) -> ConfigChange {
        ConfigChange::Delete { key: path(env, &self.key), if_version: None }
    }
}

/// Within the contract's pattern, whatever the service is called.
fn path(env: &EnvName, key: &ConfigKey) -> String {
    format!("{env}/{SERVICE}/{}", hex::encode(&Sha256::digest(key.to_string().as_bytes())[..8]))
}
