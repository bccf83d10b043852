//! The catalog: metadata of assets, the claims of the consume loop, and every file's outcome.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GroupCommit, Result, Takedown, TakedownRequest};
use crate::domain::asset::{AssetFacts, AssetPaths, AssetSighting, AssetSource};
use crate::domain::claim::{EpochAnswer, MintRequest, StoredClaim};
use crate::domain::claim_folding::FoldLimits;
use crate::domain::event::Metadata;
use crate::domain::job::JobOutcome;
use crate::domain::{
    Asset, AssetId, AssetState, ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, EventId, GroupName, JobFence, JobId,
    MediaTypePattern, NameGlob, ObjectRef, RecordAddress, Revision, Sha256, SourcePath, Stage, Tenant, TopicId,
    TopicPartition,
};

/// A staged file to be added to the catalog before its event is published.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRow {
    /// Asset of these bytes in this tenant.
    pub asset_id: AssetId,
    /// Tenant of the asset.
    pub tenant: Tenant,
    /// Digest of the content.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type by content, e.g. `application/pdf`.
    pub media_type: String,
    /// Id of its `ingest.raw` event, from the job journal.
    pub event_id: EventId,
    /// Ingest job.
    pub job_id: JobId,
    /// Object with the staged bytes.
    pub staging: ObjectRef,
    /// Time of staging.
    pub staged_at: Timestamp,
    /// Metadata from manifest, sidecar and flags.
    pub metadata: Metadata,
    /// Source file.
    pub source_path: SourcePath,
    /// Host that read the file.
    pub host: String,
}

/// The catalog's values for a staged row: its own, or those of the row that was there first.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedAsset {
    /// Asset id.
    pub asset_id: AssetId,
    /// State of the latest revision.
    pub state: AssetState,
    /// Latest revision.
    pub revision: Revision,
    /// Id of the `ingest.raw` event to publish.
    pub event_id: EventId,
    /// Job that staged the event's object.
    pub job_id: JobId,
    /// Object that the event points at.
    pub staging: ObjectRef,
    /// Time of staging of that object.
    pub staged_at: Timestamp,
    /// Whether the log has acknowledged the event.
    pub published: bool,
}

/// A partition whose epoch a member asks for when it is assigned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRequest {
    /// The partition.
    pub at: TopicPartition,
    /// Id of its topic.
    pub topic_id: Option<TopicId>,
    /// The member and its position.
    pub request: MintRequest,
}

/// The epoch under which a member claims records of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFence {
    /// The partition.
    pub at: TopicPartition,
    /// Id of its topic.
    pub topic_id: Option<TopicId>,
    /// The epoch that was minted for the member.
    pub epoch: ClaimEpoch,
}

/// A request to claim an (asset, revision) for one input record in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Asset to claim.
    pub asset_id: AssetId,
    /// Revision to claim.
    pub revision: Revision,
    /// Input record that claims it.
    pub owner: RecordAddress,
    /// Why it may take a claim that another record holds.
    pub ground: ClaimGround,
}

/// A partition with the offset that a commit of the group has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedRecords {
    /// The commit, with the epoch in its metadata.
    pub commit: GroupCommit,
    /// Id of the partition's topic.
    pub topic_id: Option<TopicId>,
}

/// What a member asks of the catalog for one batch of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimBatch {
    /// Commits whose claims are completed first, as [`crate::domain::claim::is_completed_by`] says.
    pub passed: Vec<PassedRecords>,
    /// The epoch of each partition that has a request.
    pub fences: Vec<PartitionFence>,
    /// The claims of the batch, whose assets are read as well.
    pub requests: Vec<ClaimRequest>,
}

/// A claim that was refused, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// The claim.
    pub claim: StoredClaim,
    /// When its record claimed it, by the catalog's clock. `None` where that is not known: for a claim that a process
    /// of an earlier format took in a data folder.
    pub claimed_at: Option<Timestamp>,
}

