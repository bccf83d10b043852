//! The catalog in the data folder's file.
//!
//! The SQL statements themselves enforce the port's rules, so that they hold in whatever order several processes write.

mod advance;
mod claim_folding;
mod claims;
mod epochs;
mod inbox_names;
mod jobs;
mod list;
mod names;
mod outcomes;
mod partition_ends;
mod rows;
mod stage;
mod takedowns;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BinaryHeap};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use self::list::{PreparedFilter, SortedScan};
use self::rows::{ASSET_COLUMNS, asset};
use super::db::{Db, SqlContext};
use super::sql::{self, RowReader};
use mfctl_core::domain::asset::{AssetPaths, AssetSighting, AssetSource, NO_REASON};
use mfctl_core::domain::claim::EpochAnswer;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{
    Asset, AssetId, AssetState, EventId, GroupName, JobFence, JobId, ObjectRef, Revision, SourcePath, Tenant,
    TopicPartition,
};
use mfctl_core::ports::{
    AssetFilter, AssetOrder, Catalog, CatalogSummary, ClaimBatch, ClaimEnd, ClaimedBatch, CursorPage, DeadLetterFlag,
    EpochRequest, FoldedPage, PartitionEnd, PartitionEndSeen, PartitionFence, Result, StagedAsset, StagedRow,
    StateTransition, Takedown, TakedownRequest, UnreadCount,
};

/// Assets of one path that are returned at most, latest first.
const MAX_ASSETS_OF_PATH: i64 = 1_000;
/// Assets whose paths one read looks up.
const ASSETS_PER_READ: usize = 100;

/// The catalog of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteCatalog {
    db: Db,
}

