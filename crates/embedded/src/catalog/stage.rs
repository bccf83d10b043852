//! Staged assets: inserts them, changes their staging object, marks them as published.

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, Row, params};

use super::rows::object_ref;
use crate::db::SqlContext;
use crate::search_names;
use crate::sql::{self, RowReader};
use mfctl_core::domain::{AssetId, AssetState, EventId, JobId, ObjectRef, Revision};
use mfctl_core::ports::{Result, StagedAsset, StagedRow};

/// A row with its metadata as JSON, serialised before it reaches the writer's thread.
pub(super) struct PreparedRow {
    row: StagedRow,
    metadata: Option<String>,
}

pub(super) fn prepare(rows: Vec<StagedRow>) -> Result<Vec<PreparedRow>> {
    rows.into_iter().map(|row| Ok(PreparedRow { metadata: sql::json(&row.metadata)?, row })).collect()
}

/// See [`mfctl_core::ports::Catalog::stage`].
pub(super) fn stage(tx: &Connection, rows: &[PreparedRow]) -> Result<Vec<StagedAsset>> {
    let what = "stage assets";
    let mut asset = tx
        .prepare_cached(
            "INSERT INTO media_assets (asset_id, tenant, sha256, size_bytes, media_type, revision, state, event_id,
                 job_id, staging_bucket, staging_key, staged_at, updated_at, collection, metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, 0, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    let mut source = tx
        .prepare_cached(
            "INSERT INTO media_sources (tenant, path, asset_id, host, job_id, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    let mut seen_again = tx
        .prepare_cached(
            "UPDATE media_sources SET job_id = ?5, seen_at = ?6
             WHERE tenant = ?1 AND path = ?2 AND asset_id = ?3 AND host = ?4 AND seen_at < ?6",
        )
        .during(what)?;
    let mut select = tx
        .prepare_cached(
            "SELECT asset_id, state, revision, event_id, job_id, staging_bucket, staging_key, staged_at,
                 published_at IS NOT NULL FROM media_assets WHERE asset_id = ?1",
        )
        .during(what)?;
    let mut staged = Vec::with_capacity(rows.len());
    let mut assets = 0;
    let mut bytes = 0;
    for row in rows {
        let (row_staged, added) = stage_one(row, &mut asset, &mut select).during(what)?;
        let given = &row.row;
        let id = given.asset_id.0.as_bytes();
        let (tenant, path, job) = (given.tenant.as_str(), given.source_path.as_str(), given.job_id.0.as_bytes());
        let values = params![tenant, path, id, given.host, job, sql::time(given.staged_at)];
        if source.execute(values).during(what)? == 0 {
            seen_again.execute(values).during(what)?;
        } else if !added {
            search_names::add_source(tx, given.asset_id).during(what)?;
        }
        if added {
            assets += 1;
            bytes += sql::count(row.row.size_bytes);
        }
        staged.push(row_staged);
    }
    tx.prepare_cached(
        "UPDATE media_totals SET assets = assets + ?1, bytes = bytes + ?2 WHERE state = 0 AND dead_lettered = 0",
    )
    .and_then(|mut update| update.execute([assets, bytes]))
    .during(what)?;
    Ok(staged)
}

/// Returns what the catalog has now, and whether this row was added.
fn stage_one(
    PreparedRow { row, metadata }: &PreparedRow,
    asset: &mut CachedStatement<'_>,
    select: &mut CachedStatement<'_>,
) -> rusqlite::Result<(StagedAsset, bool)> {
    let id = row.asset_id.0.as_bytes();
    let job = row.job_id.0.as_bytes();
    let staged_at = sql::time(row.staged_at);
    let added = asset.execute(params![
        id,
        row.tenant.as_str(),
        row.sha256.0,
        sql::count(row.size_bytes),
        row.media_type,
        row.event_id.0.as_bytes(),
        job,
        row.staging.bucket.as_str(),
        row.staging.key.as_str(),
        staged_at,
        row.metadata.collection,
        metadata,
    ])?;
    if added == 0 {
        return Ok((select.query_row([id], staged_row)?, false));
    }
    let staged = StagedAsset {
        asset_id: row.asset_id,
        state: AssetState::Staged,
        revision: Revision::FIRST,
        event_id: row.event_id,
        job_id: row.job_id,
        staging: row.staging.clone(),
        staged_at: row.staged_at,
        published: false,
    };
    Ok((staged, true))
}

fn staged_row(row: &Row<'_>) -> rusqlite::Result<StagedAsset> {
    let mut columns = RowReader::new(row);
    Ok(StagedAsset {
        asset_id: columns.id(AssetId)?,
        state: columns.variant(AssetState::ALL)?,
        revision: Revision(columns.get()?),
        event_id: columns.id(EventId)?,
        job_id: columns.id(JobId)?,
        staging: object_ref(&mut columns)?,
        staged_at: columns.time()?,
        published: columns.get()?,
    })
}

/// Also clears `published_at`: no event that refers to the new object has been acknowledged yet.
pub(super) fn restage(tx: &Connection, rows: &[(AssetId, ObjectRef)]) -> Result<()> {
    let what = "point staged assets at new objects";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_assets SET staging_bucket = ?2, staging_key = ?3, published_at = NULL
             WHERE asset_id = ?1 AND state = 0 AND (staging_bucket, staging_key) <> (?2, ?3)",
        )
        .during(what)?;
    for (asset, staging) in rows {
        update.execute(params![asset.0.as_bytes(), staging.bucket.as_str(), staging.key.as_str()]).during(what)?;
    }
    Ok(())
}

/// See [`mfctl_core::ports::Catalog::mark_published`].
pub(super) fn mark_published(tx: &Connection, assets: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
    let what = "mark assets as published";
    let mut update = tx
        .prepare_cached(
            "UPDATE media_assets SET published_at = ?3, updated_at = max(updated_at, ?3)
             WHERE asset_id = ?1 AND revision = ?2 AND published_at IS NULL",
        )
        .during(what)?;
    for (asset, revision) in assets {
        update.execute(params![asset.0.as_bytes(), revision.0, sql::time(at)]).during(what)?;
    }
    Ok(())
}
