//! Rows as JSON of the database's columns. A row that does not parse is `Corrupt`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::asset::{AssetFacts, AssetPath, AssetPaths, AssetSighting, AssetSource, Stage};
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::job::{FileOutcome, FileRefusal, JobOutcome, RefusalKind};
use mfctl_core::domain::{
    Asset, AssetId, AssetState, BucketName, EventId, JobId, ObjectKey, ObjectRef, Revision, Sha256, SourcePath, Tenant,
};
use mfctl_core::ports::{DeadLetterFlag, Error, ErrorKind, Result, StagedAsset, StagedRow, StateTransition};

/// The most bytes of a body, unless one row is larger: proxies accept 1 MiB by default.
const MAX_BODY_BYTES: usize = 1_000_000;
/// The most rows of one request.
const MAX_ROWS: usize = 2_000;

/// Rows as JSON arrays, one for each request; the usual batch needs one.
pub(super) fn arrays<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<Vec<String>> {
    let mut arrays: Vec<String> = Vec::new();
    let mut array = String::from("[");
    let mut count = 0;
    for row in rows {
        let row = json(&row)?;
        if count > 0 && (count == MAX_ROWS || array.len() + row.len() > MAX_BODY_BYTES) {
            array.push(']');
            arrays.push(std::mem::replace(&mut array, String::from("[")));
            count = 0;
        }
        if count > 0 {
            array.push(',');
        }
        array.push_str(&row);
        count += 1;
    }
    if count > 0 {
        array.push(']');
        arrays.push(array);
    }
    Ok(arrays)
}

/// JSON that PostgreSQL accepts: each NUL in a text becomes U+2400.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    let failed = |error| Error::new(ErrorKind::Internal, "serialise rows to JSON").because(error);
    let text = serde_json::to_string(value).map_err(failed)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value = serde_json::from_str(&text).map_err(failed)?;
    without_nul(&mut value);
    serde_json::to_string(&value).map_err(failed)
}

fn without_nul(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = text.replace('\0', "\u{2400}"),
        serde_json::Value::Array(values) => values.iter_mut().for_each(without_nul),
        serde_json::Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    without_nul(&mut value);
                    (name.replace('\0', "\u{2400}"), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// A time in the precision of `timestamptz`: whole microseconds.
pub(super) fn time(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A count as `bigint`; sizes of real files always fit.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row of `media.assets`.
#[derive(Debug, Deserialize)]
pub(super) struct AssetRow {
    asset_id: AssetId,
    tenant: Tenant,
    sha256: Sha256,
    size_bytes: u64,
    media_type: String,
    revision: Revision,
    state: AssetState,
    dead_lettered: Option<Stage>,
    event_id: EventId,
    job_id: JobId,
    staging_bucket: BucketName,
    staging_key: ObjectKey,
    staged_at: Timestamp,
    published_at: Option<Timestamp>,
    ingested_at: Option<Timestamp>,
    enriched_at: Option<Timestamp>,
    updated_at: Timestamp,
    metadata: Option<Metadata>,
    facts: Option<AssetFacts>,
}

impl From<AssetRow> for Asset {
    fn from(row: AssetRow) -> Self {
        Self {
            asset_id: row.asset_id,
            tenant: row.tenant,
            sha256: row.sha256,
            size_bytes: row.size_bytes,
            media_type: row.media_type,
            revision: row.revision,
            state: row.state,
            dead_lettered: row.dead_lettered,
            event_id: row.event_id,
            job_id: row.job_id,
            staging: ObjectRef { bucket: row.staging_bucket, key: row.staging_key },
            staged_at: row.staged_at,
            published_at: row.published_at,
            ingested_at: row.ingested_at,
            enriched_at: row.enriched_at,
            updated_at: row.updated_at,
            metadata: row.metadata.unwrap_or_default(),
            facts: row.facts.unwrap_or_default(),
        }
    }
}

/// A row of the parameter of `media.stage`.
#[derive(Debug, Serialize)]
pub(super) struct StageRow<'a> {
    asset_id: AssetId,
    tenant: &'a Tenant,
    sha256: Sha256,
    size_bytes: i64,
    media_type: &'a str,
    event_id: EventId,
    job_id: JobId,
    staging_bucket: &'a BucketName,
    staging_key: &'a ObjectKey,
    staged_at: Timestamp,
    metadata: Option<&'a Metadata>,
    path: &'a SourcePath,
    host: &'a str,
}

impl<'a> From<&'a StagedRow> for StageRow<'a> {
    fn from(row: &'a StagedRow) -> Self {
        Self {
            asset_id: row.asset_id,
            tenant: &row.tenant,
            sha256: row.sha256,
            size_bytes: count(row.size_bytes),
            media_type: &row.media_type,
            event_id: row.event_id,
            job_id: row.job_id,
            staging_bucket: &row.staging.bucket,
            staging_key: &row.staging.key,
            staged_at: time(row.staged_at),
            metadata: Some(&row.metadata).filter(|metadata| **metadata != Metadata::default()),
            path: &row.source_path,
            host: &row.host,
        }
    }
}

/// A row of the answer of `media.stage`.
#[derive(Debug, Deserialize)]
pub(super) struct StagedAnswer {
    pub(super) asset_id: AssetId,
    pub(super) tenant: Tenant,
    state: AssetState,
    revision: Revision,
    event_id: EventId,
    job_id: JobId,
    staging_bucket: BucketName,
    staging_key: ObjectKey,
    staged_at: Timestamp,
    published: bool,
}

impl From<StagedAnswer> for StagedAsset {
    fn from(row: StagedAnswer) -> Self {
        Self {
            asset_id: row.asset_id,
            state: row.state,
            revision: row.revision,
            event_id: row.event_id,
            job_id: row.job_id,
            staging: ObjectRef { bucket: row.staging_bucket, key: row.staging_key },
            staged_at: row.staged_at,
            published: row.published,
        }
    }
}

/// A row of the parameter of `media.advance`.
#[derive(Debug, Serialize)]
pub(super) struct AdvanceRow<'a> {
    asset_id: AssetId,
    revision: Revision,
    to: AssetState,
    at: Timestamp,
    facts: Option<&'a AssetFacts>,
    stage: Stage,
}