/// The answer to one request for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The record holds the claim.
    Granted,
    /// Another record holds the claim, or the record itself in a state in which it is not given again.
    Refused(HeldClaim),
    /// The claim was processed, and is folded since: see [`Catalog::fold_claims`].
    Folded,
    /// The epoch of the record's partition is not the stored one: nothing changed.
    Fenced,
}

/// The end of a partition, as the log has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The partition.
    pub at: TopicPartition,
    /// Id of its topic.
    pub topic_id: TopicId,
    /// Offset after the last record that a read-committed reader sees.
    pub offset: i64,
}

/// Since when the end of a partition is known, by the catalog's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEndSeen {
    /// When its topic was first seen with this id.
    pub topic_since: Timestamp,
    /// When its end was first seen at this offset; no record has been added since.
    pub end_since: Timestamp,
}

/// What one call of [`Catalog::fold_claims`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldedPage {
    /// Number of claims that were folded.
    pub folded: u64,
    /// The last asset of the page, to continue after; `None` at the end.
    pub next: Option<AssetId>,
}

/// The answer to a [`ClaimBatch`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimedBatch {
    /// One answer for each request, in order.
    pub answers: Vec<ClaimAnswer>,
    /// The assets of the requests that exist.
    pub assets: Vec<Asset>,
}

/// A claim whose record ended, or is about to end, in a state that the catalog does not find out by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimEnd {
    /// The claimed asset.
    pub asset_id: AssetId,
    /// The claimed revision.
    pub revision: Revision,
    /// The record that holds the claim.
    pub owner: ClaimOwner,
    /// The epoch of the claim. Once it was taken again since, it is another claim.
    pub epoch: Option<ClaimEpoch>,
    /// The partition under whose fence this is said.
    pub fence: TopicPartition,
    /// The state to set.
    pub state: ClaimState,
}

/// A state transition of an (asset, revision).
#[derive(Debug, Clone, PartialEq)]
pub struct StateTransition {
    /// Asset to move.
    pub asset_id: AssetId,
    /// Revision to move.
    pub revision: Revision,
    /// State to reach.
    pub to: AssetState,
    /// Time of the transition.
    pub at: Timestamp,
    /// Results of enrichment; they replace the facts in the catalog.
    pub facts: Option<AssetFacts>,
    /// Stage that succeeded; its dead-letter flag is cleared.
    pub stage: Stage,
}

/// Marks an (asset, revision) as dead-lettered by a stage, without moving its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterFlag {
    /// Asset to flag.
    pub asset_id: AssetId,
    /// Revision to flag.
    pub revision: Revision,
    /// Stage that dead-lettered the record.
    pub stage: Stage,
    /// Time of the dead letter.
    pub at: Timestamp,
}

/// Conditions on the assets to list; all of them must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetFilter {
    /// Only assets of this tenant.
    pub tenant: Option<Tenant>,
    /// Only assets in this state.
    pub state: Option<AssetState>,
    /// Whether assets that were taken down are left out.
    pub without_revoked: bool,
    /// Only assets that are (`true`) or are not (`false`) dead-lettered: see [`Asset::dead_lettered`].
    pub dead_lettered: Option<bool>,
    /// Only this media type, or the types of this family.
    pub media_type: Option<MediaTypePattern>,
    /// Only assets of this collection.
    pub collection: Option<String>,
    /// Only assets with this tag and, unless it is empty, this value.
    pub tag: Option<(String, String)>,
    /// Only assets that this job staged.
    pub job_id: Option<JobId>,
    /// Only assets staged at or after this time.
    pub since: Option<Timestamp>,
    /// Only assets of which a source file, the one that names it or another, has a matching name.
    pub name: Option<NameGlob>,
}

/// What a sorted list of assets is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetSortKey {
    /// The name that the asset is shown by, by its bytes; assets without one come first.
    Name,
    /// Size.
    Size,
    /// Time of staging.
    Staged,
    /// Media type.
    MediaType,
}

