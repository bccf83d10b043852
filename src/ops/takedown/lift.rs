//! Lifts takedowns: the asset starts its next revision as a staged one, and the workers process it as after an ingest.
//!
//! The steps, in their order:
//!
//! 1. the bytes are copied from the archive to the place of the staged object, and verified;
//! 2. the catalog records the lift and the asset's next revision, which is `staged`;
//! 3. `ingest.raw` is published for that revision, with the event id of the asset's row, as ingest publishes it again;
//! 4. the copy in the archive is deleted.

use schemars::JsonSchema;
use serde::Serialize;

use super::{TakedownOrder, TakedownPorts, envelope, with_hint};
use crate::pipeline::withdrawal::{AssetObjects, changed_meanwhile};
use mfctl_core::domain::event::IngestRaw;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{Asset, AssetId, AssetState, Revision, SourcePath};
use mfctl_core::failpoint;
use mfctl_core::ports::{CopyOutcome, Error, ErrorKind, Result, Takedown};

/// The result of a lift for an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiftResult {
    /// This run lifted its takedown.
    Lifted,
    /// Its takedown was lifted before, and this run did what was left to do.
    Continued,
    /// Its takedown was lifted before, and nothing was left to do.
    LiftedAlready,
    /// It was never taken down.
    NotDown,
    /// Its takedown could not be lifted completely: see the error.
    Failed,
}

/// What a run did with an asset, or what it would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LiftOutcome {
    /// The asset.
    pub asset_id: AssetId,
    /// The asset's revision now.
    pub revision: Revision,
    /// The result.
    pub result: LiftResult,
    /// Whether `ingest.raw` was published.
    pub event_published: bool,
    /// Whether the copy in the archive was deleted.
    pub archived_removed: bool,
    /// Why it failed, and what to do.
    pub error: Option<String>,
}

impl LiftOutcome {
    fn new(asset: &Asset, result: LiftResult) -> Self {
        let asset_id = asset.asset_id;
        Self {
            asset_id,
            revision: asset.revision,
            result,
            event_published: false,
            archived_removed: false,
            error: None,
        }
    }

    /// The outcome of an asset that failed.
    #[must_use]
    pub fn failed(asset: &Asset, error: &Error) -> Self {
        Self { error: Some(with_hint(error)), ..Self::new(asset, LiftResult::Failed) }
    }
}

impl TakedownPorts {
    /// What [`TakedownPorts::lift`] would do now. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` if the bytes of an asset that is down are gone; otherwise those of the ports.
    pub async fn plan_lift(&self, asset: &Asset) -> Result<LiftOutcome> {
        let at = AssetObjects::of(asset, &self.buckets);
        let in_archive = self.objects.head(&at.archived).await?.is_some();
        if asset.state == AssetState::Revoked {
            self.require_liftable(asset).await?;
            if !in_archive && self.objects.head(&asset.staging).await?.is_none() {
                return Err(bytes_are_gone(asset));
            }
            let planned = LiftOutcome::new(asset, LiftResult::Lifted);
            return Ok(LiftOutcome { event_published: true, ..planned });
        }
        let Some(lifted) = self.latest_takedown(asset).await? else {
            return Ok(LiftOutcome::new(asset, LiftResult::NotDown));
        };
        let is_staged_lost = in_archive && self.is_staged_object_lost(asset).await?;
        let event_published = is_unpublished(asset, &lifted) || is_staged_lost;
        let archived_removed = in_archive && is_persisted(asset);
        let result = match event_published || archived_removed {
            true => LiftResult::Continued,
            false => LiftResult::LiftedAlready,
        };
        Ok(LiftOutcome { event_published, archived_removed, ..LiftOutcome::new(asset, result) })
    }

