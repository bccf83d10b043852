//! Removes what the pipeline stored of an asset that was taken down: its original goes to the archive, its derivatives go.
//!
//! Used by the takedown itself and by workers, for what they stored while the asset was taken down. Every operation can be
//! repeated.

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, ObjectKey, ObjectRef};
use mfctl_core::ports::{ContentDigest, CopyOutcome, Error, ErrorKind, ObjectStore, Result};

/// Derivatives that are listed at once.
const PAGE: usize = 1000;

/// Where the bytes of an asset are or were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetObjects {
    /// The original.
    pub original: ObjectRef,
    /// The original of an asset that was taken down.
    pub archived: ObjectRef,
    /// The bytes that each of them must have.
    pub content: ContentDigest,
}

impl AssetObjects {
    /// The objects of an asset.
    #[must_use]
    pub fn of(asset: &Asset, buckets: &Buckets) -> Self {
        let at = |key| ObjectRef { bucket: buckets.originals.clone(), key };
        Self {
            original: at(object_keys::original(&asset.tenant, &asset.sha256)),
            archived: at(object_keys::archived_original(&asset.tenant, &asset.sha256)),
            content: ContentDigest { size_bytes: asset.size_bytes, sha256: asset.sha256 },
        }
    }

    /// Moves an object with the asset's bytes to the archive. Returns whether it was there: without it, the archive has the
    /// bytes already, or nothing has.
    ///
    /// # Errors
    /// `Corrupt` if the object or its copy in the archive has other bytes, after which both are still there; otherwise those
    /// of the store.
    pub async fn archive(&self, from: &ObjectRef, objects: &dyn ObjectStore) -> Result<bool> {
        if objects.head(from).await?.is_none() {
            return Ok(false);
        }
        let moved = match objects.relocate(from, &self.archived, &self.content).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            moved => moved?,
        };
        let damaged = |at: &ObjectRef, found: ContentDigest| {
            let mismatch = format!("it holds {found}, not {}", self.content);
            Error::new(ErrorKind::Corrupt, format!("move object {from} to the archive: {at} is damaged"))
                .because(mismatch)
        };
        match moved {
            CopyOutcome::Copied | CopyOutcome::AlreadyThere => Ok(true),
            CopyOutcome::WrongSource { found } => Err(damaged(from, found)),
            CopyOutcome::WrongTarget { found, .. } => Err(damaged(&self.archived, found)),
        }
    }
}

/// How objects are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They are only counted, for a dry run.
    CountOnly,
    /// They are deleted; in a versioned bucket their versions stay.
    Delete,
    /// They are deleted with all their versions.
    Purge,
}

impl Removal {
    /// Removes these objects.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn apply(self, at: &[ObjectRef], objects: &dyn ObjectStore) -> Result<()> {
        match self {
            _ if at.is_empty() => Ok(()),
            Self::CountOnly => Ok(()),
            Self::Delete => objects.delete(at).await,
            Self::Purge => objects.purge(at).await.map(drop),
        }
    }
}

/// Removes an asset's derivatives of its revision and of earlier ones; returns their number. Those of a later revision were
/// made after the takedown was lifted.
///
/// # Errors
/// Those of the store.
pub async fn remove_derivatives(
    asset: &Asset,
    objects: &dyn ObjectStore,
    buckets: &Buckets,
    removal: Removal,
) -> Result<u64> {
    let prefix = object_keys::derived_prefix(asset.asset_id);
    let mut removed = 0;
    let mut after: Option<ObjectKey> = None;
    loop {
        let listing = objects.list(&buckets.derived, &prefix, after.as_ref(), PAGE).await?;
        let Some(last) = listing.objects.last() else { return Ok(removed) };
        after = Some(last.key.clone());
        let keys = listing.objects.into_iter().map(|object| object.key);
        let wanted = keys
            .filter(|key| object_keys::revision_of_derivative(key).is_some_and(|revision| revision <= asset.revision));
        let wanted: Vec<_> = wanted.map(|key| ObjectRef { bucket: buckets.derived.clone(), key }).collect();
        removed += wanted.len() as u64;
        removal.apply(&wanted, objects).await?;
    }
}
