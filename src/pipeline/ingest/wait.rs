//! Waits until a job's assets have come as far as somebody wants.

use std::time::{Duration, Instant};

use mfctl_core::domain::{AssetState, JobId};
use mfctl_core::ports::{Catalog, Result};
use mfctl_core::stop::{Stop, StopReason};

const PAGE: usize = 512;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waited {
    /// Files whose asset has come that far, or was taken down.
    pub arrived: u64,
    /// Files whose asset is dead-lettered.
    pub dead_lettered: u64,
    /// Whether all are one or the other.
    pub complete: bool,
    /// The wish to stop that ended it.
    pub stopped: Option<StopReason>,
}

/// Waits, page by page of the job's outcomes. `told` hears how many files have been seen to their end.
///
/// # Errors
/// Those of the catalog.
pub async fn wait_for(
    catalog: &dyn Catalog,
    job: JobId,
    state: AssetState,
    at_most: Duration,
    stop: &Stop,
    mut told: impl FnMut(u64),
) -> Result<Waited> {
    let began = Instant::now();
    let mut waited = Waited::default();
    let mut cursor: Option<String> = None;
    loop {
        let page = catalog.job_outcomes(job, cursor.as_deref(), PAGE).await?;
        let ids: Vec<_> = page.items.iter().filter_map(|outcome| outcome.asset_id).collect();
        loop {
            let assets = catalog.assets(&ids).await?;
            let there: std::collections::HashMap<_, _> =
                assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
            let (mut arrived, mut dead) = (0, 0);
            for asset in ids.iter().filter_map(|id| there.get(id)) {
                if asset.state >= state {
                    arrived += 1;
                } else if asset.dead_lettered.is_some() {
                    dead += 1;
                }
            }
            told(waited.arrived + waited.dead_lettered + arrived + dead);
            if arrived + dead >= ids.len() as u64 || began.elapsed() >= at_most || stop.requested().is_some() {
                waited.arrived += arrived;
                waited.dead_lettered += dead;
                waited.stopped = stop.requested();
                if arrived + dead < ids.len() as u64 {
                    return Ok(waited);
                }
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait() => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Waited { complete: true, ..waited });
        }
    }
}
