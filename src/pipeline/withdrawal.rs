//! Removes what the pipeline stored of an asset that was taken down: its bytes go to the archive or are purged, its
//! derivatives go.
//!
//! Used by the takedown itself and by workers, for what they stored while the asset was taken down. Every operation can
//! be repeated. The catalog is asked again before each delete, and after it: what was deleted of an asset whose
//! takedown was lifted meanwhile is restored from the archive.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::Serialize;

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectKey, ObjectRef};
use mfctl_core::ports::{
    Catalog, ContentDigest, CopyOutcome, Dependency, Error, ErrorKind, ObjectStore, Result, Takedown,
};

/// Derivatives that are listed at once.
const PAGE: usize = 1000;
/// Assets whose bytes a worker removes at once.
const CONCURRENCY: usize = 8;

/// Where the bytes of an asset are or were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetObjects {
    /// The original.
    pub original: ObjectRef,
    /// The staged object.
    pub staged: ObjectRef,
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
            staged: asset.staging.clone(),
            archived: at(object_keys::archived_original(&asset.tenant, &asset.sha256)),
            content: ContentDigest { size_bytes: asset.size_bytes, sha256: asset.sha256 },
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [ObjectRef; 3] {
        [self.original.clone(), self.staged.clone(), self.archived.clone()]
    }
}

/// What becomes of the bytes of an asset that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BytesPolicy {
    /// The original is kept in the archive, so that the takedown can be lifted.
    Archive,
    /// Every version is deleted.
    Purge,
}

impl BytesPolicy {
    /// The policy of an asset with this takedown.
    #[must_use]
    pub fn of(takedown: Option<&Takedown>) -> Self {
        match takedown {
            Some(Takedown { purged_at: Some(_), .. }) => Self::Purge,
            _ => Self::Archive,
        }
    }

    /// How objects are removed that are not archived.
    #[must_use]
    pub fn removal(self) -> Removal {
        match self {
            Self::Archive => Removal::Delete,
            Self::Purge => Removal::Purge,
        }
    }
}

/// What became of an asset's original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginalOutcome {
    /// Moved to the archive.
    Archived,
    /// It was in the archive before.
    InArchive,
    /// Deleted, with every version.
    Purged,
    /// There is none.
    None,
}

/// What was removed of an asset's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedBytes {
    /// What became of the original.
    pub original: OriginalOutcome,
    /// Whether a staged object was removed.
    pub staged: bool,
    /// Number of versions that were purged.
    pub versions_purged: u64,
}

/// The end of a copy to the archive.
enum ArchiveCopy {
    /// The archive has the bytes, of which it had none before.
    Copied,
    /// The archive had the bytes before.
    AlreadyThere,
    /// The source is gone, and nothing is archived.
    Gone,
    /// The source or the archived object has other bytes: a sentence about it.
    Damaged(String),
}

/// What the catalog says of an asset after something of it was removed.
enum AssetNow {
    /// It is down at the same revision.
    Down(BytesPolicy),
    /// Its takedown was lifted.
    Lifted(Box<Asset>),
    /// The catalog does not have it.
    Missing,
}

/// Removes what is stored of assets that are down.
#[derive(Clone, Copy)]
pub struct Withdrawer<'a> {
    /// Knows which assets are down.
    pub catalog: &'a dyn Catalog,
    /// Holds originals, derivatives and staged objects.
    pub objects: &'a dyn ObjectStore,
    /// The environment's buckets.
    pub buckets: &'a Buckets,
}

