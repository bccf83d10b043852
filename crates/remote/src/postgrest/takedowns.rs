//! Takedowns of assets, and their lifts.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::PostgrestClient;
use super::rows;
use super::writes::call_for_each;
use mfctl_core::domain::{AssetId, Revision};
use mfctl_core::ports::{ErrorKind, Result, Takedown, TakedownRequest};

/// The most assets of one request.
const MAX_ASSETS_PER_REQUEST: usize = 1_000;

pub(super) async fn revoke(client: &PostgrestClient, requests: &[TakedownRequest]) -> Result<Vec<Option<Takedown>>> {
    let mut found: HashMap<(AssetId, Revision), Takedown> = HashMap::new();
    for array in request_arrays(requests)? {
        let body = format!("{{\"rows\":{array}}}");
        let takedowns: Vec<Takedown> = client.call("take assets down", "rpc/take_down", body).await?;
        found.extend(takedowns.into_iter().map(|takedown| ((takedown.asset_id, takedown.revision), takedown)));
    }
    Ok(requests.iter().map(|request| found.get(&(request.asset_id, request.revision)).cloned()).collect())
}

pub(super) async fn complete(client: &PostgrestClient, takedowns: &[(AssetId, Revision)], at: Timestamp) -> Result<()> {
    let rows = takedowns.iter().map(|(asset, revision)| json!({ "asset_id": asset, "revision": revision }));
    let at = rows::json(&rows::time(at))?;
    for array in rows::arrays(rows)? {
        let body = format!("{{\"rows\":{array},\"at\":{at}}}");
        let _: IgnoredAny = client.call("complete takedowns", "rpc/complete_takedowns", body).await?;
    }
    Ok(())
}

pub(super) async fn lift(client: &PostgrestClient, requests: &[TakedownRequest]) -> Result<()> {
    call_for_each(client, "lift takedowns", "rpc/lift", request_arrays(requests)?).await
}

/// See [`mfctl_core::ports::Catalog::takedowns`].
pub(super) async fn latest(client: &PostgrestClient, assets: &[AssetId]) -> Result<Vec<Takedown>> {
    let mut found: Vec<Takedown> = Vec::new();
    for assets in assets.chunks(MAX_ASSETS_PER_REQUEST) {
        let body = rows::json(&json!({ "assets": assets }))?;
        match client.call::<Vec<Takedown>>("read takedowns", "rpc/latest_takedowns", body).await {
            Ok(takedowns) => found.extend(takedowns),
            // Nothing was taken down before the migration.
            Err(error) if error.kind() == ErrorKind::Unprepared => break,
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|takedown| takedown.asset_id);
    found.dedup_by_key(|takedown| takedown.asset_id);
    Ok(found)
}

/// Of several requests for one asset and revision, only the last one is sent.
fn request_arrays(requests: &[TakedownRequest]) -> Result<Vec<String>> {
    let last: HashMap<(AssetId, Revision), &TakedownRequest> =
        requests.iter().map(|request| ((request.asset_id, request.revision), request)).collect();
    rows::arrays(last.into_values().map(|TakedownRequest { asset_id, revision, reason, actor, at, purge }| {
        json!({
            "asset_id": asset_id, "revision": revision, "reason": reason, "actor": actor, "at": rows::time(*at),
            "purge": purge,
        })
    }))
}