/// The order of a sorted list of assets. Assets with equal keys are sorted by id, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetOrder {
    /// The key.
    pub key: AssetSortKey,
    /// Whether the largest key comes first.
    pub descending: bool,
}

/// A page of rows in a stable order.
#[derive(Debug, Clone, PartialEq)]
pub struct CursorPage<T> {
    /// Rows of this page.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` at the end. Opaque: its format is the backend's.
    pub next: Option<String>,
}

/// Totals over the whole catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CatalogSummary {
    /// Number of assets.
    pub assets: u64,
    /// Number of assets per state.
    pub by_state: BTreeMap<String, u64>,
    /// Number of assets that a stage dead-lettered and has not processed since, also if the dead letter was discarded.
    pub dead_lettered: u64,
    /// Number of these assets per state.
    pub dead_lettered_by_state: BTreeMap<String, u64>,
    /// Total size of all assets in bytes.
    pub bytes: u64,
}

/// Number of enriched assets of which nothing was read, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadCount {
    /// Why, as [`Asset::unread`]: `no extractor for DOCX`.
    pub reason: String,
    /// Number of assets.
    pub assets: u64,
}

/// The catalog.
///
/// Contract: every write takes a whole batch, is durable when it returns, and is idempotent: the same batch again
/// changes nothing. Within a revision a state never goes backwards and `revoked` is final: only [`Catalog::lift`] takes such
/// an asset to its next revision. A write of an older revision changes nothing. Duplicates within a batch are collapsed: the first wins in [`Catalog::stage`] and
/// [`Catalog::claim`], the last in every other write. Pages are by key: no row is returned twice, and none below the
/// cursor is missed.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The catalog's stable identity, created by its first migration; a profile pins it.
    async fn identity(&self) -> Result<String>;

    /// The assets with these ids that exist.
    async fn assets(&self, ids: &[AssetId]) -> Result<Vec<Asset>>;

    /// Adds staged assets (revision 1, state `staged`) and their sources. An existing asset keeps its row, apart from its
    /// job's outcome; its source is added all the same. Returns the catalog's values for each row, in order.
    async fn stage(&self, rows: Vec<StagedRow>) -> Result<Vec<StagedAsset>>;

    /// Points staged assets whose object was lost at a new one, if they are still `staged`. The event id stays, but the
    /// event must be published again: the published one points at the lost object.
    async fn restage(&self, rows: Vec<(AssetId, ObjectRef)>) -> Result<()>;

    /// Marks the events of these assets as acknowledged, each only at this revision.
    async fn mark_published(&self, assets: &[(AssetId, Revision)], at: Timestamp) -> Result<()>;

    /// Records the outcomes of files; the last one of a (job, path) stands. With a fence, those of another job or tenant
    /// than its own are left out, and all are `Fenced`, and nothing is recorded, if its epoch is not the stored one.
    /// Without one they are recorded as by a release that has no leases.
    async fn record_outcomes(&self, fence: Option<&JobFence>, outcomes: Vec<JobOutcome>) -> Result<()>;

    /// Mints epochs for partitions that a member was assigned, by the rule of [`crate::domain::claim::mint`]. One answer for each request, in
    /// order. Not idempotent: each call that is granted mints a later epoch.
    async fn mint_epochs(&self, group: &GroupName, requests: Vec<EpochRequest>) -> Result<Vec<EpochAnswer>>;

    /// Completes claims below commits, claims the (asset, revision) pairs of a batch by the rules of [`crate::domain::claim::take`], and reads
    /// their assets, in one transaction.
    async fn claim(&self, group: &GroupName, batch: ClaimBatch) -> Result<ClaimedBatch>;

    /// Sets the state of claims that are not done, each only if this owner holds it since this epoch. Returns the partitions whose epoch is not
    /// the stored one: for these nothing changed.
    async fn end_claims(
        &self,
        group: &GroupName,
        fences: Vec<PartitionFence>,
        ends: Vec<ClaimEnd>,
    ) -> Result<Vec<TopicPartition>>;

    /// Removes old claims of a group: those of the next `limit` claims after an asset, in the order of assets, that
    /// `limits` allow. Their assets keep the highest revision that was removed, and later requests for it, or for an
    /// earlier one, are answered [`ClaimAnswer::Folded`]. A claim stays if its asset is not in the catalog, is revoked,
    /// or is flagged as dead-lettered, or if a claim of an earlier revision stays.
    async fn fold_claims(
        &self,
        group: &GroupName,
        limits: &FoldLimits,
        after: Option<AssetId>,
        limit: usize,
    ) -> Result<FoldedPage>;

    /// Remembers where partitions end now, and answers since when that is known, in order. A call whose ends are all
    /// known changes nothing.
    async fn see_partition_ends(&self, ends: Vec<PartitionEnd>) -> Result<Vec<PartitionEndSeen>>;

    /// Applies state transitions. A revision newer than the row's starts at the state of its transition. Returns those of the
    /// assets that are revoked, each once and sorted: nothing of them has changed, and what was written for them must go.
    async fn advance(&self, transitions: Vec<StateTransition>) -> Result<Vec<AssetId>>;

    /// Sets the dead-letter flag of assets.
    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()>;

    /// Takes assets down: the state of the revision becomes `revoked`, its facts and its dead-letter flag are cleared,
    /// and the takedown is recorded. Returns the takedown of each asset that is down at that revision, in order: the
    /// recorded one, if it was down before, with the purge if the request or an earlier one orders it. `None` for an
    /// asset that does not exist or has another revision.
    async fn revoke(&self, requests: Vec<TakedownRequest>) -> Result<Vec<Option<Takedown>>>;

    /// Marks the takedowns of these revisions as complete.
    async fn complete_takedowns(&self, takedowns: &[(AssetId, Revision)], at: Timestamp) -> Result<()>;

    /// Lifts the takedowns of assets that are down at the revision of the request and were not purged: the asset starts
    /// its next revision as `staged`, with the staging object and the event id that it had and an event that is not
    /// published yet. The lift is recorded with the takedown and the new revision with its cause.
    async fn lift(&self, requests: Vec<TakedownRequest>) -> Result<()>;

    /// The latest takedown of each of these assets that was ever taken down, sorted by asset.
    async fn takedowns(&self, assets: &[AssetId]) -> Result<Vec<Takedown>>;

    /// Assets that match the filter, sorted by id, from the cursor on.
    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Asset>>;

    /// Assets that match the filter in this order, after the asset that the cursor names. Reads every matching asset for each
    /// page, in memory for one page. An asset that is added meanwhile is in a later page or in none.
    async fn list_sorted(
        &self,
        filter: &AssetFilter,
        order: AssetOrder,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<Asset>>;

    /// The paths of each of these assets, in the order of the ids; at most `limit` of one asset.
    async fn paths(&self, assets: &[AssetId], limit: usize) -> Result<Vec<AssetPaths>>;

    /// Every ingest of an asset's bytes: one for each job and path, oldest first, at most `limit`.
    async fn sightings(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>>;

    /// Source files of an asset, latest first, at most `limit`.
    async fn sources(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>>;

    /// Assets that this file has been ingested as, latest first.
    async fn assets_of_path(&self, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>>;

    /// The asset whose `ingest.raw` event has this id.
    async fn asset_of_event(&self, event: EventId) -> Result<Option<AssetId>>;

    /// Outcome of each file in the latest job that saw it, sorted by tenant and path, from the cursor on.
    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>>;

    /// Outcomes of one job, sorted by path, from the cursor on.
    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>>;

    /// Totals over the whole catalog.
    async fn summary(&self) -> Result<CatalogSummary>;

    /// Assets of which nothing was read ([`Asset::unread`]) over the whole catalog, by reason, most assets first.
    async fn unread(&self) -> Result<Vec<UnreadCount>>;
}