impl Withdrawer<'_> {
    /// Those of these assets that are down, each with what becomes of its bytes.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn revoked(&self, assets: &[AssetId]) -> Result<Vec<(Asset, BytesPolicy)>> {
        let of_catalog = |error: Error| error.of(Dependency::Catalog);
        let mut assets = self.catalog.assets(assets).await.map_err(of_catalog)?;
        assets.retain(|asset| asset.state == AssetState::Revoked);
        if assets.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<AssetId> = assets.iter().map(|asset| asset.asset_id).collect();
        let takedowns = self.catalog.takedowns(&ids).await.map_err(of_catalog)?;
        let takedowns: HashMap<AssetId, &Takedown> =
            takedowns.iter().map(|takedown| (takedown.asset_id, takedown)).collect();
        let with_policy = |asset: Asset| {
            let policy = BytesPolicy::of(takedowns.get(&asset.asset_id).copied());
            (asset, policy)
        };
        Ok(assets.into_iter().map(with_policy).collect())
    }

    /// Archives or purges the bytes of those of these assets that are down. Bytes that cannot be archived stay where
    /// they are, which the audit reports: one damaged object must not stop a worker.
    ///
    /// # Errors
    /// Those of the ports that are not about one asset.
    pub async fn withdraw_bytes(&self, assets: &[AssetId]) -> Result<()> {
        let removals = self.revoked(assets).await?.into_iter().map(|(asset, policy)| async move {
            let stays = [ErrorKind::Corrupt, ErrorKind::NotFound, ErrorKind::Conflict];
            match self.remove_bytes(&asset, policy).await {
                Err(error) if stays.contains(&error.kind()) => {
                    tracing::warn!(
                        error = error.full(),
                        "the bytes of an asset that was taken down were left as they are"
                    );
                    Ok(())
                }
                removed => removed.map(drop),
            }
        });
        stream::iter(removals).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Archives or purges the bytes of an asset that is down: original and staged object.
    ///
    /// # Errors
    /// `Corrupt` if no object with its bytes is left to archive and damaged ones stay, or if they cannot be put back after
    /// the takedown was lifted; `NotFound` if nothing of it is stored, `Conflict` if it is not down any more at this
    /// revision; otherwise those of the ports.
    pub async fn remove_bytes(&self, asset: &Asset, policy: BytesPolicy) -> Result<RemovedBytes> {
        if policy == BytesPolicy::Purge {
            return self.purge(asset).await;
        }
        let removed = self.archive(asset).await?;
        if removed.original == OriginalOutcome::InArchive && !removed.staged {
            return Ok(removed);
        }
        match self.look_again(asset).await? {
            AssetNow::Down(BytesPolicy::Archive) | AssetNow::Missing => Ok(removed),
            AssetNow::Down(BytesPolicy::Purge) => self.purge(asset).await,
            AssetNow::Lifted(lifted) => {
                self.restore(&lifted).await?;
                Err(changed_meanwhile(asset))
            }
        }
    }

    async fn purge(&self, asset: &Asset) -> Result<RemovedBytes> {
        let at = AssetObjects::of(asset, self.buckets);
        let staged = self.has(&at.staged).await?;
        let versions_purged = self.objects.purge(&at.all()).await.map_err(of_objects)?;
        let original = if versions_purged > 0 { OriginalOutcome::Purged } else { OriginalOutcome::None };
        Ok(RemovedBytes { original, staged, versions_purged })
    }

    /// Copies the original, or the staged object where the original is missing or damaged, to the archive, and deletes
    /// both.
    async fn archive(&self, asset: &Asset) -> Result<RemovedBytes> {
        let at = AssetObjects::of(asset, self.buckets);
        let has_original = self.has(&at.original).await?;
        let has_staged = self.has(&at.staged).await?;
        let sources = [(has_original, &at.original), (has_staged, &at.staged)];
        let sources: Vec<&ObjectRef> =
            sources.into_iter().filter(|(is_there, _)| *is_there).map(|(_, at)| at).collect();
        let mut damaged = Vec::new();
        let mut archived = None;
        for source in &sources {
            match self.copy_to_archive(source, &at, asset).await? {
                ArchiveCopy::AlreadyThere if !has_original => archived = Some(OriginalOutcome::InArchive),
                ArchiveCopy::Copied | ArchiveCopy::AlreadyThere => archived = Some(OriginalOutcome::Archived),
                ArchiveCopy::Gone => {}
                ArchiveCopy::Damaged(found) => damaged.push(found),
            }
            if archived.is_some() {
                break;
            }
        }
        let original = match archived {
            Some(archived) => archived,
            None if !damaged.is_empty() => return Err(damaged_bytes(asset, &damaged)),
            None if self.has(&at.archived).await? => OriginalOutcome::InArchive,
            None => return Err(missing_bytes(asset, &at)),
        };
        if !sources.is_empty() {
            self.require_down(asset).await?;
            let sources: Vec<ObjectRef> = sources.into_iter().cloned().collect();
            self.objects.delete(&sources).await.map_err(of_objects)?;
        }
        Ok(RemovedBytes { original, staged: has_staged, versions_purged: 0 })
    }

    /// A damaged object in the archive is replaced if the source has the right bytes.
    async fn copy_to_archive(&self, source: &ObjectRef, at: &AssetObjects, asset: &Asset) -> Result<ArchiveCopy> {
        let copy = || self.objects.copy_verified(source, &at.archived, &at.content);
        let copied = match copy().await {
            Ok(CopyOutcome::WrongTarget { source: Some(content), .. }) if content == at.content => {
                self.require_down(asset).await?;
                self.objects.delete(std::slice::from_ref(&at.archived)).await.map_err(of_objects)?;
                copy().await
            }
            copied => copied,
        };
        Ok(match copied {
            Ok(CopyOutcome::Copied) => ArchiveCopy::Copied,
            Ok(CopyOutcome::AlreadyThere) => ArchiveCopy::AlreadyThere,
            Ok(CopyOutcome::WrongSource { found }) => ArchiveCopy::Damaged(format!("{source} holds {found}")),
            Ok(CopyOutcome::WrongTarget { found, .. }) => {
                ArchiveCopy::Damaged(format!("{} holds {found}", at.archived))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => ArchiveCopy::Gone,
            Err(error) => return Err(of_objects(error)),
        })
    }

    /// Copies the bytes of an asset whose takedown was lifted back to where its state wants them. Of a staged asset, the
    /// original may have been copied already, by a worker that has not recorded it yet.
    async fn restore(&self, lifted: &Asset) -> Result<()> {
        let at = AssetObjects::of(lifted, self.buckets);
        let targets = match lifted.state {
            AssetState::Staged => vec![&at.staged, &at.original],
            AssetState::Ingested | AssetState::Enriched => vec![&at.original],
            AssetState::Revoked => Vec::new(),
        };
        for target in targets {
            if self.has(target).await? {
                continue;
            }
            match self.objects.copy_verified(&at.archived, target, &at.content).await {
                Ok(CopyOutcome::Copied | CopyOutcome::AlreadyThere) => {}
                Ok(CopyOutcome::WrongSource { found }) => {
                    return Err(not_restored(lifted, target).because(format!("{} holds {found}", at.archived)));
                }
                Ok(CopyOutcome::WrongTarget { found, .. }) => {
                    return Err(not_restored(lifted, target).because(format!("{target} holds {found}")));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(not_restored(lifted, target).because(format!("{} is not there", at.archived)));
                }
                Err(error) => return Err(of_objects(error)),
            }
        }
        Ok(())
    }

    async fn look_again(&self, asset: &Asset) -> Result<AssetNow> {
        if let Some((now, policy)) = self.revoked(&[asset.asset_id]).await?.pop()
            && now.revision == asset.revision
        {
            return Ok(AssetNow::Down(policy));
        }
        let now = self.catalog.assets(&[asset.asset_id]).await.map_err(|error| error.of(Dependency::Catalog))?.pop();
        Ok(now.map_or(AssetNow::Missing, |now| AssetNow::Lifted(Box::new(now))))
    }

    /// `Conflict` unless the asset is down at this revision.
    async fn require_down(&self, asset: &Asset) -> Result<()> {
        let now = self.catalog.assets(&[asset.asset_id]).await.map_err(|error| error.of(Dependency::Catalog))?.pop();
        match now {
            Some(now) if now.state == AssetState::Revoked && now.revision == asset.revision => Ok(()),
            _ => Err(changed_meanwhile(asset)),
        }
    }

    async fn has(&self, at: &ObjectRef) -> Result<bool> {
        Ok(self.objects.head(at).await.map_err(of_objects)?.is_some())
    }

    /// Removes an asset's derivatives of its revision and of earlier ones; returns their number. Those of a later
    /// revision were made after the takedown was lifted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_derivatives(&self, asset: &Asset, removal: Removal) -> Result<u64> {
        let prefix = object_keys::derived_prefix(asset.asset_id);
        let bucket = &self.buckets.derived;
        let mut removed = 0;
        let mut after: Option<ObjectKey> = None;
        loop {
            let listing = self.objects.list(bucket, &prefix, after.as_ref(), PAGE).await.map_err(of_objects)?;
            let Some(last) = listing.objects.last() else { return Ok(removed) };
            after = Some(last.key.clone());
            let is_wanted = |key: &ObjectKey| {
                object_keys::revision_of_derivative(key).is_some_and(|revision| revision <= asset.revision)
            };
            let keys = listing.objects.into_iter().map(|object| object.key).filter(is_wanted);
            let wanted: Vec<_> = keys.map(|key| ObjectRef { bucket: bucket.clone(), key }).collect();
            removed += wanted.len() as u64;
            removal.apply(&wanted, self.objects).await.map_err(of_objects)?;
        }
    }
}

