//! Owner marks: a record in the configuration store of each resource that mfctl created, written before it is created. Only
//! a marked resource is ever pruned; one that another tool created, or that was imported, never is.
//!
//! Most servers have no labels for this, so the marks of all kinds are in one place: `<env>/mfctl-owned/<kind>_<hash>`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{ResourceDeclaration, ResourceKind};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigChange, Error, ErrorKind, Ports, Result};

/// The owner mark of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMark {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub id: String,
    /// Where ownership is tracked by field, the fields that mfctl owns: keys of a service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<String>,
    /// Where it was declared, as `base/topics.yaml:4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Snapshot of an environment's owner marks.
#[derive(Debug, Clone, Default)]
pub struct OwnerMarks(BTreeMap<(ResourceKind, String), OwnerMark>);

impl OwnerMarks {
    /// Reads an environment's marks; empty where the profile has no configuration store.
    ///
    /// # Errors
    /// Those of the store. A malformed mark is `Corrupt`: it may be the only evidence of ownership.
    pub async fn read(ports: &Ports, env: &EnvName) -> Result<Self> {
        let Some(store) = &ports.config else { return Ok(Self::default()) };
        let snapshot = store.list(&format!("{env}/mfctl-owned/")).await?;
        let marks = snapshot.entries.into_iter().map(|entry| {
            let corrupt = |error| {
                Error::new(ErrorKind::Corrupt, format!("{} is not a valid owner mark", entry.key)).because(error)
            };
            let mark: OwnerMark = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            Ok(((mark.kind, mark.id.clone()), mark))
        });
        marks.collect::<Result<_>>().map(Self)
    }

    /// The mark of a resource; `None` if mfctl does not own it.
    #[must_use]
    pub fn get(&self, kind: ResourceKind, id: &str) -> Option<&OwnerMark> {
        self.0.get(&(kind, id.to_owned()))
    }

    /// Every mark of a kind.
    pub fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = &OwnerMark> {
        self.0.values().filter(move |mark| mark.kind == kind)
    }

    /// Marks a resource as owned, with these fields of it. Writes nothing if the snapshot has the same mark.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn write_mark(
        &self,
        ports: &Ports,
        env: &EnvName,
        declaration: &ResourceDeclaration,
        id: &str,
        fields: BTreeSet<String>,
    ) -> Result<()> {
        let Some(store) = &ports.config else { return Ok(()) };
        let mark = OwnerMark {
            kind: declaration.kind(),
            id: id.to_owned(),
            fields,
            source: declaration.location.as_ref().map(ToString::to_string),
        };
        if self.get(declaration.kind(), id) == Some(&mark) {
            return Ok(());
        }
        let unserializable = |error| Error::new(ErrorKind::Internal, "serialize an owner mark").because(error);
        let value = serde_json::to_vec(&mark).map_err(unserializable)?;
        let key = store_key(env, declaration.kind(), id);
        store.apply(&[ConfigChange::Set { key, value, if_version: None }]).await
    }

    /// Removes the mark of a deleted resource.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_mark(ports: &Ports, env: &EnvName, kind: ResourceKind, id: &str) -> Result<()> {
        match &ports.config {
            Some(store) => {
                store.apply(&[ConfigChange::Delete { key: store_key(env, kind, id), if_version: None }]).await
            }
            None => Ok(()),
        }
    }
}

/// The id is hashed because it may have characters that the pattern for keys forbids.
fn store_key(env: &EnvName, kind: ResourceKind, id: &str) -> String {
    let hash = hex::encode(&Sha256::digest(format!("{kind}/{id}").as_bytes())[..8]);
    format!("{env}/mfctl-owned/{}_{hash}", kind.as_str().to_ascii_lowercase())
}