impl<'a> From<&'a StateTransition> for AdvanceRow<'a> {
    fn from(step: &'a StateTransition) -> Self {
        let StateTransition { asset_id, revision, to, at, ref facts, stage } = *step;
        Self { asset_id, revision, to, at: time(at), facts: facts.as_ref(), stage }
    }
}

/// A row of the parameter of `media.flag_dead_letters`.
#[derive(Debug, Serialize)]
pub(super) struct FlagRow {
    asset_id: AssetId,
    revision: Revision,
    stage: Stage,
    at: Timestamp,
}

impl From<&DeadLetterFlag> for FlagRow {
    fn from(flag: &DeadLetterFlag) -> Self {
        let DeadLetterFlag { asset_id, revision, stage, at } = *flag;
        Self { asset_id, revision, stage, at: time(at) }
    }
}

/// A row of `media.job_outcomes`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutcomeRow {
    tenant: Tenant,
    path: SourcePath,
    job_id: JobId,
    outcome: FileOutcome,
    asset_id: Option<AssetId>,
    event_id: Option<EventId>,
    size_bytes: Option<u64>,
    refusal_kind: Option<RefusalKind>,
    refusal_reason: Option<String>,
    at: Timestamp,
}

impl OutcomeRow {
    /// Its columns, for `select` and `columns`.
    pub(super) const COLUMNS: &'static str =
        "tenant,path,job_id,outcome,asset_id,event_id,size_bytes,refusal_kind,refusal_reason,at";
}

impl From<&JobOutcome> for OutcomeRow {
    fn from(outcome: &JobOutcome) -> Self {
        let (kind, reason) = outcome.refusal.clone().map(|refusal| (refusal.kind, refusal.reason)).unzip();
        Self {
            tenant: outcome.tenant.clone(),
            path: outcome.path.clone(),
            job_id: outcome.job_id,
            outcome: outcome.outcome,
            asset_id: outcome.asset_id,
            event_id: outcome.event_id,
            size_bytes: outcome.size_bytes.map(|size| size.min(i64::MAX as u64)),
            refusal_kind: kind,
            refusal_reason: reason,
            at: time(outcome.at),
        }
    }
}

impl From<OutcomeRow> for JobOutcome {
    fn from(row: OutcomeRow) -> Self {
        let reason = row.refusal_reason.unwrap_or_default();
        Self {
            job_id: row.job_id,
            tenant: row.tenant,
            path: row.path,
            outcome: row.outcome,
            asset_id: row.asset_id,
            event_id: row.event_id,
            size_bytes: row.size_bytes,
            refusal: row.refusal_kind.map(|kind| FileRefusal { kind, reason }),
            at: row.at,
        }
    }
}

/// A row of `media.sources`.
#[derive(Debug, Deserialize)]
pub(super) struct SourceRow {
    path: SourcePath,
    host: String,
    job_id: JobId,
    seen_at: Timestamp,
}

impl SourceRow {
    pub(super) fn into_source(self, asset_id: AssetId) -> AssetSource {
        AssetSource { asset_id, path: self.path, host: self.host, job_id: self.job_id, seen_at: self.seen_at }
    }
}

/// An asset's answer of `media.asset_paths`.
#[derive(Debug, Deserialize)]
pub(super) struct AssetPathsRow {
    pub(super) asset_id: AssetId,
    count: u64,
    paths: Vec<AssetPath>,
}

impl From<AssetPathsRow> for AssetPaths {
    fn from(row: AssetPathsRow) -> Self {
        Self { paths: row.paths, count: row.count }
    }
}

/// A row of `media.asset_sightings`.
#[derive(Debug, Deserialize)]
pub(super) struct SightingRow {
    path: SourcePath,
    host: Option<String>,
    job_id: JobId,
    at: Timestamp,
}

impl From<SightingRow> for AssetSighting {
    fn from(row: SightingRow) -> Self {
        Self { path: row.path, host: row.host, job_id: row.job_id, at: row.at }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_becomes_u2400_and_nothing_else_changes() {
        assert_eq!(json(&json!({ "a": "x\\u0000" })).unwrap(), r#"{"a":"x\\u0000"}"#);
        let given = json!({ "t\0": ["a\0b", { "n": "\0" }], "plain": 1.5 });
        assert_eq!(json(&given).unwrap(), r#"{"plain":1.5,"t␀":["a␀b",{"n":"␀"}]}"#);
    }

    #[test]
    fn rows_are_split_by_count_and_body_size() {
        assert!(arrays(Vec::<u8>::new()).unwrap().is_empty());
        assert_eq!(arrays([1, 2, 3]).unwrap(), ["[1,2,3]"]);
        assert_eq!(arrays(0..=MAX_ROWS).unwrap().len(), 2);
        let large = "x".repeat(MAX_BODY_BYTES / 2);
        let bodies = arrays([&large, &large, &"x".repeat(2 * MAX_BODY_BYTES), &large]).unwrap();
        assert_eq!(bodies.len(), 4);
        assert!(bodies.iter().all(|body| serde_json::from_str::<Vec<String>>(body).unwrap().len() == 1));
    }
}
