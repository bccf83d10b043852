//! What mfctl made: a mark per resource in the configuration store, set before it is made. Only what is marked is ever
//! removed; what others made, or what was adopted, never is.
//!
//! Most servers keep no labels of ours, so the marks are in one place for all kinds: `<env>/mfctl-owned/<kind>_<hash>`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{Item, Kind};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigChange, Error, ErrorKind, Ports, Result};

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The kind.
    pub kind: Kind,
    /// The name that the server knows it by.
    pub id: String,
    /// Of a resource that is one of many parts, the parts that are mfctl's: keys of a service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<String>,
    /// Where it was declared, as `base/topics.yaml:4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The marks of an environment, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Owned(BTreeMap<(Kind, String), Mark>);

impl Owned {
    /// Reads them; none where the profile has no configuration store.
    ///
    /// # Errors
    /// Those of the store. A mark that cannot be read is `Corrupt`: it may be the only sign of what is ours.
    pub async fn read(ports: &Ports, env: &EnvName) -> Result<Self> {
        let Some(store) = &ports.config else { return Ok(Self::default()) };
        let snapshot = store.list(&format!("{env}/mfctl-owned/")).await?;
        let marks = snapshot.entries.into_iter().map(|entry| {
            let unreadable = |error| {
                Error::new(ErrorKind::Corrupt, format!("{} does not say what mfctl made", entry.key)).because(error)
            };
            let mark: Mark = serde_json::from_slice(&entry.value).map_err(unreadable)?;
            Ok(((mark.kind, mark.id.clone()), mark))
        });
        marks.collect::<Result<_>>().map(Self)
    }

    /// The mark of a resource.
    #[must_use]
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Mark> {
        self.0.get(&(kind, id.to_owned()))
    }

    /// Every mark of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Mark> {
        self.0.values().filter(move |mark| mark.kind == kind)
    }

    /// Marks a resource, with these parts of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn mark(
        &self,
        ports: &Ports,
        env: &EnvName,
        item: &Item,
        id: &str,
        fields: BTreeSet<String>,
    ) -> Result<()> {
        let Some(store) = &ports.config else { return Ok(()) };
        let before = self.get(item.kind(), id);
        let mark = Mark {
            kind: item.kind(),
            id: id.to_owned(),
            fields,
            source: item.origin.as_ref().map(ToString::to_string),
        };
        if before == Some(&mark) {
            return Ok(());
        }
        let written = |error| Error::new(ErrorKind::Internal, "write a mark").because(error);
        let value = serde_json::to_vec(&mark).map_err(written)?;
        store.apply(&[ConfigChange::Set { key: key(env, item.kind(), id), value, if_version: None }]).await
    }

    /// Takes the mark of what was removed away.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget(ports: &Ports, env: &EnvName, kind: Kind, id: &str) -> Result<()> {
        match &ports.config {
            Some(store) => store.apply(&[ConfigChange::Delete { key: key(env, kind, id), if_version: None }]).await,
            None => Ok(()),
        }
    }
}

/// Within the contract's pattern for keys, whatever is in the name.
fn key(env: &EnvName, kind: Kind, id: &str) -> String {
    let hash = hex::encode(&Sha256::digest(format!("{kind}/{id}").as_bytes())[..8]);
    format!("{env}/mfctl-owned/{}_{hash}", kind.as_str().to_ascii_lowercase())
}
