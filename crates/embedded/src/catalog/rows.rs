//! How assets and outcomes are read from rows.

use rusqlite::Row;

use crate::sql::Cells;
use mfctl_core::domain::asset::Stage;
use mfctl_core::domain::job::{FileOutcome, JobOutcome};
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, JobId, ObjectRef, Revision, SourcePath};

/// What [`asset`] reads, in its order.
pub(super) const ASSET_COLUMNS: &str = "SELECT asset_id, tenant, sha256, size_bytes, media_type, revision, state, \
    dead_lettered, event_id, job_id, staging_bucket, staging_key, staged_at, published_at, ingested_at, enriched_at, \
    updated_at, metadata, facts";

pub(super) fn asset(row: &Row<'_>) -> rusqlite::Result<Asset> {
    let mut cells = Cells::of(row);
    Ok(Asset {
        asset_id: cells.id(AssetId)?,
        tenant: cells.text()?,
        sha256: cells.sha256()?,
        size_bytes: cells.count()?,
        media_type: cells.plain()?,
        revision: Revision(cells.plain()?),
        state: cells.one_of(AssetState::ALL)?,
        dead_lettered: cells.maybe_one_of(Stage::ALL)?,
        event_id: cells.id(EventId)?,
        job_id: cells.id(JobId)?,
        staging: object(&mut cells)?,
        staged_at: cells.time()?,
        published_at: cells.maybe_time()?,
        ingested_at: cells.maybe_time()?,
        enriched_at: cells.maybe_time()?,
        updated_at: cells.time()?,
        metadata: cells.json()?,
        facts: cells.json()?,
    })
}

/// A bucket and a key.
pub(super) fn object(cells: &mut Cells<'_>) -> rusqlite::Result<ObjectRef> {
    Ok(ObjectRef { bucket: cells.text()?, key: cells.text()? })
}

/// What [`outcome`] reads, in its order.
pub(super) const OUTCOME_COLUMNS: &str = "SELECT job_id, tenant, path, outcome, asset_id, event_id, size_bytes, \
    refusal_kind, refusal_reason, at FROM media_job_outcomes";

pub(super) fn outcome(row: &Row<'_>) -> rusqlite::Result<JobOutcome> {
    let mut cells = Cells::of(row);
    Ok(JobOutcome {
        job_id: cells.id(JobId)?,
        tenant: cells.text()?,
        path: SourcePath::from_text(cells.plain::<String>()?),
        outcome: cells.one_of(FileOutcome::ALL)?,
        asset_id: cells.maybe_id(AssetId)?,
        event_id: cells.maybe_id(EventId)?,
        size_bytes: cells.maybe_count()?,
        refusal: cells.refusal()?,
        at: cells.time()?,
    })
}
