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
//! A purge is recorded in the first step, and replaces the fourth: all bytes are deleted with every version. Bytes that
//! cannot be archived, because no object has the right ones, stay where they are and do not hold back the last step:
//! the asset is reported as failed, with what is left and what to do.
//!
//! What a worker stores in the meantime, it withdraws itself ([`crate::pipeline::withdrawal`]).

mod lift;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

pub use lift::{LiftOutcome, LiftResult};

pub use crate::pipeline::withdrawal::OriginalOutcome;
use crate::pipeline::withdrawal::{AssetObjects, BytesPolicy, Removal, Withdrawer, changed_meanwhile};
use mfctl_core::domain::event::{AssetRevoked, EventEnvelope};
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, NewRecord, Revision, Timestamp};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    Catalog, Clock, Dependency, Error, ErrorKind, EventLog, ObjectStore, Result, SearchIndex, Takedown, TakedownRequest,
};

/// "Undetermined" in BCP 47. The catalog does not keep the locale of an asset; a takedown concerns its documents of
/// every locale.
const UNKNOWN_LOCALE: &str = "und";

/// What to do where the store fails for one object.
const ONE_OBJECT: &str = "the store answers for others: run the same command again once it does for this one";

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
    /// Whether every version of the bytes is deleted, those in the archive included. An earlier purge stands.
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
    /// Number of versions of the bytes, staged ones included, that were deleted for `--purge`.
    pub versions_purged: u64,
    /// Whether `media.asset_revoked` was published.
    pub event_published: bool,
    /// Why it failed, and what to do.
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
        Self::new(asset).with_failure(error)
    }

    /// The same outcome of an asset that could not be taken down completely.
    fn with_failure(self, error: &Error) -> Self {
        Self { result: TakedownResult::Failed, error: Some(with_hint(error)), ..self }
    }

    /// `is_purge_new`: whether no earlier run recorded the purge.
    fn with_result(mut self, was_revoked: bool, is_purge_new: bool) -> Self {
        let changed = is_purge_new
            || self.document_removed
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
    /// Those of the ports that are not about one object.
    pub async fn plan(&self, asset: &Asset, purge: bool) -> Result<TakedownOutcome> {
        match self.plan_each_step(asset, purge).await {
            Err(error) if self.is_about_one_object(&error).await => {
                Ok(TakedownOutcome::failed(asset, &error.hint(ONE_OBJECT)))
            }
            planned => planned,
        }
    }

    async fn plan_each_step(&self, asset: &Asset, purge: bool) -> Result<TakedownOutcome> {
        let was_revoked = asset.state == AssetState::Revoked;
        let objects = self.objects.as_ref();
        let at = AssetObjects::of(asset, &self.buckets);
        let takedown = if was_revoked { self.latest_takedown(asset).await? } else { None };
        let was_purged = BytesPolicy::of(takedown.as_ref()) == BytesPolicy::Purge;
        let is_purged = purge || was_purged;
        let of_objects = |error: Error| error.of(Dependency::Objects);
        let exists = async |at| Ok::<bool, Error>(objects.head(at).await.map_err(of_objects)?.is_some());
        let has_original = exists(&at.original).await?;
        let staged_removed = exists(&at.staged).await?;
        let in_archive = exists(&at.archived).await?;
        let versions_purged = if is_purged { objects.versions(&at.all()).await.map_err(of_objects)? } else { 0 };
        let original = match is_purged {
            true if versions_purged > 0 => OriginalOutcome::Purged,
            true => OriginalOutcome::None,
            false if has_original || (staged_removed && !in_archive) => OriginalOutcome::Archived,
            false if in_archive => OriginalOutcome::InArchive,
            false => OriginalOutcome::None,
        };
        let planned = TakedownOutcome {
            document_removed: self.has_document(asset).await?,
            derivatives_removed: self.withdrawer().remove_derivatives(asset, Removal::CountOnly).await?,
            staged_removed,
            original,
            versions_purged,
            event_published: takedown.as_ref().is_none_or(|takedown| takedown.completed_at.is_none()),
            takedown,
            ..TakedownOutcome::new(asset)
        };
        Ok(planned.with_result(was_revoked, purge && !was_purged))
    }

    /// Takes an asset down; continues a takedown that was not completed. An asset whose bytes cannot be archived is
    /// down all the same, and its outcome says what is left.
    ///
    /// # Errors
    /// `Conflict` if the asset's revision changed meanwhile; otherwise those of the ports.
    pub async fn take_down(&self, asset: &Asset, order: &TakedownOrder) -> Result<TakedownOutcome> {
        let was_revoked = asset.state == AssetState::Revoked;
        let before = if was_revoked { self.latest_takedown(asset).await? } else { None };
        let mut takedown = self.revoke(asset, order).await?;
        failpoint::hit("takedown_revoked");
        let policy = BytesPolicy::of(Some(&takedown));
        let is_purge_new = policy == BytesPolicy::Purge && BytesPolicy::of(before.as_ref()) != policy;
        let mut done = TakedownOutcome::new(asset);
        done.document_removed = self.has_document(asset).await?;
        self.search.remove(asset.asset_id, asset.revision).await?;
        failpoint::hit("takedown_tombstone");
        done.derivatives_removed = self.withdrawer().remove_derivatives(asset, policy.removal()).await?;
        failpoint::hit("takedown_derivatives");
        let failure = self.remove_bytes(asset, policy, &mut done).await?;
        failpoint::hit("takedown_archived");
        if takedown.completed_at.is_none() {
            self.publish_revoked(asset, &takedown).await?;
            failpoint::hit("takedown_published");
            let now = self.clock.now();
            self.catalog.complete_takedowns(&[(asset.asset_id, asset.revision)], now).await?;
            takedown.completed_at = Some(now);
            done.event_published = true;
        }
        done.takedown = Some(takedown);
        Ok(match failure {
            None => done.with_result(was_revoked, is_purge_new),
            Some(error) => done.with_failure(&error),
        })
    }

    fn withdrawer(&self) -> Withdrawer<'_> {
        Withdrawer { catalog: self.catalog.as_ref(), objects: self.objects.as_ref(), buckets: &self.buckets }
    }

    async fn latest_takedown(&self, asset: &Asset) -> Result<Option<Takedown>> {
        Ok(self.catalog.takedowns(&[asset.asset_id]).await?.pop())
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
            purge: order.purge,
        }
    }

    async fn has_document(&self, asset: &Asset) -> Result<bool> {
        Ok(self.search.indexed(&[asset.asset_id]).await?.first().copied().unwrap_or(false))
    }

    /// Archives or purges the original and removes the staged object. Returns the error if it is about this asset's
    /// bytes alone.
    async fn remove_bytes(
        &self,
        asset: &Asset,
        policy: BytesPolicy,
        done: &mut TakedownOutcome,
    ) -> Result<Option<Error>> {
        match self.withdrawer().remove_bytes(asset, policy).await {
            Ok(removed) => {
                done.original = removed.original;
                done.staged_removed = removed.staged;
                done.versions_purged = removed.versions_purged;
                Ok(None)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(Some(error)),
            Err(error) if self.is_about_one_object(&error).await => Ok(Some(error.hint(ONE_OBJECT))),
            Err(error) => Err(error),
        }
    }

    /// Whether the store failed for an object and answers another request: trying the others makes sense.
    async fn is_about_one_object(&self, error: &Error) -> bool {
        error.dependency() == Some(Dependency::Objects)
            && error.kind().is_dependency()
            && self.objects.list(&self.buckets.originals, "", None, 1).await.is_ok()
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

/// An error with its causes, and what to do about it, on one line.
fn with_hint(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.full()),
        None => error.full(),
    }
}