/// The error of a change to an asset that has another revision now, or another state.
#[must_use]
pub fn changed_meanwhile(asset: &Asset) -> Error {
    let what = format!("asset {} has no revision {} to change any more", asset.asset_id, asset.revision);
    Error::new(ErrorKind::Conflict, what).hint("somebody else changed it meanwhile: run the command again")
}

fn damaged_bytes(asset: &Asset, damaged: &[String]) -> Error {
    let id = asset.asset_id;
    let expected = ContentDigest { size_bytes: asset.size_bytes, sha256: asset.sha256 };
    let mismatch = format!("{}, not {expected}", damaged.join(" and "));
    Error::new(ErrorKind::Corrupt, format!("the original of asset {id} is damaged and was not archived"))
        .because(mismatch)
        .hint(format!(
            "what is damaged stays there, and nothing serves it: `mfctl media takedown {id} --reason TEXT --purge` \
             deletes it; or put the right bytes there, and run the same command again"
        ))
        .of(Dependency::Objects)
}

fn not_restored(asset: &Asset, target: &ObjectRef) -> Error {
    let id = asset.asset_id;
    let what =
        format!("{target} of asset {id}, whose takedown was lifted meanwhile, was deleted and cannot be put back");
    Error::new(ErrorKind::Corrupt, what)
        .hint("put back an earlier version of the object, or ingest the file again")
        .of(Dependency::Objects)
}

fn missing_bytes(asset: &Asset, at: &AssetObjects) -> Error {
    let id = asset.asset_id;
    let missing = format!("neither {} nor {} nor {} is there", at.original, at.staged, at.archived);
    Error::new(ErrorKind::NotFound, format!("asset {id} has no bytes to archive"))
        .because(missing)
        .hint(format!(
            "nothing of it is left, and its takedown cannot be lifted: \
             `mfctl media takedown {id} --reason TEXT --purge` records that nothing is kept"
        ))
        .of(Dependency::Objects)
}

fn of_objects(error: Error) -> Error {
    error.of(Dependency::Objects)
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
