//! A catalog of which a scripted write times out and is applied later, when the test says so.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mfctl_core::domain::asset::{AssetPaths, AssetSighting, AssetSource};
use mfctl_core::domain::claim::EpochAnswer;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{
    Asset, AssetId, EventId, GroupName, JobFence, JobId, ObjectRef, Revision, SourcePath, Tenant, Timestamp,
    TopicPartition,
};
use mfctl_core::ports::{
    AssetFilter, AssetOrder, Catalog, CatalogSummary, ClaimBatch, ClaimEnd, ClaimedBatch, CursorPage, DeadLetterFlag,
    EpochRequest, Error, ErrorKind, FoldedPage, PartitionEnd, PartitionEndSeen, PartitionFence, Result, StagedAsset,
    StagedRow, StateTransition, Takedown, TakedownRequest, UnreadCount,
};

/// A write of the catalog, by the name of its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogWrite {
    Stage,
    Restage,
    MarkPublished,
    RecordOutcomes,
    MintEpochs,
    /// A batch with claims.
    Claim,
    EndClaims,
    Advance,
    FlagDeadLetters,
}

type LateWrite = BoxFuture<'static, Result<()>>;

/// A catalog with a late write.
pub struct LateCatalog {
    inner: Arc<dyn Catalog>,
    /// The write that is late next: the first call of this method.
    next_late: Mutex<Option<CatalogWrite>>,
    late: Mutex<Option<LateWrite>>,
}

impl LateCatalog {
    pub fn new(inner: &Arc<dyn Catalog>, late: CatalogWrite) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), next_late: Mutex::new(Some(late)), late: Mutex::default() })
    }

    /// Applies the write that has timed out, and returns its result.
    pub async fn apply_late(&self) -> Result<()> {
        let late = self.late.lock().unwrap().take();
        late.unwrap().await
    }

    async fn write<T: 'static>(
        &self,
        write: CatalogWrite,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.next_late.lock().unwrap().take_if(|late| *late == write).is_none() {
            return call.await;
        }
        *self.late.lock().unwrap() = Some(call.map(|result| result.map(drop)).boxed());
        Err(Error::new(ErrorKind::Timeout, format!("{write:?}: late, as scripted")))
    }

    fn inner(&self) -> Arc<dyn Catalog> {
        Arc::clone(&self.inner)
    }
}

#[async_trait]
impl Catalog for LateCatalog {
    async fn identity(&self) -> Result<String> {
        self.inner.identity().await
    }

    async fn assets(&self, ids: &[AssetId]) -> Result<Vec<Asset>> {
        self.inner.assets(ids).await
    }

    async fn stage(&self, rows: Vec<StagedRow>) -> Result<Vec<StagedAsset>> {
        let inner = self.inner();
        self.write(CatalogWrite::Stage, async move { inner.stage(rows).await }).await
    }

    async fn restage(&self, rows: Vec<(AssetId, ObjectRef)>) -> Result<()> {
        let inner = self.inner();
        self.write(CatalogWrite::Restage, async move { inner.restage(rows).await }).await
    }

    async fn mark_published(&self, assets: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        let inner = self.inner();
        let assets = assets.to_vec();
        self.write(CatalogWrite::MarkPublished, async move { inner.mark_published(&assets, at).await }).await
    }

    async fn record_outcomes(&self, fence: Option<&JobFence>, outcomes: Vec<JobOutcome>) -> Result<()> {
        let inner = self.inner();
        let fence = fence.cloned();
        let record = async move { inner.record_outcomes(fence.as_ref(), outcomes).await };
        self.write(CatalogWrite::RecordOutcomes, record).await
    }

    async fn mint_epochs(&self, group: &GroupName, requests: Vec<EpochRequest>) -> Result<Vec<EpochAnswer>> {
        let inner = self.inner();
        let group = group.clone();
        self.write(CatalogWrite::MintEpochs, async move { inner.mint_epochs(&group, requests).await }).await
    }

    async fn claim(&self, group: &GroupName, batch: ClaimBatch) -> Result<ClaimedBatch> {
        let inner = self.inner();
        let group = group.clone();
        let has_requests = !batch.requests.is_empty();
        let claim = async move { inner.claim(&group, batch).await };
        match has_requests {
            true => self.write(CatalogWrite::Claim, claim).await,
            false => claim.await,
        }
    }

    async fn end_claims(
        &self,
        group: &GroupName,
        fences: Vec<PartitionFence>,
        ends: Vec<ClaimEnd>,
    ) -> Result<Vec<TopicPartition>> {
        let inner = self.inner();
        let group = group.clone();
        self.write(CatalogWrite::EndClaims, async move { inner.end_claims(&group, fences, ends).await }).await
    }

    async fn fold_claims(
        &self,
        group: &GroupName,
        limits: &FoldLimits,
        after: Option<AssetId>,
        limit: usize,
    ) -> Result<FoldedPage> {
        self.inner.fold_claims(group, limits, after, limit).await
    }

    async fn see_partition_ends(&self, ends: Vec<PartitionEnd>) -> Result<Vec<PartitionEndSeen>> {
        self.inner.see_partition_ends(ends).await
    }

    async fn advance(&self, transitions: Vec<StateTransition>) -> Result<Vec<AssetId>> {
        let inner = self.inner();
        self.write(CatalogWrite::Advance, async move { inner.advance(transitions).await }).await
    }

    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()> {
        let inner = self.inner();
        self.write(CatalogWrite::FlagDeadLetters, async move { inner.flag_dead_letters(flags).await }).await
    }

    async fn revoke(&self, requests: Vec<TakedownRequest>) -> Result<Vec<Option<Takedown>>> {
        self.inner.revoke(requests).await
    }

    async fn complete_takedowns(&self, revisions: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        self.inner.complete_takedowns(revisions, at).await
    }

    async fn lift(&self, requests: Vec<TakedownRequest>) -> Result<()> {
        self.inner.lift(requests).await
    }

    async fn takedowns(&self, assets: &[AssetId]) -> Result<Vec<Takedown>> {
        self.inner.takedowns(assets).await
    }

    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Asset>> {
        self.inner.list(filter, cursor, limit).await
    }

    async fn list_sorted(
        &self,
        filter: &AssetFilter,
        order: AssetOrder,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<Asset>> {
        self.inner.list_sorted(filter, order, cursor, limit).await
    }

    async fn paths(&self, assets: &[AssetId], limit: usize) -> Result<Vec<AssetPaths>> {
        self.inner.paths(assets, limit).await
    }

    async fn sightings(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>> {
        self.inner.sightings(asset, limit).await
    }

    async fn sources(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
        self.inner.sources(asset, limit).await
    }

    async fn assets_of_path(&self, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>> {
        self.inner.assets_of_path(tenant, path).await
    }

    async fn asset_of_event(&self, event: EventId) -> Result<Option<AssetId>> {
        self.inner.asset_of_event(event).await
    }

    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        self.inner.latest_outcomes(cursor, limit).await
    }

    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        self.inner.job_outcomes(job, cursor, limit).await
    }

    async fn summary(&self) -> Result<CatalogSummary> {
        self.inner.summary().await
    }

    async fn unread(&self) -> Result<Vec<UnreadCount>> {
        self.inner.unread().await
    }
}
