//! The catalog through PostgREST's REST API, without a connection to the database.
//!
//! The rules of the port are triggers and functions in the database (`crates/remote/src/postgres/migrations`), so that they
//! hold for every writer. A batch is one request: an upsert where possible, else a call of a function.
//!
//! PostgreSQL's `text` cannot contain NUL: in a title or a reason it is stored as U+2400 (SYMBOL FOR NULL).

mod claim_folding;
mod claims;
mod client;
mod error;
mod jobs;
mod lists;
mod rows;
mod takedowns;
mod token;
mod writes;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::client::PostgrestClient;
use super::http::HttpOptions;
use mfctl_core::domain::asset::{AssetPaths, AssetSighting, AssetSource};
use mfctl_core::domain::claim::EpochAnswer;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{
    Asset, AssetId, EventId, GroupName, JobFence, JobId, ObjectRef, Revision, Secret, SourcePath, Tenant,
    TopicPartition,
};
use mfctl_core::ports::{
    AssetFilter, AssetOrder, Catalog, CatalogSummary, ClaimBatch, ClaimEnd, ClaimedBatch, CursorPage, DeadLetterFlag,
    EpochRequest, FoldedPage, PartitionEnd, PartitionEndSeen, PartitionFence, Result, StagedAsset, StagedRow,
    StateTransition, Takedown, TakedownRequest, UnreadCount,
};

/// The address of a PostgREST server, and how to authenticate.
#[derive(Debug, Clone)]
pub struct PostgrestConfig {
    /// TLS, proxy and timeouts.
    pub http: HttpOptions,
    /// Its address, with the path before the tables' names.
    pub url: String,
    /// The database's schema, which must be among the server's `db-schemas`.
    pub schema: String,
    /// How to authenticate.
    pub auth: PostgrestAuth,
}

/// How mfctl authenticates to PostgREST.
#[derive(Debug, Clone)]
pub enum PostgrestAuth {
    /// Without a token: as the server's anonymous role.
    None,
    /// With a configured token.
    Token(Secret),
    /// With tokens that mfctl signs (HS256), and replaces before they expire.
    Signed {
        /// The key of the signature, equal to the server's `jwt-secret`.
        secret: Secret,
        /// The claim `role`: the database's role.
        role: String,
        /// The claim `sub`: the user or process.
        subject: String,
        /// The claim `tenant`, by which row-level security selects rows.
        tenant: String,
        /// From a token's issue to its expiry.
        lifetime: Duration,
    },
}

/// The catalog of a cluster profile.
#[derive(Debug)]
pub struct PostgrestCatalog {
    client: PostgrestClient,
}

impl PostgrestCatalog {
    /// The catalog at this address. Sends no request yet.
    ///
    /// # Errors
    /// `Invalid` when a file or address cannot be used.
    pub fn new(config: PostgrestConfig) -> Result<Self> {
        Ok(Self { client: PostgrestClient::new(config)? })
    }
}

#[async_trait]
impl Catalog for PostgrestCatalog {
    async fn identity(&self) -> Result<String> {
        lists::identity(&self.client).await
    }

    async fn assets(&self, ids: &[AssetId]) -> Result<Vec<Asset>> {
        lists::assets(&self.client, ids).await
    }

    async fn stage(&self, rows: Vec<StagedRow>) -> Result<Vec<StagedAsset>> {
        writes::stage(&self.client, &rows).await
    }

    async fn restage(&self, rows: Vec<(AssetId, ObjectRef)>) -> Result<()> {
        writes::restage(&self.client, &rows).await
    }

    async fn mark_published(&self, assets: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        writes::mark_published(&self.client, assets, at).await
    }

    async fn record_outcomes(&self, fence: Option<&JobFence>, outcomes: Vec<JobOutcome>) -> Result<()> {
        writes::record_outcomes(&self.client, fence, &outcomes).await
    }

    async fn mint_epochs(&self, group: &GroupName, requests: Vec<EpochRequest>) -> Result<Vec<EpochAnswer>> {
        claims::mint_epochs(&self.client, group, &requests).await
    }

    async fn claim(&self, group: &GroupName, batch: ClaimBatch) -> Result<ClaimedBatch> {
        claims::claim(&self.client, group, &batch).await
    }

    async fn end_claims(
        &self,
        group: &GroupName,
        fences: Vec<PartitionFence>,
        ends: Vec<ClaimEnd>,
    ) -> Result<Vec<TopicPartition>> {
        claims::end_claims(&self.client, group, &fences, &ends).await
    }

    async fn fold_claims(
        &self,
        group: &GroupName,
        limits: &FoldLimits,
        after: Option<AssetId>,
        limit: usize,
    ) -> Result<FoldedPage> {
        claim_folding::fold(&self.client, group, limits, after, limit).await
    }

    async fn see_partition_ends(&self, ends: Vec<PartitionEnd>) -> Result<Vec<PartitionEndSeen>> {
        claim_folding::see_partition_ends(&self.client, &ends).await
    }

    async fn advance(&self, steps: Vec<StateTransition>) -> Result<Vec<AssetId>> {
        writes::advance(&self.client, &steps).await
    }

    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()> {
        writes::flag_dead_letters(&self.client, &flags).await
    }

    async fn revoke(&self, requests: Vec<TakedownRequest>) -> Result<Vec<Option<Takedown>>> {
        takedowns::revoke(&self.client, &requests).await
    }

    async fn complete_takedowns(&self, takedowns: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        takedowns::complete(&self.client, takedowns, at).await
    }

    async fn lift(&self, requests: Vec<TakedownRequest>) -> Result<()> {
        takedowns::lift(&self.client, &requests).await
    }

    async fn takedowns(&self, assets: &[AssetId]) -> Result<Vec<Takedown>> {
        takedowns::latest(&self.client, assets).await
    }

    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Asset>> {
        lists::list(&self.client, filter, cursor, limit).await
    }

    async fn list_sorted(
        &self,
        filter: &AssetFilter,
        order: AssetOrder,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<Asset>> {
        lists::list_sorted(&self.client, filter, order, cursor, limit).await
    }

    async fn paths(&self, assets: &[AssetId], limit: usize) -> Result<Vec<AssetPaths>> {
        lists::paths(&self.client, assets, limit).await
    }

    async fn sightings(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>> {
        lists::sightings(&self.client, asset, limit).await
    }

    async fn sources(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
        lists::sources(&self.client, asset, limit).await
    }

    async fn assets_of_path(&self, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>> {
        lists::assets_of_path(&self.client, tenant, path).await
    }

    async fn asset_of_event(&self, event: EventId) -> Result<Option<AssetId>> {
        lists::asset_of_event(&self.client, event).await
    }

    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        lists::latest_outcomes(&self.client, cursor, limit).await
    }

    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        lists::job_outcomes(&self.client, job, cursor, limit).await
    }

    async fn summary(&self) -> Result<CatalogSummary> {
        lists::summary(&self.client).await
    }

    async fn unread(&self) -> Result<Vec<UnreadCount>> {
        lists::unread(&self.client).await
    }
}