    /// `NotFound` if the asset was purged; `Conflict` while its takedown is not complete: one that still runs may
    /// remove what a lift restores.
    async fn require_liftable(&self, asset: &Asset) -> Result<()> {
        match self.latest_takedown(asset).await? {
            Some(Takedown { purged_at: Some(at), .. }) => {
                let what = format!("the bytes of asset {} were purged at {at}", asset.asset_id);
                Err(Error::new(ErrorKind::NotFound, what).hint("the takedown cannot be lifted"))
            }
            Some(Takedown { completed_at: None, .. }) => {
                let what = format!("the takedown of asset {} is not complete", asset.asset_id);
                let hint = format!(
                    "complete it first: `mfctl media takedown {} --reason TEXT` continues where it was stopped",
                    asset.asset_id
                );
                Err(Error::new(ErrorKind::Conflict, what).hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Whether the object is gone that the event of a staged asset points at.
    async fn is_staged_object_lost(&self, asset: &Asset) -> Result<bool> {
        Ok(asset.state == AssetState::Staged && self.objects.head(&asset.staging).await?.is_none())
    }

    /// Lifts the takedown of an asset; continues a lift that was not completed. The copy in the archive is deleted by a later
    /// run, once the asset is ingested again.
    ///
    /// # Errors `NotFound` if the bytes were purged, or are neither in the archive nor staged; `Corrupt` if they are
    /// not those that were ingested; `Conflict` if the asset was changed meanwhile. Otherwise those of the ports.
    pub async fn lift(&self, asset: &Asset, order: &TakedownOrder) -> Result<LiftOutcome> {
        if asset.state == AssetState::Revoked {
            self.require_liftable(asset).await?;
            self.stage_archived(asset).await?;
            failpoint::hit("lift_staged");
            self.catalog.lift(vec![self.request(asset, order)]).await?;
            failpoint::hit("lift_recorded");
            let lifted = self.catalog.assets(&[asset.asset_id]).await?.pop();
            let is_lifted = |lifted: &Asset| lifted.state == AssetState::Staged && lifted.revision > asset.revision;
            let lifted = lifted.filter(is_lifted).ok_or_else(|| changed_meanwhile(asset))?;
            // A worker that still took the asset for revoked removed it.
            if self.is_staged_object_lost(&lifted).await? {
                self.stage_archived(&lifted).await?;
            }
            return self.complete_lift(&lifted, LiftOutcome::new(&lifted, LiftResult::Lifted), true, order).await;
        }
        let Some(takedown) = self.latest_takedown(asset).await? else {
            return Ok(LiftOutcome::new(asset, LiftResult::NotDown));
        };
        let done = LiftOutcome::new(asset, LiftResult::LiftedAlready);
        let mut publish = is_unpublished(asset, &takedown);
        let at = AssetObjects::of(asset, &self.buckets);
        // A worker that processed an earlier revision deleted it late.
        if self.is_staged_object_lost(asset).await? && self.objects.head(&at.archived).await?.is_some() {
            self.stage_archived(asset).await?;
            publish = true;
        }
        self.complete_lift(asset, done, publish, order).await
    }

    /// Copies the bytes from the archive to the place of the staged object.
    async fn stage_archived(&self, asset: &Asset) -> Result<()> {
        let objects = self.objects.as_ref();
        let at = AssetObjects::of(asset, &self.buckets);
        let copied = match objects.copy_verified(&at.archived, &at.staged, &at.content).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(bytes_are_gone(asset)),
            copied => copied?,
        };
        let damaged = |at, found| {
            let mismatch = format!("it holds {found}, not {}", AssetObjects::of(asset, &self.buckets).content);
            Error::new(ErrorKind::Corrupt, format!("bring asset {} back: {at} is damaged", asset.asset_id))
                .because(mismatch)
        };
        match copied {
            CopyOutcome::Copied | CopyOutcome::AlreadyThere => Ok(()),
            CopyOutcome::WrongSource { found } => Err(damaged(&at.archived, found)),
            CopyOutcome::WrongTarget { found, .. } => Err(damaged(&asset.staging, found)),
        }
    }

    /// Publishes the event of a lifted asset, where that is left to do, and deletes its copy in the archive.
    async fn complete_lift(
        &self,
        asset: &Asset,
        mut done: LiftOutcome,
        publish: bool,
        order: &TakedownOrder,
    ) -> Result<LiftOutcome> {
        if publish {
            self.publish_staged(asset, order).await?;
            failpoint::hit("lift_published");
            self.catalog.mark_published(&[(asset.asset_id, asset.revision)], self.clock.now()).await?;
            done.event_published = true;
        }
        let at = AssetObjects::of(asset, &self.buckets);
        if is_persisted(asset) && self.objects.head(&at.archived).await?.is_some() {
            // A copy writes nothing where the original is there, and compares it.
            let copied = self.objects.copy(&at.archived, &at.original, &at.content).await?;
            let now = self.catalog.assets(&[asset.asset_id]).await?.pop();
            // Since it was taken down again, the archive may be the only place of the bytes.
            let is_unchanged = now.is_some_and(|now| now.revision == asset.revision && is_persisted(&now));
            if copied == CopyOutcome::AlreadyThere && is_unchanged {
                self.objects.delete(std::slice::from_ref(&at.archived)).await?;
                done.archived_removed = true;
            }
        }
        if done.result == LiftResult::LiftedAlready && (done.event_published || done.archived_removed) {
            done.result = LiftResult::Continued;
        }
        Ok(done)
    }

    async fn publish_staged(&self, asset: &Asset, order: &TakedownOrder) -> Result<()> {
        let paths = self.catalog.paths(&[asset.asset_id], 1).await?;
        let path = paths.into_iter().next().and_then(|paths| paths.paths.into_iter().next()).map(|path| path.path);
        let event = IngestRaw {
            envelope: envelope(asset, asset.event_id, asset.staged_at, order.actor.clone()),
            staging: asset.staging.clone(),
            size_bytes: asset.size_bytes,
            media_type: asset.media_type.clone(),
            declared_media_type: None,
            source_path: path.unwrap_or_else(|| SourcePath::from_text(asset.sha256.to_string())),
            metadata: asset.metadata.clone(),
        };
        let topic = topics::INGEST_RAW;
        let record = self.codec.encode(&topic, &event, &event.envelope, asset.event_id, self.clock.now()).await?;
        self.publish(record).await
    }
}

/// Whether the original of the asset's latest revision was stored.
fn is_persisted(asset: &Asset) -> bool {
    matches!(asset.state, AssetState::Ingested | AssetState::Enriched)
}

/// Whether the event of the revision that a lift started was never acknowledged.
fn is_unpublished(asset: &Asset, lifted: &Takedown) -> bool {
    asset.state == AssetState::Staged && asset.published_at.is_none() && asset.revision > lifted.revision
}

fn bytes_are_gone(asset: &Asset) -> Error {
    let what = format!("the bytes of asset {} are neither in the archive nor staged", asset.asset_id);
    Error::new(ErrorKind::NotFound, what).hint("somebody else deleted them: the takedown cannot be lifted")
}
