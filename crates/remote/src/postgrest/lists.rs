//! Reads. Pages continue after a key; one page may need several requests, each of a bounded size.

use std::collections::{BTreeMap, HashMap};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{CatalogRequest, PostgrestClient};
use super::rows::{self, AssetPathsRow, AssetRow, OutcomeRow, SightingRow, SourceRow};
use mfctl_core::domain::asset::{AssetPaths, AssetSighting, AssetSource, NO_REASON};
use mfctl_core::domain::job::JobOutcome;
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, JobId, MediaTypePattern, NameGlob, SourcePath, Tenant};
use mfctl_core::ports::{
    AssetFilter, AssetOrder, AssetSortKey, CatalogSummary, CursorPage, Error, ErrorKind, Result, UnreadCount,
};

/// The most rows of a page, whatever the limit.
const MAX_PAGE: usize = 10_000;
/// The most rows of one request.
const MAX_ROWS_PER_REQUEST: usize = 1_000;
/// The most assets that one path is resolved to.
const MAX_ASSETS_OF_PATH: usize = 1_000;
/// The most paths of one answer, of all its assets: a path may have 4 KiB.
const MAX_PATHS_PER_REQUEST: usize = 10_000;

/// Does not wait for a reload of the schema cache: a database without its tables has no identity.
pub(super) async fn identity(client: &PostgrestClient) -> Result<String> {
    #[derive(Deserialize)]
    struct IdentityRow {
        value: String,
    }
    let what = "read the catalog's identity";
    let query = vec![("key", "eq.identity".into()), ("select", "value".into()), ("limit", "1".into())];
    let request = CatalogRequest { what, path: "meta", query, no_schema_wait: true, ..CatalogRequest::default() };
    let rows: Vec<IdentityRow> = client.read(request).await?;
    let none = || Error::new(ErrorKind::Unprepared, what).hint("run `mfctl bootstrap apply` (or `mfctl db migrate`)");
    rows.into_iter().next().map(|row| row.value).ok_or_else(none)
}

pub(super) async fn assets(client: &PostgrestClient, ids: &[AssetId]) -> Result<Vec<Asset>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_ROWS_PER_REQUEST) {
        assets_of(client, ids, &mut found).await?;
    }
    Ok(found)
}

/// Reads assets; where the answer would be too large, in halves.
async fn assets_of(client: &PostgrestClient, ids: &[AssetId], found: &mut Vec<Asset>) -> Result<()> {
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

/// One step of a scan over the assets.
#[derive(Debug, Deserialize)]
struct AssetScanStep {
    assets: Vec<AssetRow>,
    /// The last asset that was examined; `None` at the end of the table.
    passed: Option<AssetId>,
}

pub(super) async fn list(
    client: &PostgrestClient,
    filter: &AssetFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<CursorPage<Asset>> {
    // The function of the first release suffices for what it knows, so that an earlier database can be read.
    let function = if filter.name.is_none() { "rpc/list_assets" } else { "rpc/find_assets" };
    scan(client, function, filter, conditions(filter), cursor, limit).await
}

pub(super) async fn list_sorted(
    client: &PostgrestClient,
    filter: &AssetFilter,
    order: AssetOrder,
    cursor: Option<&str>,
    limit: usize,
) -> Result<CursorPage<Asset>> {
    let mut request = conditions(filter);
    request["sort"] = json!(match order.key {
        AssetSortKey::Name => "name",
        AssetSortKey::Size => "size",
        AssetSortKey::Staged => "staged",
        AssetSortKey::MediaType => "type",
    });
    request["descending"] = json!(order.descending);
    if let Some(cursor) = cursor {
        let asset: AssetId = cursor.parse().map_err(|_| bad_cursor(cursor))?;
        if assets(client, &[asset]).await?.is_empty() {
            return Err(bad_cursor(cursor));
        }
    }
    scan(client, "rpc/find_assets", filter, request, cursor, limit).await
}

/// Reads a page of assets in several steps. The database's functions do not know [`AssetFilter::without_revoked`].
async fn scan(
    client: &PostgrestClient,
    function: &str,
    filter: &AssetFilter,
    mut request: Value,
    cursor: Option<&str>,
    limit: usize,
) -> Result<CursorPage<Asset>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut after: Option<AssetId> = cursor.map(|text| text.parse().map_err(|_| bad_cursor(text))).transpose()?;
    let mut found: Vec<Asset> = Vec::new();
    let mut max_rows = MAX_ROWS_PER_REQUEST;
    while found.len() <= limit {
        let wanted = (limit + 1 - found.len()).min(max_rows);
        request["after"] = json!(after);
        request["wanted"] = json!(wanted);
        let scan: AssetScanStep = match client.call("list assets", function, rows::json(&request)?).await {
            Err(error) if error.kind() == ErrorKind::Invalid && wanted > 1 => {
                max_rows = wanted / 2;
                continue;
            }
            answer => answer?,
        };
        let full = scan.assets.len() >= wanted;
        let read = scan.assets.into_iter().map(Asset::from);
        let mut last = None;
        found.extend(read.inspect(|asset| last = Some(asset.asset_id)).filter(|asset| !leaves_out(filter, asset)));
        let passed = if full { last } else { scan.passed };
        match passed {
            Some(passed) => after = Some(passed),
            None => break,
        }
    }
    Ok(page(found, limit, |asset| asset.asset_id.to_string()))
}

/// Whether a filter leaves out this asset, which matches its other conditions.
fn leaves_out(filter: &AssetFilter, asset: &Asset) -> bool {
    filter.without_revoked && asset.state == AssetState::Revoked
}

pub(super) async fn paths(client: &PostgrestClient, assets: &[AssetId], limit: usize) -> Result<Vec<AssetPaths>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found: HashMap<AssetId, AssetPaths> = HashMap::new();
    for assets in assets.chunks((MAX_PATHS_PER_REQUEST / limit).clamp(1, MAX_ROWS_PER_REQUEST)) {
        let body = rows::json(&json!({ "assets": assets, "limit": limit }))?;
        let rows: Vec<AssetPathsRow> = client.call("read assets' paths", "rpc/asset_paths", body).await?;
        found.extend(rows.into_iter().map(|row| (row.asset_id, row.into())));
    }
    Ok(assets.iter().map(|asset| found.get(asset).cloned().unwrap_or_default()).collect())
}

