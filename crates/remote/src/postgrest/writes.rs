//! Writes: one request for a batch of the usual size. All of them can be sent again.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::{Client, Request};
use super::rows::{self, ClaimRow, FlagRow, HeldRow, NewRow, OutcomeRow, StagedAnswer, StepRow};
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{AssetId, GroupName, ObjectRef, Revision, Tenant, TopicPartition};
use mfctl_core::ports::{
    Claim, ClaimRequest, DeadLetterFlag, Error, ErrorKind, Result, StagedAsset, StagedRow, StateTransition,
};

/// Claims freed by one request: they are named in its address, which is to stay below 8 KiB.
const FREED_AT_ONCE: usize = 25;

pub(super) async fn stage(client: &Client, rows: &[StagedRow]) -> Result<Vec<StagedAsset>> {
    let what = "stage assets";
    let mut found: HashMap<(AssetId, Tenant), StagedAsset> = HashMap::new();
    for array in rows::arrays(rows.iter().map(NewRow::from))? {
        let answers: Vec<StagedAnswer> = client.call(what, "rpc/stage", format!("{{\"rows\":{array}}}")).await?;
        for answer in answers {
            found.insert((answer.asset_id, answer.tenant.clone()), answer.into());
        }
    }
    let answer = |row: &StagedRow| found.get(&(row.asset_id, row.tenant.clone())).cloned();
    rows.iter().map(|row| answer(row).ok_or_else(|| unanswered(what, row.asset_id))).collect()
}

pub(super) async fn restage(client: &Client, rows: &[(AssetId, ObjectRef)]) -> Result<()> {
    let rows = rows.iter().map(|(asset_id, staging)| {
        json!({ "asset_id": asset_id, "staging_bucket": staging.bucket, "staging_key": staging.key })
    });
    each(client, "point staged assets at new objects", "rpc/restage", rows::arrays(rows)?).await
}

pub(super) async fn mark_published(client: &Client, assets: &[AssetId], at: Timestamp) -> Result<()> {
    let at = rows::json(&rows::time(at))?;
    for array in rows::arrays(assets)? {
        let body = format!("{{\"assets\":{array},\"at\":{at}}}");
        let _: IgnoredAny = client.call("mark assets as published", "rpc/mark_published", body).await?;
    }
    Ok(())
}

pub(super) async fn advance(client: &Client, steps: &[StateTransition]) -> Result<()> {
    each(client, "move assets forward", "rpc/advance", rows::arrays(steps.iter().map(StepRow::from))?).await
}

pub(super) async fn flag_dead_letters(client: &Client, flags: &[DeadLetterFlag]) -> Result<()> {
    let arrays = rows::arrays(flags.iter().map(FlagRow::from))?;
    each(client, "mark assets as dead-lettered", "rpc/flag_dead_letters", arrays).await
}

/// Calls a function with each of these arrays of rows.
async fn each(client: &Client, what: &'static str, path: &str, arrays: Vec<String>) -> Result<()> {
    for array in arrays {
        let _: IgnoredAny = client.call(what, path, format!("{{\"rows\":{array}}}")).await?;
    }
    Ok(())
}

/// A key twice in one upsert is an error of the database (21000), so the last of each is what is sent.
pub(super) async fn record_outcomes(client: &Client, outcomes: &[JobOutcome]) -> Result<()> {
    let last: BTreeMap<_, &JobOutcome> =
        outcomes.iter().map(|outcome| ((&outcome.path, outcome.job_id, &outcome.tenant), outcome)).collect();
    for array in rows::arrays(last.into_values().map(OutcomeRow::from))? {
        let request = Request {
            what: "keep files' outcomes",
            method: Method::POST,
            path: "job_outcomes",
            query: vec![("on_conflict", "path_key,job_id,tenant".into()), ("columns", OutcomeRow::COLUMNS.into())],
            prefer: Some("resolution=merge-duplicates, missing=default, return=minimal, handling=strict".into()),
            body: Some(array),
            impatient: false,
        };
        client.send(request).await?;
    }
    Ok(())
}

/// An upsert that changes nothing of a claim that is there (a trigger keeps the first owner) and answers who has each.
pub(super) async fn claim(client: &Client, group: &GroupName, requests: &[ClaimRequest]) -> Result<Vec<Claim>> {
    let what = "claim assets";
    // In the order of their key: two batches never wait for each other.
    let mut first: BTreeMap<(AssetId, Revision), &ClaimRequest> = BTreeMap::new();
    for request in requests {
        first.entry((request.asset_id, request.revision)).or_insert(request);
    }
    let mut held: HashMap<(AssetId, Revision), Claim> = HashMap::with_capacity(first.len());
    for array in rows::arrays(first.into_values().map(|request| ClaimRow::of(group.as_str(), request)))? {
        let request = Request {
            what,
            method: Method::POST,
            path: "inbox",
            query: vec![
                ("on_conflict", "asset_id,group_name,revision,tenant".into()),
                ("columns", ClaimRow::COLUMNS.into()),
                ("select", HeldRow::COLUMNS.into()),
            ],
            prefer: Some("resolution=merge-duplicates, missing=default, return=representation, handling=strict".into()),
            body: Some(array),
            impatient: false,
        };
        let rows: Vec<HeldRow> = client.read(request).await?;
        held.extend(rows.into_iter().map(|row| ((row.asset_id, row.revision), row.into())));
    }
    let answer = |request: &ClaimRequest| held.get(&(request.asset_id, request.revision)).cloned();
    requests.iter().map(|request| answer(request).ok_or_else(|| unanswered(what, request.asset_id))).collect()
}

pub(super) async fn complete_claims(
    client: &Client,
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

/// The one removal there is: of rows named in full, no more of them than are named.
pub(super) async fn release_claims(client: &Client, group: &GroupName, owners: &[ClaimRequest]) -> Result<()> {
    for owners in owners.chunks(FREED_AT_ONCE) {
        let named: Vec<String> = owners.iter().map(condition).collect();
        let request = Request {
            what: "free claims",
            method: Method::DELETE,
            path: "inbox",
            query: vec![
                ("group_name", format!("eq.{group}")),
                ("done", "is.false".into()),
                ("or", format!("({})", named.join(","))),
            ],
            prefer: Some(format!("return=minimal, handling=strict, max-affected={}", owners.len())),
            body: None,
            impatient: false,
        };
        client.send(request).await?;
    }
    Ok(())
}

/// A topic's name needs its quotes for the dots in it; it can hold none itself.
fn condition(ClaimRequest { asset_id, revision, owner }: &ClaimRequest) -> String {
    format!(
        "and(asset_id.eq.{asset_id},revision.eq.{revision},owner_topic.eq.\"{}\",owner_partition.eq.{},owner_offset.eq.{})",
        owner.topic, owner.partition, owner.offset
    )
}

fn unanswered(what: &str, asset: AssetId) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: the answer says nothing of asset {asset}"))
}
