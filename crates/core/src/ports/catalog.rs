//! The catalog: metadata of assets, the claims of the consume loop, and every file's outcome.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::asset::{AssetFacts, AssetSource};
use crate::domain::event::Metadata;
use crate::domain::job::JobOutcome;
use crate::domain::{
    Asset, AssetId, AssetState, EventId, GroupName, JobId, ObjectRef, RecordAddress, Revision, Sha256, SourcePath,
    Stage, Tenant, TopicPartition,
};

/// A file whose bytes are staged, before its event is published.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRow {
    /// The asset it is.
    pub asset_id: AssetId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its content.
    pub sha256: Sha256,
    /// Its size.
    pub size_bytes: u64,
    /// Its type by content.
    pub media_type: String,
    /// The journalled event id.
    pub event_id: EventId,
    /// The job.
    pub job_id: JobId,
    /// Where its bytes are.
    pub staging: ObjectRef,
    /// When they were staged.
    pub staged_at: Timestamp,
    /// What was said of it.
    pub metadata: Metadata,
    /// The file it came from.
    pub source_path: SourcePath,
    /// The host it was read on.
    pub host: String,
}

/// What the catalog has for a staged row: the row's own, or those of whoever came first.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedAsset {
    /// The asset.
    pub asset_id: AssetId,
    /// Its state.
    pub state: AssetState,
    /// Its revision.
    pub revision: Revision,
    /// The event to publish.
    pub event_id: EventId,
    /// The job of that event.
    pub job_id: JobId,
    /// The object that event points at.
    pub staging: ObjectRef,
    /// When that object was staged.
    pub staged_at: Timestamp,
    /// Whether that event was acknowledged.
    pub published: bool,
}

/// A wish to be the one that works on an (asset, revision) in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The asset.
    pub asset_id: AssetId,
    /// The revision.
    pub revision: Revision,
    /// The input record that claims it.
    pub owner: RecordAddress,
}

/// Who has the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The input record that claimed it first.
    pub owner: RecordAddress,
    /// Whether its output is committed.
    pub done: bool,
}

/// A step forward of an (asset, revision).
#[derive(Debug, Clone, PartialEq)]
pub struct StateTransition {
    /// The asset.
    pub asset_id: AssetId,
    /// The revision.
    pub revision: Revision,
    /// The state to reach.
    pub to: AssetState,
    /// When.
    pub at: Timestamp,
    /// What enrichment found, where it did; replaces what was known.
    pub facts: Option<AssetFacts>,
    /// The stage whose success this is: clears the dead-letter flag of that stage.
    pub stage: Stage,
}

/// Marks an (asset, revision) as having an unresolved dead letter of a stage, without moving its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterFlag {
    /// The asset.
    pub asset_id: AssetId,
    /// The revision.
    pub revision: Revision,
    /// The stage that gave it up.
    pub stage: Stage,
    /// When.
    pub at: Timestamp,
}

/// Which assets to list. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetFilter {
    /// Only this tenant.
    pub tenant: Option<Tenant>,
    /// Only this state.
    pub state: Option<AssetState>,
    /// Only those with (or without) an unresolved dead letter.
    pub dead_lettered: Option<bool>,
    /// Only this media type; `image/` at the end of a slash means all of that family.
    pub media_type: Option<String>,
    /// Only this collection.
    pub collection: Option<String>,
    /// Only those with this tag, and value if not empty.
    pub tag: Option<(String, String)>,
    /// Only those of this job.
    pub job_id: Option<JobId>,
    /// Only those staged at or after.
    pub since: Option<Timestamp>,
}

/// A page of rows in a stable order, and where the next begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give this back for the next page; `None` at the end. Opaque: its form is the backend's.
    pub next: Option<String>,
}

/// Counts over the whole catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CatalogSummary {
    /// Assets.
    pub assets: u64,
    /// Assets by state.
    pub by_state: BTreeMap<String, u64>,
    /// Assets with an unresolved dead letter.
    pub dead_lettered: u64,
    /// Bytes of all assets.
    pub bytes: u64,
}

/// The catalog.
///
/// Contract: every write is durable when it returns, takes a whole batch, and is idempotent: the same batch again
/// changes nothing. Within a revision a state never goes backwards and `revoked` is never left; a write of an older
/// revision changes nothing. Duplicates within a batch are collapsed, the first winning for [`Catalog::stage`] and
/// [`Catalog::claim`], the last elsewhere. Pages are by key: rows written meanwhile are neither missed before the
/// cursor's place nor shown twice.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The catalog's own identity, made with its tables, for pinning.
    async fn identity(&self) -> Result<String>;

    /// The assets that exist among these.
    async fn assets(&self, ids: &[AssetId]) -> Result<Vec<Asset>>;

    /// Adds staged assets (revision 1, state `staged`) and their sources. An asset that is there keeps its row, but for
    /// its job's outcome; its source is added all the same. Answers for each row, in order, what the catalog has now.
    async fn stage(&self, rows: Vec<StagedRow>) -> Result<Vec<StagedAsset>>;

    /// Points staged assets that lost their object at a new one, if they are still `staged`. The event id stays, but the
    /// event is yet to be acknowledged: what was published points at the object that is gone.
    async fn restage(&self, rows: Vec<(AssetId, ObjectRef)>) -> Result<()>;

    /// Marks the events of these assets as acknowledged.
    async fn mark_published(&self, assets: &[AssetId], at: Timestamp) -> Result<()>;

    /// Keeps files' outcomes; the last of a (job, path) stands.
    async fn record_outcomes(&self, outcomes: Vec<JobOutcome>) -> Result<()>;

    /// Claims (asset, revision) pairs for a group, and answers for each request, in order, who has it.
    async fn claim(&self, group: &GroupName, requests: Vec<ClaimRequest>) -> Result<Vec<Claim>>;

    /// Marks every claim of the group done whose owner stands below the committed offset of its partition.
    async fn complete_claims(&self, group: &GroupName, committed: &[(TopicPartition, i64)]) -> Result<()>;

    /// Frees claims, each only if this owner has it and it is not done: called before its record is dead-lettered, so that a redrive can
    /// claim it.
    async fn release_claims(&self, group: &GroupName, owners: Vec<ClaimRequest>) -> Result<()>;

    /// Moves assets forward. A newer revision than the row's begins anew at the step's state.
    async fn advance(&self, steps: Vec<StateTransition>) -> Result<()>;

    /// Marks assets as dead-lettered.
    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()>;

    /// Assets by id, filtered, from the cursor on.
    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Asset>>;

    /// The files an asset came from, latest first, at most `limit`.
    async fn sources(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>>;

    /// The assets that this file was, latest first.
    async fn assets_of_path(&self, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>>;

    /// The asset whose staged event this is.
    async fn asset_of_event(&self, event: EventId) -> Result<Option<AssetId>>;

    /// Each file's outcome in the latest job that saw it, by tenant and path, from the cursor on.
    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<Page<JobOutcome>>;

    /// One job's outcomes by path, from the cursor on.
    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<Page<JobOutcome>>;

    /// Counts.
    async fn summary(&self) -> Result<CatalogSummary>;
}
