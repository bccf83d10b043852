//! Takes assets down, and lifts takedowns.
//!
//! Every step can be repeated, so that a run continues where an earlier one was ended. The steps of a takedown, in their order:
//!
//! 1. the catalog records it, and the asset's revision is `revoked`: workers that look at the asset from now on store nothing;
//! 2. a tombstone replaces the search document;
//! 3. the derivatives of every revision are removed;
//! 4. the original, or the staged object of an asset that has none, is moved to the archive, and what is staged is removed;
//! 5. `media.asset_revoked` is published, and the catalog records that the takedown is complete.
//!
//! What a worker stores in the meantime, it withdraws itself ([`crate::pipeline::withdrawal`]).

mod lift;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

pub use lift::{LiftOutcome, LiftResult};

use crate::pipeline::withdrawal::{AssetObjects, Removal, remove_derivatives};
use mfctl_core::domain::event::{AssetRevoked, EventEnvelope};
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, NewRecord, Revision, Timestamp};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    Catalog, Clock, Error, ErrorKind, EventLog, ObjectStore, Result, SearchIndex, Takedown, TakedownRequest,
};

/// The locale of events about assets whose locale is not known: the catalog does not keep it.
const UNKNOWN_LOCALE: &str = "und";

/// The ports that takedowns use.
pub struct TakedownPorts {
    /// Records takedowns.
    pub catalog: Arc<dyn Catalog>,
    /// Holds originals, derivatives and staged objects.
    pub objects: Arc<dyn ObjectStore>,
    /// Holds the search documents.
    pub search: Arc<dyn SearchIndex>,
    /// Takes the events.
    pub log: Arc<dyn EventLog>,
    /// Encodes the events.
    pub codec: EventCodec,
    /// Time of takedowns and events.
    pub clock: Arc<dyn Clock>,
    /// The environment's buckets.
    pub buckets: Buckets,
}

/// What an operator orders for some assets.
#[derive(Debug, Clone)]
pub struct TakedownOrder {
    /// Why.
    pub reason: String,
    /// Who orders it.
    pub actor: String,
    /// Whether every version of the bytes is deleted, those in the archive included.
    pub purge: bool,
}

/// The result of a takedown for an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakedownResult {
    /// This run took it down.
    TakenDown,
    /// It was down, and this run did what was left to do.
    Continued,
    /// It was down, and nothing was left to do.
    DownAlready,
    /// It could not be taken down completely: see the error.
    Failed,
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

/// What a run did with an asset, or what it would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TakedownOutcome {
    /// The asset.
    pub asset_id: AssetId,
    /// The revision that is taken down.
    pub revision: Revision,
    /// The result.
    pub result: TakedownResult,
    /// The recorded takedown; none in a dry run of an asset that is not down, or after an error in the first step.
    pub takedown: Option<Takedown>,
    /// Whether a search document was removed.
    pub document_removed: bool,
    /// Number of derivatives that were removed.
    pub derivatives_removed: u64,
    /// Whether a staged object was removed.
    pub staged_removed: bool,
    /// What became of the original.
    pub original: OriginalOutcome,
    /// Number of versions of the bytes that were deleted for `--purge`.
    pub versions_purged: u64,
    /// Whether `media.asset_revoked` was published.
    pub event_published: bool,
    /// Why it failed.
    pub error: Option<String>,
}

impl TakedownOutcome {
    fn new(asset: &Asset) -> Self {
        Self {
            asset_id: asset.asset_id,
            revision: asset.revision,
            result: TakedownResult::DownAlready,
            takedown: None,
            document_removed: false,
            derivatives_removed: 0,
            staged_removed: false,
            original: OriginalOutcome::None,
            versions_purged: 0,
            event_published: false,
            error: None,
        }
    }

    /// The outcome of an asset that failed.
    #[must_use]
    pub fn failed(asset: &Asset, error: &Error) -> Self {
        Self { result: TakedownResult::Failed, error: Some(error.full()), ..Self::new(asset) }
    }

    fn with_result(mut self, was_revoked: bool) -> Self {
        let changed = self.document_removed
            || self.derivatives_removed > 0
            || self.staged_removed
            || self.original == OriginalOutcome::Archived
            || self.versions_purged > 0
            || self.event_published;
        self.result = match (was_revoked, changed) {
            (false, _) => TakedownResult::TakenDown,
            (true, true) => TakedownResult::Continued,
            (true, false) => TakedownResult::DownAlready,
        };
        self
    }
}

impl TakedownPorts {
    /// What [`TakedownPorts::take_down`] would do now. Changes nothing.
    ///
    /// # Errors
    /// Those of the ports.
    pub async fn plan(&self, asset: &Asset, purge: bool) -> Result<TakedownOutcome> {
        let was_revoked = asset.state == AssetState::Revoked;
        let objects = self.objects.as_ref();
        let at = AssetObjects::of(asset, &self.buckets);
        let takedown = if was_revoked { self.catalog.takedowns(&[asset.asset_id]).await?.pop() } else { None };
        let exists = async |at| Ok::<bool, Error>(objects.head(at).await?.is_some());
        let has_original = exists(&at.original).await?;
        let staged_removed = exists(&asset.staging).await?;
        let in_archive = exists(&at.archived).await?;
        let original = if !(has_original || staged_removed || in_archive) {
            OriginalOutcome::None
        } else if purge {
            OriginalOutcome::Purged
        } else if has_original || !in_archive {
            OriginalOutcome::Archived
        } else {
            OriginalOutcome::InArchive
        };
        let planned = TakedownOutcome {
            document_removed: self.has_document(asset).await?,
            derivatives_removed: remove_derivatives(asset, objects, &self.buckets, Removal::CountOnly).await?,
            staged_removed,
            original,
            versions_purged: if purge { u64::from(has_original) + u64::from(in_archive) } else { 0 },
            event_published: takedown.as_ref().is_none_or(|takedown| takedown.completed_at.is_none()),
            takedown,
            ..TakedownOutcome::new(asset)
        };
        Ok(planned.with_result(was_revoked))
    }

