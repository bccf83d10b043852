//! Writes: one request for a batch of the usual size. All are idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::{CatalogRequest, PostgrestClient};
use super::jobs;
use super::rows::{self, AdvanceRow, FlagRow, OutcomeRow, StageRow, StagedAnswer};
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{AssetId, JobFence, ObjectRef, Revision, Tenant};
use mfctl_core::ports::{DeadLetterFlag, Error, ErrorKind, Result, StagedAsset, StagedRow, StateTransition};

pub(super) async fn stage(client: &PostgrestClient, rows: &[StagedRow]) -> Result<Vec<StagedAsset>> {
    let what = "stage assets";
    let mut found: HashMap<(AssetId, Tenant), StagedAsset> = HashMap::new();
    for array in rows::arrays(rows.iter().map(StageRow::from))? {
        let answers: Vec<StagedAnswer> = client.call(what, "rpc/stage", format!("{{\"rows\":{array}}}")).await?;
        for answer in answers {
            found.insert((answer.asset_id, answer.tenant.clone()), answer.into());
        }
    }
    let answer = |row: &StagedRow| found.get(&(row.asset_id, row.tenant.clone())).cloned();
    rows.iter().map(|row| answer(row).ok_or_else(|| unanswered(what, row.asset_id))).collect()
}

pub(super) async fn restage(client: &PostgrestClient, rows: &[(AssetId, ObjectRef)]) -> Result<()> {
    let rows = rows.iter().map(|(asset_id, staging)| {
        json!({ "asset_id": asset_id, "staging_bucket": staging.bucket, "staging_key": staging.key })
    });
    call_for_each(client, "point staged assets at new objects", "rpc/restage", rows::arrays(rows)?).await
}

pub(super) async fn mark_published(
    client: &PostgrestClient,
    assets: &[(AssetId, Revision)],
    at: Timestamp,
) -> Result<()> {
    let rows = assets.iter().map(|(asset, revision)| json!({ "asset_id": asset, "revision": revision }));
    let at = rows::json(&rows::time(at))?;
    for array in rows::arrays(rows)? {
        let body = format!("{{\"rows\":{array},\"at\":{at}}}");
        let _: IgnoredAny = client.call("mark assets as published", "rpc/mark_revisions_published", body).await?;
    }
    Ok(())
}

pub(super) async fn advance(client: &PostgrestClient, steps: &[StateTransition]) -> Result<Vec<AssetId>> {
    #[derive(Deserialize)]
    struct AdvanceAnswer {
        revoked: Vec<AssetId>,
    }
    let mut revoked = BTreeSet::new();
    for array in rows::arrays(steps.iter().map(AdvanceRow::from))? {
        let body = format!("{{\"rows\":{array}}}");
        let answer: AdvanceAnswer = client.call("move assets forward", "rpc/advance_assets", body).await?;
        revoked.extend(answer.revoked);
    }
    Ok(revoked.into_iter().collect())
}

pub(super) async fn flag_dead_letters(client: &PostgrestClient, flags: &[DeadLetterFlag]) -> Result<()> {
    let arrays = rows::arrays(flags.iter().map(FlagRow::from))?;
    call_for_each(client, "mark assets as dead-lettered", "rpc/flag_dead_letters", arrays).await
}

/// Calls a function once for each array of rows.
pub(super) async fn call_for_each(
    client: &PostgrestClient,
    what: &'static str,
    path: &str,
    arrays: Vec<String>,
) -> Result<()> {
    for array in arrays {
        let _: IgnoredAny = client.call(what, path, format!("{{\"rows\":{array}}}")).await?;
    }
    Ok(())
}

/// A key that occurs twice in one upsert is an error (SQLSTATE 21000): only its last row is sent.
pub(super) async fn record_outcomes(
    client: &PostgrestClient,
    fence: Option<&JobFence>,
    outcomes: &[JobOutcome],
) -> Result<()> {
    let last: BTreeMap<_, &JobOutcome> =
        outcomes.iter().map(|outcome| ((&outcome.path, outcome.job_id, &outcome.tenant), outcome)).collect();
    if let Some(fence) = fence {
        return jobs::record_outcomes(client, fence, last.into_values()).await;
    }
    for array in rows::arrays(last.into_values().map(OutcomeRow::from))? {
        let request = CatalogRequest {
            what: "record files' outcomes",
            method: Method::POST,
            path: "job_outcomes",
            query: vec![("on_conflict", "path_key,job_id,tenant".into()), ("columns", OutcomeRow::COLUMNS.into())],
            prefer: Some("resolution=merge-duplicates, missing=default, return=minimal, handling=strict".into()),
            body: Some(array),
            no_schema_wait: false,
        };
        client.send(request).await?;
    }
    Ok(())
}

fn unanswered(what: &str, asset: AssetId) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: the answer has no row for asset {asset}"))
}
