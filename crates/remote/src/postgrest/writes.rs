//! Writes: one request for a batch of the usual size. All are idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::{CatalogRequest, PostgrestClient};
use super::rows::{self, AdvanceRow, ClaimRow, FlagRow, InboxRow, OutcomeRow, StageRow, StagedAnswer};
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{AssetId, GroupName, ObjectRef, Revision, Tenant, TopicPartition};
use mfctl_core::ports::{
    Claim, ClaimRequest, DeadLetterFlag, Error, ErrorKind, Result, StagedAsset, StagedRow, StateTransition,
};

/// The most claims that one request releases: they are in its URL, which must stay below 8 KiB.
const MAX_RELEASED_PER_REQUEST: usize = 25;

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

pub(super) async fn mark_published(client: &PostgrestClient, assets: &[AssetId], at: Timestamp) -> Result<()> {
    let at = rows::json(&rows::time(at))?;
    for array in rows::arrays(assets)? {
        let body = format!("{{\"assets\":{array},\"at\":{at}}}");
        let _: IgnoredAny = client.call("mark assets as published", "rpc/mark_published", body).await?;
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
pub(super) async fn record_outcomes(client: &PostgrestClient, outcomes: &[JobOutcome]) -> Result<()> {
    let last: BTreeMap<_, &JobOutcome> =
        outcomes.iter().map(|outcome| ((&outcome.path, outcome.job_id, &outcome.tenant), outcome)).collect();
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

/// An upsert in which a trigger keeps the first owner of an existing claim; the answer has the owner of each claim.
pub(super) async fn claim(
    client: &PostgrestClient,
    group: &GroupName,
    requests: &[ClaimRequest],
) -> Result<Vec<Claim>> {
    let what = "claim assets";
    // In key order, so that two batches cannot deadlock.
    let mut first: BTreeMap<(AssetId, Revision), &ClaimRequest> = BTreeMap::new();
    for request in requests {
        first.entry((request.asset_id, request.revision)).or_insert(request);
    }
    let mut claims: HashMap<(AssetId, Revision), Claim> = HashMap::with_capacity(first.len());
    while !first.is_empty() {
        let claimed = claim_once(client, group, first.values().copied()).await?;
        let unanswered_before = first.len();
        for (key, claim) in claimed {
            first.remove(&key);
            claims.insert(key, claim);
        }
        // An answer may be cut short by `db-max-rows`. The claims are made all the same, so claiming the rest again is harmless.
        if first.len() == unanswered_before {
            break;
        }
    }
    let answer = |request: &ClaimRequest| claims.get(&(request.asset_id, request.revision)).cloned();
    requests.iter().map(|request| answer(request).ok_or_else(|| unanswered(what, request.asset_id))).collect()
}

/// One upsert of claims; returns the rows that the server answered.
async fn claim_once<'a>(
    client: &PostgrestClient,
    group: &GroupName,
    requests: impl Iterator<Item = &'a ClaimRequest>,
) -> Result<Vec<((AssetId, Revision), Claim)>> {
    let what = "claim assets";
    let mut claims = Vec::new();
    for array in rows::arrays(requests.map(|request| ClaimRow::of(group.as_str(), request)))? {
        let request = CatalogRequest {
            what,
            method: Method::POST,
            path: "inbox",
            query: vec![
                ("on_conflict", "asset_id,group_name,revision,tenant".into()),
                ("columns", ClaimRow::COLUMNS.into()),
                ("select", InboxRow::COLUMNS.into()),
            ],
            prefer: Some("resolution=merge-duplicates, missing=default, return=representation, handling=strict".into()),
            body: Some(array),
            no_schema_wait: false,
        };
        let rows: Vec<InboxRow> = client.read(request).await?;
        claims.extend(rows.into_iter().map(|row| ((row.asset_id, row.revision), row.into())));
    }
    Ok(claims)
}

pub(super) async fn complete_claims(
    client: &PostgrestClient,
    group: &GroupName,
    committed: &[(TopicPartition, i64)],
) -> Result<()> {
    let rows = committed
        .iter()
        .map(|(at, offset)| json!({ "topic": at.topic, "partition": at.partition, "committed": offset }));
    let group = rows::json(&group.as_str())?;
    for array in rows::arrays(rows)? {
        let body = format!("{{\"group_name\":{group},\"rows\":{array}}}");
        let _: IgnoredAny = client.call("complete claims", "rpc/complete_claims", body).await?;
    }
    Ok(())
}

/// The only DELETE: each row is identified in full, and `max-affected` is their number.
pub(super) async fn release_claims(client: &PostgrestClient, group: &GroupName, owners: &[ClaimRequest]) -> Result<()> {
    for owners in owners.chunks(MAX_RELEASED_PER_REQUEST) {
        let named: Vec<String> = owners.iter().map(condition).collect();
        let request = CatalogRequest {
            what: "release claims",
            method: Method::DELETE,
            path: "inbox",
            query: vec![
                ("group_name", format!("eq.{group}")),
                ("done", "is.false".into()),
                ("or", format!("({})", named.join(","))),
            ],
            prefer: Some(format!("return=minimal, handling=strict, max-affected={}", owners.len())),
            body: None,
            no_schema_wait: false,
        };
        client.send(request).await?;
    }
    Ok(())
}

/// A topic's name is quoted for the dots in it; it cannot contain quotes.
fn condition(ClaimRequest { asset_id, revision, owner }: &ClaimRequest) -> String {
    format!(
        "and(asset_id.eq.{asset_id},revision.eq.{revision},owner_topic.eq.\"{}\",owner_partition.eq.{},owner_offset.eq.{})",
        owner.topic, owner.partition, owner.offset
    )
}

fn unanswered(what: &str, asset: AssetId) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: the answer has no row for asset {asset}"))
}