pub(super) async fn sightings(client: &PostgrestClient, asset: AssetId, limit: usize) -> Result<Vec<AssetSighting>> {
    let body = rows::json(&json!({ "asset": asset, "limit": limit.clamp(1, MAX_PAGE) }))?;
    let rows: Vec<SightingRow> = client.call("read an asset's history", "rpc/asset_sightings", body).await?;
    Ok(rows.into_iter().map(AssetSighting::from).collect())
}

/// A filter as the parameter of `media.list_assets` and `media.find_assets`.
fn conditions(filter: &AssetFilter) -> Value {
    json!({
        "tenant": filter.tenant,
        "state": filter.state,
        "dead_lettered": filter.dead_lettered,
        "media_type": filter.media_type.as_ref().map(MediaTypePattern::as_str),
        "collection": filter.collection,
        "tag": filter.tag.as_ref().map(|(name, value)| json!({ "name": name, "value": value })),
        "job_id": filter.job_id,
        "since": filter.since.map(rows::time),
        "name": filter.name.as_ref().map(NameGlob::regex),
    })
}

pub(super) async fn sources(client: &PostgrestClient, asset: AssetId, limit: usize) -> Result<Vec<AssetSource>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found: Vec<AssetSource> = Vec::new();
    // An answer may be cut short by `db-max-rows`: only one without rows is the end.
    while found.len() < limit {
        let query = vec![
            ("asset_id", format!("eq.{asset}")),
            ("select", "path,host,job_id,seen_at".into()),
            ("order", "seen_at.desc,path.asc,host.asc".into()),
            ("offset", found.len().to_string()),
            ("limit", (limit - found.len()).to_string()),
        ];
        let request =
            CatalogRequest { what: "read an asset's sources", path: "sources", query, ..CatalogRequest::default() };
        let rows: Vec<SourceRow> = client.read(request).await?;
        if rows.is_empty() {
            break;
        }
        found.extend(rows.into_iter().map(|row| row.into_source(asset)));
    }
    Ok(found)
}

pub(super) async fn assets_of_path(
    client: &PostgrestClient,
    tenant: &Tenant,
    path: &SourcePath,
) -> Result<Vec<AssetId>> {
    let body = rows::json(&json!({ "tenant": tenant, "path": path, "limit": MAX_ASSETS_OF_PATH }))?;
    client.call("find a path's assets", "rpc/assets_of_path", body).await
}

pub(super) async fn asset_of_event(client: &PostgrestClient, event: EventId) -> Result<Option<AssetId>> {
    #[derive(Deserialize)]
    struct EventAssetRow {
        asset_id: AssetId,
    }
    let query = vec![("event_id", format!("eq.{event}")), ("select", "asset_id".into()), ("limit", "1".into())];
    let request = CatalogRequest { what: "find an event's asset", path: "assets", query, ..CatalogRequest::default() };
    let rows: Vec<EventAssetRow> = client.read(request).await?;
    Ok(rows.into_iter().next().map(|row| row.asset_id))
}

