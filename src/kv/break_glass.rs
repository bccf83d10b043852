//! Break-glass exceptions: declared keys that were changed by hand in an emergency, each with an expiry.
//!
//! Until an exception expires, `bootstrap` leaves its key unchanged; afterwards the difference is drift like any other. An
//! exception is removed once its key matches the manifest again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::{ConfigChange, ConfigStore, Error, ErrorKind, Result};

const SERVICE: &str = "mfctl-glass";

/// A declared key that was changed by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakGlassException {
    /// The key.
    pub key: ConfigKey,
    /// Who changed it.
    pub actor: String,
    /// Reason for the change.
    pub reason: String,
    /// Time of the change.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Expiry: from then on the difference is drift.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// The break-glass exceptions of an environment, active and expired.
#[derive(Debug, Clone, Default)]
pub struct BreakGlassExceptions(BTreeMap<ConfigKey, BreakGlassException>);

impl BreakGlassExceptions {
    /// Reads the exceptions of an environment.
    ///
    /// # Errors
    /// Those of the store. A malformed exception is `Corrupt`: it may protect an emergency change.
    pub async fn read(store: &dyn ConfigStore, env: &EnvName) -> Result<Self> {
        let entries = store.list(&format!("{env}/{SERVICE}/")).await?.entries.into_iter();
        let exceptions = entries.map(|entry| {
            let exception: BreakGlassException = serde_json::from_slice(&entry.value).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{} is not a valid break-glass exception", entry.key))
                    .because(error)
            })?;
            Ok((exception.key.clone(), exception))
        });
        exceptions.collect::<Result<_>>().map(Self)
    }

    /// The exception of a key, active or expired.
    #[must_use]
    pub fn get(&self, key: &ConfigKey) -> Option<&BreakGlassException> {
        self.0.get(key)
    }

    /// Whether a key has an exception that has not expired.
    #[must_use]
    pub fn is_active(&self, key: &ConfigKey, now: Timestamp) -> bool {
        self.get(key).is_some_and(|exception| now < exception.until)
    }

    /// Every exception, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = &BreakGlassException> {
        self.0.values()
    }
}

impl BreakGlassException {
    /// The store change that records the exception.
    ///
    /// # Errors
    /// `Internal` when it cannot be serialized, which does not happen.
    pub fn set_change(&self, env: &EnvName) -> Result<ConfigChange> {
        let unserializable =
            |error| Error::new(ErrorKind::Internal, "serialize a break-glass exception").because(error);
        let value = serde_json::to_vec(self).map_err(unserializable)?;
        Ok(ConfigChange::Set { key: store_key(env, &self.key), value, if_version: None })
    }

    /// The store change that removes the exception.
    #[must_use]
    pub fn delete_change(&self, env: &EnvName) -> ConfigChange {
        ConfigChange::Delete { key: store_key(env, &self.key), if_version: None }
    }
}

/// The key is hashed because its slash would break the pattern `<env>/<service>/<key>`.
fn store_key(env: &EnvName, key: &ConfigKey) -> String {
    format!("{env}/{SERVICE}/{}", hex::encode(&Sha256::digest(key.to_string().as_bytes())[..8]))
}