impl SqliteCatalog {
    /// The catalog in this file.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn identity(&self) -> Result<String> {
        Ok(self.db.identity().to_owned())
    }

    async fn assets(&self, ids: &[AssetId]) -> Result<Vec<Asset>> {
        let ids = ids.to_vec();
        self.db.read("read assets", move |connection| assets(connection, &ids)).await
    }

    async fn stage(&self, rows: Vec<StagedRow>) -> Result<Vec<StagedAsset>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let rows = stage::prepare(rows)?;
        self.db.write("stage assets", move |tx| stage::stage(tx, &rows)).await
    }

    async fn restage(&self, rows: Vec<(AssetId, ObjectRef)>) -> Result<()> {
        self.db.write("point staged assets at new objects", move |tx| stage::restage(tx, &rows)).await
    }

    async fn mark_published(&self, assets: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        let assets = assets.to_vec();
        self.db.write("mark assets as published", move |tx| stage::mark_published(tx, &assets, at)).await
    }

    async fn record_outcomes(&self, fence: Option<&JobFence>, outcomes: Vec<JobOutcome>) -> Result<()> {
        let fence = fence.cloned();
        self.db
            .write("record files' outcomes", move |tx| outcomes::record_outcomes(tx, fence.as_ref(), &outcomes))
            .await
    }

    async fn mint_epochs(&self, group: &GroupName, requests: Vec<EpochRequest>) -> Result<Vec<EpochAnswer>> {
        let group = group.clone();
        self.db.write("mint claim epochs", move |tx| epochs::mint(tx, &group, &requests)).await
    }

    async fn claim(&self, group: &GroupName, batch: ClaimBatch) -> Result<ClaimedBatch> {
        let group = group.clone();
        self.db.write_many("claim assets", move |tx| claims::claim(tx, &group, &batch)).await
    }

    async fn end_claims(
        &self,
        group: &GroupName,
        fences: Vec<PartitionFence>,
        ends: Vec<ClaimEnd>,
    ) -> Result<Vec<TopicPartition>> {
        let group = group.clone();
        self.db.write_many("end claims", move |tx| claims::end(tx, &group, &fences, &ends)).await
    }

    async fn fold_claims(
        &self,
        group: &GroupName,
        limits: &FoldLimits,
        after: Option<AssetId>,
        limit: usize,
    ) -> Result<FoldedPage> {
        let (group, limits) = (group.clone(), limits.clone());
        let limit = sql::clamp_page_limit(limit);
        self.db.write_many("fold claims", move |tx| claim_folding::fold(tx, &group, &limits, after, limit)).await
    }

    async fn see_partition_ends(&self, ends: Vec<PartitionEnd>) -> Result<Vec<PartitionEndSeen>> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        self.db.write("remember the ends of partitions", move |tx| partition_ends::see(tx, &ends)).await
    }

    async fn advance(&self, steps: Vec<StateTransition>) -> Result<Vec<AssetId>> {
        self.db.write_many("advance assets", move |tx| advance::advance(tx, &steps)).await
    }

    async fn flag_dead_letters(&self, flags: Vec<DeadLetterFlag>) -> Result<()> {
        self.db.write("flag dead-lettered assets", move |tx| advance::flag_dead_letters(tx, &flags)).await
    }

    async fn revoke(&self, requests: Vec<TakedownRequest>) -> Result<Vec<Option<Takedown>>> {
        self.db.write("take assets down", move |tx| takedowns::revoke(tx, &requests)).await
    }

    async fn complete_takedowns(&self, takedowns: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
        let takedowns = takedowns.to_vec();
        self.db.write("complete takedowns", move |tx| takedowns::complete(tx, &takedowns, at)).await
    }

    async fn lift(&self, requests: Vec<TakedownRequest>) -> Result<()> {
        self.db.write("lift takedowns", move |tx| takedowns::lift(tx, &requests)).await
    }

    async fn takedowns(&self, assets: &[AssetId]) -> Result<Vec<Takedown>> {
        let assets = assets.to_vec();
        self.db.read("read takedowns", move |connection| takedowns::latest(connection, assets)).await
    }

    async fn list(&self, filter: &AssetFilter, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Asset>> {
        let limit = sql::clamp_page_limit(limit);
        let mut after = cursor.map(|cursor| cursor.parse().map_err(|_| sql::invalid_cursor(cursor))).transpose()?;
        let mut assets: Vec<Asset> = Vec::new();
        let filter = PreparedFilter::new(filter)?;
        // Several short reads instead of one long one, even if few of very many assets match.
        while assets.len() <= limit {
            let filter = filter.clone();
            let wanted = limit + 1 - assets.len();
            let scan = move |connection: &Connection| list::scan(connection, &filter, after, wanted);
            let scanned = self.db.read("list assets", scan).await?;
            assets.extend(scanned.assets);
            after = scanned.continue_after;
            if after.is_none() {
                break;
            }
        }
        Ok(sql::page(assets, limit, |asset| asset.asset_id.to_string()))
    }

    async fn list_sorted(
        &self,
        filter: &AssetFilter,
        order: AssetOrder,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<Asset>> {
        let limit = sql::clamp_page_limit(limit);
        let beyond = match cursor {
            None => None,
            Some(text) => {
                let invalid = || sql::invalid_cursor(text);
                let asset = text.parse().map_err(|_| invalid())?;
                let place = move |connection: &Connection| list::place_of(connection, order, asset);
                Some(self.db.read("list assets", place).await?.ok_or_else(invalid)?)
            }
        };
        let filter = PreparedFilter::new(filter)?;
        let mut scan = SortedScan { filter, order, beyond, wanted: limit + 1, best: BinaryHeap::new() };
        let mut after = None;
        loop {
            let read = move |connection: &Connection| {
                let next = scan.read(connection, after)?;
                Ok((scan, next))
            };
            (scan, after) = self.db.read("list assets", read).await?;
            if after.is_none() {
                break;
            }
        }
        let ids: Vec<AssetId> = scan.best.into_sorted_vec().into_iter().map(|found| found.asset).collect();
        Ok(sql::page(self.assets(&ids).await?, limit, |asset| asset.asset_id.to_string()))
    }

    async fn paths(&self, assets: &[AssetId], limit: usize) -> Result<Vec<AssetPaths>> {
        let limit = sql::clamp_page_limit(limit);
        let mut found = Vec::with_capacity(assets.len());
        // In several short reads: an asset may have very many paths.
        for assets in assets.chunks(ASSETS_PER_READ) {
            let assets = assets.to_vec();
            let read = move |connection: &Connection| {
                assets.iter().map(|asset| names::paths(connection, *asset, limit)).collect::<Result<Vec<_>>>()
            };
            found.extend(self.db.read("read assets' paths", read).await?);
        }
        Ok(found)
    }

    async fn sightings(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>> {
        let limit = sql::clamp_page_limit(limit);
        self.db.read("read an asset's history", move |connection| names::sightings(connection, asset, limit)).await
    }

    async fn sources(&self, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
        let limit = sql::clamp_page_limit(limit);
        self.db.read("read an asset's sources", move |connection| sources(connection, asset, limit)).await
    }

    async fn assets_of_path(&self, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>> {
        let tenant = tenant.clone();
        let path = path.clone();
        self.db.read("find a path's assets", move |connection| assets_of_path(connection, &tenant, &path)).await
    }

    async fn asset_of_event(&self, event: EventId) -> Result<Option<AssetId>> {
        self.db.read("find an event's asset", move |connection| asset_of_event(connection, event)).await
    }

    async fn latest_outcomes(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        let after = cursor.map(outcomes::parse_file_cursor).transpose()?;
        let limit = sql::clamp_page_limit(limit);
        self.db
            .read("list files' latest outcomes", move |connection| outcomes::latest_outcomes(connection, after, limit))
            .await
    }

    async fn job_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<CursorPage<JobOutcome>> {
        let after = cursor.map(str::to_owned);
        let limit = sql::clamp_page_limit(limit);
        self.db
            .read("list a job's outcomes", move |connection| outcomes::job_outcomes(connection, job, after, limit))
            .await
    }

    async fn summary(&self) -> Result<CatalogSummary> {
        self.db.read("count assets", summary).await
    }

    async fn unread(&self) -> Result<Vec<UnreadCount>> {
        self.db.read("count unread assets", unread).await
    }
}

fn assets(connection: &Connection, ids: &[AssetId]) -> Result<Vec<Asset>> {
    let what = "read assets";
    let mut select =
        connection.prepare_cached(&format!("{ASSET_COLUMNS} FROM media_assets WHERE asset_id = ?1")).during(what)?;
    let mut assets = Vec::with_capacity(ids.len());
    for id in ids {
        assets.extend(select.query_row([id.0.as_bytes()], asset).optional().during(what)?);
    }
    Ok(assets)
}

fn sources(connection: &Connection, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
    connection
        .prepare_cached(
            "SELECT path, host, job_id, seen_at FROM media_sources WHERE asset_id = ?1
             ORDER BY seen_at DESC, path LIMIT ?2",
        )
        .and_then(|mut select| {
            let rows = select.query_map(params![asset.0.as_bytes(), limit as i64], |row| {
                let mut columns = RowReader::new(row);
                Ok(AssetSource {
                    asset_id: asset,
                    path: SourcePath::from_text(columns.get::<String>()?),
                    host: columns.get()?,
                    job_id: columns.id(JobId)?,
                    seen_at: columns.time()?,
                })
            })?;
            rows.collect()
        })
        .during("read an asset's sources")
}

fn assets_of_path(connection: &Connection, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>> {
    connection
        .prepare_cached(
            "SELECT asset_id FROM media_sources WHERE tenant = ?1 AND path = ?2
             GROUP BY asset_id ORDER BY max(seen_at) DESC, max(job_id) DESC, asset_id LIMIT ?3",
        )
        .and_then(|mut select| {
            let wanted = params![tenant.as_str(), path.as_str(), MAX_ASSETS_OF_PATH];
            select.query_map(wanted, |row| RowReader::new(row).id(AssetId))?.collect()
        })
        .during("find a path's assets")
}

fn asset_of_event(connection: &Connection, event: EventId) -> Result<Option<AssetId>> {
    connection
        .prepare_cached("SELECT asset_id FROM media_assets WHERE event_id = ?1")
        .and_then(|mut select| select.query_row([event.0.as_bytes()], |row| RowReader::new(row).id(AssetId)).optional())
        .during("find an event's asset")
}

/// The terms are those of the index.
fn unread(connection: &Connection) -> Result<Vec<UnreadCount>> {
    connection
        .prepare_cached(
            "SELECT coalesce(CASE WHEN json_valid(facts) THEN substr(facts ->> '$.notes[0]', 1, 200) END, ?1) AS reason,
                    count(*)
             FROM media_assets INDEXED BY media_assets_unread
             WHERE state = 2 AND CASE WHEN json_valid(facts)
                   THEN facts ->> '$.text_key' IS NULL AND facts ->> '$.thumbnail_key' IS NULL END
             GROUP BY reason ORDER BY 2 DESC, 1",
        )
        .and_then(|mut select| {
            let counts = select.query_map([NO_REASON], |row| {
                let mut columns = RowReader::new(row);
                Ok(UnreadCount { reason: columns.get()?, assets: columns.count()? })
            })?;
            counts.collect()
        })
        .during("count unread assets")
}

fn summary(connection: &Connection) -> Result<CatalogSummary> {
    let rows: Vec<(AssetState, bool, u64, u64)> = connection
        .prepare_cached("SELECT state, dead_lettered, assets, bytes FROM media_totals")
        .and_then(|mut select| {
            let rows = select.query_map([], |row| {
                let mut columns = RowReader::new(row);
                Ok((columns.variant(AssetState::ALL)?, columns.get()?, columns.count()?, columns.count()?))
            })?;
            rows.collect()
        })
        .during("count assets")?;
    let by_state: BTreeMap<String, u64> = AssetState::ALL.iter().map(|state| (state.to_string(), 0)).collect();
    let mut summary = CatalogSummary { by_state, ..CatalogSummary::default() };
    for (state, dead_lettered, assets, bytes) in rows {
        summary.assets += assets;
        summary.bytes += bytes;
        if dead_lettered {
            summary.dead_lettered += assets;
            *summary.dead_lettered_by_state.entry(state.to_string()).or_default() += assets;
        }
        *summary.by_state.entry(state.to_string()).or_default() += assets;
    }
    Ok(summary)
}