    /// Takes an asset down; continues a takedown that was not completed.
    ///
    /// # Errors
    /// `Conflict` if the asset's revision changed meanwhile, `Corrupt` if its bytes are not those that were ingested: they
    /// stay where they are. Otherwise those of the ports.
    pub async fn take_down(&self, asset: &Asset, order: &TakedownOrder) -> Result<TakedownOutcome> {
        let was_revoked = asset.state == AssetState::Revoked;
        let takedown = self.revoke(asset, order).await?;
        failpoint::hit("takedown_revoked");
        let mut done = TakedownOutcome::new(asset);
        done.document_removed = self.has_document(asset).await?;
        self.search.remove(asset.asset_id, asset.revision).await?;
        failpoint::hit("takedown_tombstone");
        let removal = if order.purge { Removal::Purge } else { Removal::Delete };
        done.derivatives_removed = remove_derivatives(asset, self.objects.as_ref(), &self.buckets, removal).await?;
        failpoint::hit("takedown_derivatives");
        self.remove_bytes(asset, order.purge, &mut done).await?;
        failpoint::hit("takedown_archived");
        let mut takedown = takedown;
        if takedown.completed_at.is_none() {
            self.publish_revoked(asset, &takedown).await?;
            failpoint::hit("takedown_published");
            let now = self.clock.now();
            self.catalog.complete_takedowns(&[(asset.asset_id, asset.revision)], now).await?;
            takedown.completed_at = Some(now);
            done.event_published = true;
        }
        done.takedown = Some(takedown);
        Ok(done.with_result(was_revoked))
    }

    async fn revoke(&self, asset: &Asset, order: &TakedownOrder) -> Result<Takedown> {
        let request = self.request(asset, order);
        let revoked = self.catalog.revoke(vec![request]).await?.pop().flatten();
        revoked.ok_or_else(|| changed_meanwhile(asset))
    }

    fn request(&self, asset: &Asset, order: &TakedownOrder) -> TakedownRequest {
        TakedownRequest {
            asset_id: asset.asset_id,
            revision: asset.revision,
            reason: order.reason.clone(),
            actor: order.actor.clone(),
            at: self.clock.now(),
        }
    }

    async fn has_document(&self, asset: &Asset) -> Result<bool> {
        Ok(self.search.indexed(&[asset.asset_id]).await?.first().copied().unwrap_or(false))
    }

    /// Archives or purges the original and removes the staged object.
    async fn remove_bytes(&self, asset: &Asset, purge: bool, done: &mut TakedownOutcome) -> Result<()> {
        let objects = self.objects.as_ref();
        let at = AssetObjects::of(asset, &self.buckets);
        let staged = std::slice::from_ref(&asset.staging);
        done.staged_removed = objects.head(&asset.staging).await?.is_some();
        if purge {
            done.versions_purged = objects.purge(&[at.original.clone(), at.archived.clone()]).await?;
            let purged_staged = objects.purge(staged).await?;
            let had_bytes = done.versions_purged + purged_staged > 0;
            done.original = if had_bytes { OriginalOutcome::Purged } else { OriginalOutcome::None };
            return Ok(());
        }
        let has_archived = at.archive(&at.original, objects).await?;
        let in_archive = objects.head(&at.archived).await?.is_some();
        // An asset that is not persisted yet has no other bytes.
        let has_archived = has_archived || (!in_archive && at.archive(&asset.staging, objects).await?);
        done.original = match (has_archived, in_archive) {
            (true, _) => OriginalOutcome::Archived,
            (false, true) => OriginalOutcome::InArchive,
            (false, false) => OriginalOutcome::None,
        };
        objects.delete(staged).await
    }

    async fn publish_revoked(&self, asset: &Asset, takedown: &Takedown) -> Result<()> {
        let topic = topics::MEDIA_ASSET_REVOKED;
        let event_id = EventId::of_output(asset.asset_id, topic.as_str(), asset.revision);
        let envelope = envelope(asset, event_id, takedown.revoked_at, takedown.actor.clone());
        let event = AssetRevoked { envelope, reason: takedown.reason.clone() };
        let record = self.codec.encode(&topic, &event, &event.envelope, asset.event_id, self.clock.now()).await?;
        self.publish(record).await
    }

    async fn publish(&self, record: NewRecord) -> Result<()> {
        self.log.publish(vec![record]).await.map(drop)
    }
}

/// The fields of every event about an asset.
fn envelope(asset: &Asset, event_id: EventId, occurred_at: Timestamp, actor: String) -> EventEnvelope {
    EventEnvelope {
        event_id,
        occurred_at,
        asset_id: asset.asset_id,
        sha256: asset.sha256,
        tenant: asset.tenant.clone(),
        locale: UNKNOWN_LOCALE.to_owned(),
        job_id: asset.job_id,
        actor,
        staged_at: asset.staged_at,
        revision: asset.revision,
    }
}

fn changed_meanwhile(asset: &Asset) -> Error {
    let what = format!("asset {} has no revision {} to change any more", asset.asset_id, asset.revision);
    Error::new(ErrorKind::Conflict, what).hint("somebody else changed it meanwhile: run the command again")
}
