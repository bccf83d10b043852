//! Retention. On the embedded profile: records older than their topic's retention, and staged objects that are no longer
//! needed. In a cluster the log and the store do that themselves; there, incomplete multipart uploads are aborted, which not
//! every store does itself.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{AssetState, EventId, ObjectKey, ObjectRef, Timestamp};
use mfctl_core::ports::{Ports, Result, RetentionReport};

/// Objects per page.
const PAGE: usize = 1000;

/// Summary of a retention run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RetentionSummary {
    /// Records removed per topic.
    #[serde(flatten)]
    pub records: RetentionReport,
    /// Number of expired staged objects that were deleted.
    pub staged_objects: u64,
    /// Number of expired staged objects that an asset still needs and that were kept.
    pub kept_for_assets: u64,
    /// Number of incomplete uploads that were aborted.
    pub abandoned_uploads: u64,
}

/// Age of an incomplete upload at which it is aborted; a killed ingest resumes younger ones.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Removes everything that has expired at `now`.
///
/// # Errors
/// Errors of the ports; earlier removals are not undone.
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

/// Whether an asset in state `staged` has its only bytes in this object: an unresolved dead letter of persist, or a lag of
/// half a year.
async fn is_needed(ports: &Ports, at: &ObjectRef) -> Result<bool> {
    let event = at.key.as_str().rsplit('/').next().and_then(|name| name.parse::<EventId>().ok());
    let Some(event) = event else { return Ok(false) };
    let Some(asset) = ports.catalog.asset_of_event(event).await? else { return Ok(false) };
    let asset = ports.catalog.assets(&[asset]).await?.pop();
    Ok(asset.is_some_and(|asset| asset.state == AssetState::Staged && asset.staging == *at))
}
