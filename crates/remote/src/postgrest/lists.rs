//! Reads. Pages are by key; a request asks for no more than an answer may hold, so a page may take several.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::rows::{self, AssetRow, OutcomeRow, SourceRow};
use mfctl_core::domain::asset::AssetSource;
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, JobId, SourcePath, Tenant};
use mfctl_core::ports::{AssetFilter, CatalogSummary, Error, ErrorKind, Page, Result};

/// Rows of one page at most, whatever the caller asks for.
const MAX_PAGE: usize = 10_000;
/// Rows of one request at most.
const AT_ONCE: usize = 1_000;
/// Assets that one path is looked up to have been, at most.
const MAX_ASSETS_OF_PATH: usize = 1_000;

/// Not waited for: a database without its tables has no identity.
pub(super) async fn identity(client: &Client) -> Result<String> {
    #[derive(Deserialize)]
    struct Row {
        value: String,
    }
    let what = "read the catalog's identity";
    let query = vec![("key", "eq.identity".into()), ("select", "value".into()), ("limit", "1".into())];
    let request = Request { what, path: "meta", query, impatient: true, ..Request::default() };
    let rows: Vec<Row> = client.read(request).await?;
    let none = || Error::new(ErrorKind::Unprepared, what).hint("run `mfctl bootstrap apply` (or `mfctl db migrate`)");
    rows.into_iter().next().map(|row| row.value).ok_or_else(none)
}

pub(super) async fn assets(client: &Client, ids: &[AssetId]) -> Result<Vec<Asset>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        assets_of(client, ids, &mut found).await?;
    }
    Ok(found)
}

