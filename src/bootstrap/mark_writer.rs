//! Writes the owner mark of one resource: each write is one transaction with the check that the lock is held still and that
//! nothing else has written the mark.

use sha2::{Digest, Sha256};

use super::manifest::ResourceKind;
use super::owner_marks::OwnerMark;
use super::resources::ResourceContext;
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigChange, ConfigLock, ConfigStore, Error, ErrorKind, Result};

/// Writer of the mark of one resource. Does nothing where the profile has no configuration store.
pub(super) struct MarkWriter<'a> {
    store: Option<&'a dyn ConfigStore>,
    lock: Option<&'a dyn ConfigLock>,
    key: String,
    /// Version of the mark in the store; 0 is none.
    version: u64,
}

impl<'a> MarkWriter<'a> {
    /// A writer of the mark as the context has read it.
    pub(super) fn new(
        context: &ResourceContext<'a>,
        lock: Option<&'a dyn ConfigLock>,
        kind: ResourceKind,
        id: &str,
    ) -> Self {
        let version = context.owner_marks.version(kind, id);
        Self { store: context.ports.config.as_deref(), lock, key: store_key(context.env, kind, id), version }
    }

    /// Writes the mark.
    ///
    /// # Errors
    /// Those of the store: `Conflict` when the mark was written since it was read, `Locked` when the lock was lost.
    pub(super) async fn set(&mut self, mark: &OwnerMark) -> Result<()> {
        let Some(store) = self.store else { return Ok(()) };
        let unserializable = |error| Error::new(ErrorKind::Internal, "serialize an owner mark").because(error);
        let value = serde_json::to_vec(mark).map_err(unserializable)?;
        let set = ConfigChange::Set { key: self.key.clone(), value: value.clone(), if_version: Some(self.version) };
        store.apply(&self.under_lock(set)).await?;
        let written = store.get(&self.key).await?.filter(|entry| entry.value == value);
        let changed = || Error::new(ErrorKind::Conflict, format!("{} was changed by another process", self.key));
        self.version = written.ok_or_else(changed)?.version;
        Ok(())
    }

    /// Removes the mark.
    ///
    /// # Errors
    /// As [`MarkWriter::set`].
    pub(super) async fn remove(&mut self) -> Result<()> {
        let Some(store) = self.store.filter(|_| self.version > 0) else { return Ok(()) };
        let delete = ConfigChange::Delete { key: self.key.clone(), if_version: Some(self.version) };
        store.apply(&self.under_lock(delete)).await?;
        self.version = 0;
        Ok(())
    }

    /// Version of the mark in the store after the last write; 0 is none.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn under_lock(&self, change: ConfigChange) -> Vec<ConfigChange> {
        self.lock.map(ConfigLock::lock_check).into_iter().chain([change]).collect()
    }
}

/// The id is hashed because it may have characters that the pattern for keys forbids.
fn store_key(env: &EnvName, kind: ResourceKind, id: &str) -> String {
    let hash = hex::encode(&Sha256::digest(format!("{kind}/{id}").as_bytes())[..8]);
    format!("{env}/mfctl-owned/{}_{hash}", kind.as_str().to_ascii_lowercase())
}