pub(super) async fn latest_outcomes(
    client: &PostgrestClient,
    cursor: Option<&str>,
    limit: usize,
) -> Result<CursorPage<JobOutcome>> {
    let after = cursor.map(file_of_cursor).transpose()?;
    let start =
        json!({ "tenant": after.as_ref().map(|(tenant, _)| tenant), "path": after.as_ref().map(|(_, path)| path) });
    let found = outcomes(client, ("list files' latest outcomes", "rpc/latest_outcomes"), start, limit).await?;
    Ok(page(found, limit.clamp(1, MAX_PAGE), |row| format!("{}/{}", row.tenant, row.path)))
}

pub(super) async fn job_outcomes(
    client: &PostgrestClient,
    job: JobId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<CursorPage<JobOutcome>> {
    let start = json!({ "job_id": job, "path": cursor });
    let found = outcomes(client, ("list a job's outcomes", "rpc/outcomes_of_job"), start, limit).await?;
    Ok(page(found, limit.clamp(1, MAX_PAGE), |row| row.path.to_string()))
}

/// One step of a scan over outcomes.
#[derive(Debug, Deserialize)]
struct OutcomeScanStep {
    outcomes: Vec<OutcomeRow>,
    /// Whether there are rows after these.
    more: bool,
}

/// The outcomes of a page, and the first of the next page if there is one.
async fn outcomes(
    client: &PostgrestClient,
    (what, function): (&'static str, &str),
    mut request: Value,
    limit: usize,
) -> Result<Vec<JobOutcome>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found: Vec<JobOutcome> = Vec::new();
    while found.len() <= limit {
        request["wanted"] = json!((limit + 1 - found.len()).min(MAX_ROWS_PER_REQUEST));
        let scan: OutcomeScanStep = client.call(what, function, rows::json(&request)?).await?;
        let more = scan.more && !scan.outcomes.is_empty();
        found.extend(scan.outcomes.into_iter().map(JobOutcome::from));
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

pub(super) async fn summary(client: &PostgrestClient) -> Result<CatalogSummary> {
    #[derive(Deserialize)]
    struct SummaryRow {
        state: AssetState,
        dead_lettered: bool,
        assets: u64,
        bytes: u64,
    }
    let request = CatalogRequest {
        what: "count assets",
        method: Method::POST,
        path: "rpc/summary",
        body: Some("{}".into()),
        ..CatalogRequest::default()
    };
    let rows: Vec<SummaryRow> = client.read(request).await?;
    let by_state: BTreeMap<String, u64> = AssetState::ALL.iter().map(|state| (state.to_string(), 0)).collect();
    let mut summary = CatalogSummary { by_state, ..CatalogSummary::default() };
    for row in rows {
        summary.assets += row.assets;
        summary.bytes += row.bytes;
        if row.dead_lettered {
            summary.dead_lettered += row.assets;
            *summary.dead_lettered_by_state.entry(row.state.to_string()).or_default() += row.assets;
        }
        *summary.by_state.entry(row.state.to_string()).or_default() += row.assets;
    }
    Ok(summary)
}

pub(super) async fn unread(client: &PostgrestClient) -> Result<Vec<UnreadCount>> {
    #[derive(Deserialize)]
    struct UnreadRow {
        reason: Option<String>,
        assets: u64,
    }
    let request = CatalogRequest {
        what: "count unread assets",
        method: Method::POST,
        path: "rpc/unread",
        body: Some("{}".into()),
        ..CatalogRequest::default()
    };
    let rows: Vec<UnreadRow> = client.read(request).await?;
    let count =
        |row: UnreadRow| UnreadCount { reason: row.reason.unwrap_or_else(|| NO_REASON.to_owned()), assets: row.assets };
    let mut counts: Vec<UnreadCount> = rows.into_iter().map(count).collect();
    counts.sort_by(|one, other| other.assets.cmp(&one.assets).then_with(|| one.reason.cmp(&other.reason)));
    Ok(counts)
}

/// A page of `limit` rows; a row beyond it means that there is a next page.
pub(super) fn page<T>(mut rows: Vec<T>, limit: usize, cursor_of: impl FnOnce(&T) -> String) -> CursorPage<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor_of);
    CursorPage { items: rows, next }
}

/// A tenant contains no slash, so the first one separates it from the path.
fn file_of_cursor(cursor: &str) -> Result<(Tenant, SourcePath)> {
    let parts = cursor.split_once('/').and_then(|(tenant, path)| Some((Tenant::new(tenant).ok()?, path)));
    let (tenant, path) = parts.ok_or_else(|| bad_cursor(cursor))?;
    Ok((tenant, SourcePath::from_text(path)))
}

pub(super) fn bad_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(80).collect();
    Error::new(ErrorKind::Invalid, format!("{shown:?} is not a cursor of this list"))
        .hint("omit the cursor to start from the beginning")
}
