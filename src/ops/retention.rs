//! What time removes. On the embedded profile: records older than their topic keeps them, and staged objects nobody needs
//! any more. In a cluster the log and the store do that by themselves; there, uploads that were never finished, which not
//! every store gives up by itself.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{AssetState, EventId, ObjectKey, ObjectRef, Timestamp};
use mfctl_core::ports::{Ports, Result, RetentionReport};

const PAGE: usize = 1000;

/// What a run removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RetentionSummary {
    /// Records by topic.
    #[serde(flatten)]
    pub records: RetentionReport,
    /// Staged objects past their time.
    pub staged_objects: u64,
    /// Staged objects past their time that an asset still needs: they stay.
    pub kept_for_assets: u64,
    /// Uploads that were begun long ago and never finished.
    pub abandoned_uploads: u64,
}

/// A killed ingest goes on with an upload that is younger.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Removes what is past its time at `now`.
///
/// # Errors
/// Those of the ports; what was removed until then stays removed.
pub async fn run(ports: &Ports, buckets: &Buckets, staging_kept: Duration, now: Timestamp) -> Result<RetentionSummary> {
    let mut removed = RetentionSummary { records: ports.log.run_retention(now).await?, ..RetentionSummary::default() };
    if let Some(admin) = &ports.buckets {
        let begun_before = now.checked_sub(ABANDONED_AFTER).unwrap_or(Timestamp::MIN);
        for bucket in buckets.all() {
            removed.abandoned_uploads += admin.abort_unfinished(bucket, begun_before).await?.len() as u64;
        }
        return Ok(removed);
    }
    let limit = now.checked_sub(staging_kept).unwrap_or(Timestamp::MIN);
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = ports.objects.list(&buckets.staging, "", after.as_ref(), PAGE).await?.objects;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(last.key.clone());
        let mut past = Vec::new();
        for object in page.iter().filter(|object| object.modified_at < limit) {
            let at = ObjectRef { bucket: buckets.staging.clone(), key: object.key.clone() };
            if is_needed(ports, &at).await? {
                removed.kept_for_assets += 1;
            } else {
                past.push(at);
            }
        }
        removed.staged_objects += past.len() as u64;
        ports.objects.delete(&past).await?;
    }
}

/// Whether an asset that never got further than `staged` has its only bytes here: an unresolved dead letter of persist,
/// or a lag of half a year.
async fn is_needed(ports: &Ports, at: &ObjectRef) -> Result<bool> {
    let event = at.key.as_str().rsplit('/').next().and_then(|name| name.parse::<EventId>().ok());
    let Some(event) = event else { return Ok(false) };
    let Some(asset) = ports.catalog.asset_of_event(event).await? else { return Ok(false) };
    let asset = ports.catalog.assets(&[asset]).await?.pop();
    Ok(asset.is_some_and(|asset| asset.state == AssetState::Staged && asset.staging == *at))
}
