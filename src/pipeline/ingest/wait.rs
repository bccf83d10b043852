//! Waits until a job's assets have reached a state.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mfctl_core::domain::{AssetId, AssetState, JobId};
use mfctl_core::ports::{Catalog, Result};
use mfctl_core::stop::{Stop, StopReason};
use mfctl_core::wait::{Backoff, wait_until};

/// Outcomes of a page.
const PAGE: usize = 512;
/// How often the catalog is asked.
const POLL: Backoff = Backoff::constant(Duration::from_millis(250));

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssetWaitOutcome {
    /// Files whose asset reached the state, or was taken down.
    pub arrived: u64,
    /// Files whose asset is dead-lettered.
    pub dead_lettered: u64,
    /// Whether every file is one or the other.
    pub complete: bool,
    /// The stop request that ended the wait.
    pub stopped: Option<StopReason>,
}

/// Files of a page that have reached the state or are dead-lettered.
#[derive(Debug, Clone, Copy, Default)]
struct PageCounts {
    arrived: u64,
    dead_lettered: u64,
}

impl PageCounts {
    fn settled(self) -> u64 {
        self.arrived + self.dead_lettered
    }
}

/// Waits for `timeout` at most, page by page of the job's outcomes. `on_progress` receives how many files have reached
/// the state or are dead-lettered.
///
/// # Errors
/// Errors of the catalog.
pub async fn wait_for_state(
    catalog: &dyn Catalog,
    job: JobId,
    state: AssetState,
    timeout: Duration,
    stop: &Stop,
    on_progress: impl Fn(u64),
) -> Result<AssetWaitOutcome> {
    let deadline = deadline_after(timeout);
    let mut outcome = AssetWaitOutcome::default();
    let mut cursor: Option<String> = None;
    loop {
        let page = catalog.job_outcomes(job, cursor.as_deref(), PAGE).await?;
        let ids: Vec<_> = page.items.iter().filter_map(|outcome| outcome.asset_id).collect();
        let before = outcome.arrived + outcome.dead_lettered;
        let counts = wait_until(deadline, POLL, || async {
            let counts = match count(catalog, &ids, state).await {
                Ok(counts) => counts,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            on_progress(before + counts.settled());
            if counts.settled() >= ids.len() as u64 || stop.requested().is_some() {
                return ControlFlow::Break(Ok(counts));
            }
            ControlFlow::Continue(counts)
        });
        let counts = counts.await.unwrap_or_else(Ok)?;
        outcome.arrived += counts.arrived;
        outcome.dead_lettered += counts.dead_lettered;
        outcome.stopped = stop.requested();
        if counts.settled() < ids.len() as u64 {
            return Ok(outcome);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(AssetWaitOutcome { complete: true, ..outcome });
        }
    }
}

/// A timeout that no clock can represent is 136 years.
fn deadline_after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

async fn count(catalog: &dyn Catalog, ids: &[AssetId], state: AssetState) -> Result<PageCounts> {
    let assets = catalog.assets(ids).await?;
    let assets: HashMap<_, _> = assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
    let mut counts = PageCounts::default();
    // Several files may have the same asset: each of them counts.
    for asset in ids.iter().filter_map(|id| assets.get(id)) {
        if asset.state >= state {
            counts.arrived += 1;
        } else if asset.dead_lettered.is_some() {
            counts.dead_lettered += 1;
        }
    }
    Ok(counts)
}
