//! The catalog behind PostgREST: through its documented REST alone, no connection to the database.
//!
//! The rules of the port are in the database (`backends/postgres/migrations`): triggers and functions, so that they hold
//! whoever writes. A batch is one request: an upsert where an upsert can say it, else a call of a function.
//!
//! PostgreSQL's text has no NUL: one in a title or a reason is kept as U+2400, its picture.

mod client;
mod lists;
mod refusal;
mod rows;
mod token;
mod writes;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::client::Client;
use super::http::HttpOptions;
use mfctl_core::domain::asset::AssetSource;
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{
    Asset, AssetId, EventId, GroupName, JobId, ObjectRef, Secret, SourcePath, Tenant, TopicPartition,
};
use mfctl_core::ports::{
    AssetFilter, Catalog, CatalogSummary, Claim, ClaimRequest, DeadLetterFlag, Page, Result, StagedAsset, StagedRow,
    StateTransition,
};

/// How to reach a catalog.
#[derive(Debug, Clone)]
pub struct PostgrestConfig {
    /// How to reach the service.
    pub http: HttpOptions,
    /// Where it is, the path before the tables' names included.
    pub url: String,
    /// The database's schema that it is to serve.
    pub schema: String,
    /// Who we say we are.
    pub auth: PostgrestAuth,
}

/// Who we say we are.
#[derive(Debug, Clone)]
pub enum PostgrestAuth {
    /// Nobody.
    None,
    /// Whom a token says that was given to us.
    Token(Secret),
    /// Whom a token says that we sign ourselves (HS256), and again before it expires.
    Signed {
        /// What PostgREST checks signatures with, as it is in its `jwt-secret`.
        secret: Secret,
        /// The database's role.
        role: String,
        /// Who acts.
        subject: String,
        /// Whose rows there are.
        tenant: String,
        /// How long a token is good for.
        lifetime: Duration,
    },
}

/// The catalog of a cluster profile.
#[derive(Debug)]
pub struct PostgrestCatalog {
    client: Client,
}

impl PostgrestCatalog {
    /// The catalog at this address. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid` when a file or address cannot be used.
    pub fn new(config: PostgrestConfig) -> Result<Self> {
        Ok(Self { client: Client::new(config)? })
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

    async fn mark_published(&self, assets: &[AssetId], at: Timestamp) -> Result<()> {
        writes::mark_published(&self.client, assets, at).await
    }

    async fn record_outcomes(&self, outcomes: Vec<JobOutcome>) -> Result<()> {
        writes::record_outcomes(&self.client, &outcomes).await
    }

    async fn claim(&self, group: &GroupName, requests: Vec<ClaimRequest>) -> Result<Vec<Claim>> {
        writes::claim(&self.client, group, &requests).await
    }

    async fn complete_claims(&self, group: &GroupName, committed: &[(TopicPartition, i64)]) -> Result<()> {
        writes::complete_claims(&self.client, group, committed).await
    }

    async fn release_claims(&self, group: &GroupName, owners: Vec<ClaimRequest>) -> Result<()> {
        writes::release_claims(&self.client, group, &owners).await
    }

    async fn advance(&self, steps: Vec<StateTransition>) -> Result<()> {
        writes::advance(&self.client, &steps).await
    }

    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()> {
        writes::flag_dead_letters(&self.client, &flags).await
    }

    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Asset>> {
        lists::list(&self.client, filter, cursor, limit).await
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

    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<Page<JobOutcome>> {
        lists::latest_outcomes(&self.client, cursor, limit).await
    }

    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<Page<JobOutcome>> {
        lists::job_outcomes(&self.client, job, cursor, limit).await
    }

    async fn summary(&self) -> Result<CatalogSummary> {
        lists::summary(&self.client).await
    }
}