/// Few rows can be a large answer: where they are too large together, they are asked for in halves.
async fn assets_of(client: &Client, ids: &[AssetId], found: &mut Vec<Asset>) -> Result<()> {
    let mut halves = vec![ids];
    while let Some(ids) = halves.pop() {
        let body = rows::json(&json!({ "assets": ids }))?;
        match client.call::<Vec<AssetRow>>("read assets", "rpc/read_assets", body).await {
            Ok(rows) => found.extend(rows.into_iter().map(Asset::from)),
            Err(error) if error.kind() == ErrorKind::Invalid && ids.len() > 1 => {
                let (first, second) = ids.split_at(ids.len() / 2);
                halves.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What one look at the assets found, and where it stopped if there is more to look at.
#[derive(Debug, Deserialize)]
struct Scanned {
    assets: Vec<AssetRow>,
    passed: Option<AssetId>,
}

pub(super) async fn list(
    client: &Client,
    filter: &AssetFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<Asset>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut after: Option<AssetId> = cursor.map(|text| text.parse().map_err(|_| bad_cursor(text))).transpose()?;
    let mut request = conditions(filter);
    let (mut found, mut at_once): (Vec<Asset>, usize) = (Vec::new(), AT_ONCE);
    while found.len() <= limit {
        let wanted = (limit + 1 - found.len()).min(at_once);
        request["after"] = json!(after);
        request["wanted"] = json!(wanted);
        let scanned: Scanned = match client.call("list assets", "rpc/list_assets", rows::json(&request)?).await {
            Err(error) if error.kind() == ErrorKind::Invalid && wanted > 1 => {
                at_once = wanted / 2;
                continue;
            }
            scanned => scanned?,
        };
        let full = scanned.assets.len() >= wanted;
        found.extend(scanned.assets.into_iter().map(Asset::from));
        let passed = if full { found.last().map(|asset| asset.asset_id) } else { scanned.passed };
        match passed {
            Some(passed) => after = Some(passed),
            None => break,
        }
    }
    Ok(page(found, limit, |asset| asset.asset_id.to_string()))
}

/// A filter as what `media.list_assets` takes.
fn conditions(filter: &AssetFilter) -> Value {
    json!({
        "tenant": filter.tenant,
        "state": filter.state,
        "dead_lettered": filter.dead_lettered,
        "media_type": filter.media_type,
        "collection": filter.collection,
        "tag": filter.tag.as_ref().map(|(name, value)| json!({ "name": name, "value": value })),
        "job_id": filter.job_id,
        "since": filter.since.map(rows::time),
    })
}

pub(super) async fn sources(client: &Client, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
    let query = vec![
        ("asset_id", format!("eq.{asset}")),
        ("select", "path,host,job_id,seen_at".into()),
        ("order", "seen_at.desc,path.asc".into()),
        ("limit", limit.clamp(1, MAX_PAGE).to_string()),
    ];
    let request = Request { what: "read an asset's sources", path: "sources", query, ..Request::default() };
    let rows: Vec<SourceRow> = client.read(request).await?;
    Ok(rows.into_iter().map(|row| row.of(asset)).collect())
}

pub(super) async fn assets_of_path(client: &Client, tenant: &Tenant, path: &SourcePath) -> Result<Vec<AssetId>> {
    let body = rows::json(&json!({ "tenant": tenant, "path": path, "limit": MAX_ASSETS_OF_PATH }))?;
    client.call("find a path's assets", "rpc/assets_of_path", body).await
}

pub(super) async fn asset_of_event(client: &Client, event: EventId) -> Result<Option<AssetId>> {
    #[derive(Deserialize)]
    struct Row {
        asset_id: AssetId,
    }
    let query = vec![("event_id", format!("eq.{event}")), ("select", "asset_id".into()), ("limit", "1".into())];
    let request = Request { what: "find an event's asset", path: "assets", query, ..Request::default() };
    let rows: Vec<Row> = client.read(request).await?;
    Ok(rows.into_iter().next().map(|row| row.asset_id))
}

pub(super) async fn latest_outcomes(client: &Client, cursor: Option<&str>, limit: usize) -> Result<Page<JobOutcome>> {
    let after = cursor.map(file_of_cursor).transpose()?;
    let start =
        json!({ "tenant": after.as_ref().map(|(tenant, _)| tenant), "path": after.as_ref().map(|(_, path)| path) });
    let found = outcomes(client, ("list files' latest outcomes", "rpc/latest_outcomes"), start, limit).await?;
    Ok(page(found, limit.clamp(1, MAX_PAGE), |row| format!("{}/{}", row.tenant, row.path)))
}

pub(super) async fn job_outcomes(
    client: &Client,
    job: JobId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<JobOutcome>> {
    let start = json!({ "job_id": job, "path": cursor });
    let found = outcomes(client, ("list a job's outcomes", "rpc/outcomes_of_job"), start, limit).await?;
    Ok(page(found, limit.clamp(1, MAX_PAGE), |row| row.path.to_string()))
}

/// What one look at the outcomes found, and whether there is more behind it.
#[derive(Debug, Deserialize)]
struct Seen {
    outcomes: Vec<OutcomeRow>,
    more: bool,
}

/// One outcome more than the page holds, if there is one.
async fn outcomes(
    client: &Client,
    (what, function): (&'static str, &str),
    mut request: Value,
    limit: usize,
) -> Result<Vec<JobOutcome>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found: Vec<JobOutcome> = Vec::new();
    while found.len() <= limit {
        request["wanted"] = json!((limit + 1 - found.len()).min(AT_ONCE));
        let seen: Seen = client.call(what, function, rows::json(&request)?).await?;
        let more = seen.more && !seen.outcomes.is_empty();
        found.extend(seen.outcomes.into_iter().map(JobOutcome::from));
        match found.last().filter(|_| more) {
            Some(last) => {
                request["tenant"] = json!(last.tenant);
                request["path"] = json!(last.path);
            }
            None => break,
        }
    }
    Ok(found)
}

pub(super) async fn summary(client: &Client) -> Result<CatalogSummary> {
    #[derive(Deserialize)]
    struct Row {
        state: AssetState,
        dead_lettered: bool,
        assets: u64,
        bytes: u64,
    }
    let request = Request {
        what: "count assets",
        method: Method::POST,
        path: "rpc/summary",
        body: Some("{}".into()),
        ..Request::default()
    };
    let rows: Vec<Row> = client.read(request).await?;
    let by_state: BTreeMap<String, u64> = AssetState::ALL.iter().map(|state| (state.to_string(), 0)).collect();
    let mut summary = CatalogSummary { by_state, ..CatalogSummary::default() };
    for row in rows {
        summary.assets += row.assets;
        summary.bytes += row.bytes;
        summary.dead_lettered += if row.dead_lettered { row.assets } else { 0 };
        *summary.by_state.entry(row.state.to_string()).or_default() += row.assets;
    }
    Ok(summary)
}

/// A page of rows, given one row more than the page holds if there is one.
fn page<T>(mut rows: Vec<T>, limit: usize, cursor_of: impl FnOnce(&T) -> String) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor_of);
    Page { items: rows, next }
}

/// A tenant has no slash, so the first one parts it from the path.
fn file_of_cursor(cursor: &str) -> Result<(Tenant, SourcePath)> {
    let parts = cursor.split_once('/').and_then(|(tenant, path)| Some((Tenant::new(tenant).ok()?, path)));
    let (tenant, path) = parts.ok_or_else(|| bad_cursor(cursor))?;
    Ok((tenant, SourcePath::from_text(path)))
}

/// The error of a cursor that no page gave.
fn bad_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(80).collect();
    Error::new(ErrorKind::Invalid, format!("{shown:?} is not a cursor of this list"))
        .hint("leave the cursor out to begin anew")
}
