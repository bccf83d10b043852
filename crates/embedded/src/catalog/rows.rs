//! Reads assets and outcomes from rows.

use rusqlite::Row;

use crate::sql::RowReader;
use mfctl_core::domain::asset::Stage;
use mfctl_core::domain::job::{FileOutcome, JobOutcome};
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, JobId, ObjectRef, Revision, SourcePath};

/// The columns that [`asset`] reads, in its order.
pub(super) const ASSET_COLUMNS: &str = "SELECT asset_id, tenant, sha256, size_bytes, media_type, revision, state, \
    dead_lettered, event_id, job_id, staging_bucket, staging_key, staged_at, published_at, ingested_at, enriched_at, \
    updated_at, metadata, facts";

pub(super) fn asset(row: &Row<'_>) -> rusqlite::Result<Asset> {
    let mut columns = RowReader::new(row);
    Ok(Asset {
        asset_id: columns.id(AssetId)?,
        tenant: columns.text()?,
        sha256: columns.sha256()?,
        size_bytes: columns.count()?,
        media_type: columns.get()?,
        revision: Revision(columns.get()?),
        state: columns.variant(AssetState::ALL)?,
        dead_lettered: columns.maybe_variant(Stage::ALL)?,
        event_id: columns.id(EventId)?,
        job_id: columns.id(JobId)?,
        staging: object_ref(&mut columns)?,
        staged_at: columns.time()?,
        published_at: columns.maybe_time()?,
        ingested_at: columns.maybe_time()?,
        enriched_at: columns.maybe_time()?,
        updated_at: columns.time()?,
        metadata: columns.json()?,
        facts: columns.json()?,
    })
}

/// A bucket and a key, from two columns.
pub(super) fn object_ref(columns: &mut RowReader<'_>) -> rusqlite::Result<ObjectRef> {
    Ok(ObjectRef { bucket: columns.text()?, key: columns.text()? })
}

/// The columns that [`outcome`] reads, in its order.
pub(super) const OUTCOME_COLUMNS: &str = "SELECT job_id, tenant, path, outcome, asset_id, event_id, size_bytes, \
    refusal_kind, refusal_reason, at FROM media_job_outcomes";

pub(super) fn outcome(row: &Row<'_>) -> rusqlite::Result<JobOutcome> {
    let mut columns = RowReader::new(row);
    Ok(JobOutcome {
        job_id: columns.id(JobId)?,
        tenant: columns.text()?,
        path: SourcePath::from_text(columns.get::<String>()?),
        outcome: columns.variant(FileOutcome::ALL)?,
        asset_id: columns.maybe_id(AssetId)?,
        event_id: columns.maybe_id(EventId)?,
        size_bytes: columns.maybe_count()?,
        refusal: columns.refusal()?,
        at: columns.time()?,
    })
}
