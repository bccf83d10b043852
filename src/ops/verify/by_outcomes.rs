//! Verifies a job of another host by the outcomes that it reported: that what was ingested is stored. Its sources are
//! not compared, so nothing is known to be safe to delete.

use super::stored::{Problem, StoredCheck};
use super::{PAGE, VerifyProblem};
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::{FileOutcome, JobOutcome};
use mfctl_core::domain::names::Buckets;
use mfctl_core::ports::{Ports, Result};

/// The result of a verification by outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredReport {
    /// Files that were reported.
    pub files: u64,
    /// Of these, those whose row, object and event are there.
    pub stored: u64,
    /// Of these, those whose event was removed from the log by retention and that are otherwise stored.
    pub unverifiable: u64,
    /// Of these, those that were not ingested or are not stored.
    pub problems: u64,
}

/// Verifies the reported files of a job. `found` receives each problem, `progress` the number of files verified so far.
///
/// # Errors
/// Errors of the ports.
pub async fn verify_outcomes(
    ports: &Ports,
    buckets: &Buckets,
    job: JobId,
    mut found: impl FnMut(VerifyProblem),
    mut progress: impl FnMut(u64),
) -> Result<StoredReport> {
    let mut total = StoredReport::default();
    let mut check = StoredCheck::new(ports, buckets);
    let mut cursor: Option<String> = None;
    loop {
        let page = ports.catalog.job_outcomes(job, cursor.as_deref(), PAGE).await?;
        check.load(page.items.iter().filter_map(|outcome| outcome.asset_id).collect()).await?;
        for outcome in page.items {
            total.files += 1;
            match is_stored(&mut check, &outcome).await? {
                Ok(has_event) => *if has_event { &mut total.stored } else { &mut total.unverifiable } += 1,
                Err((kind, reason)) => {
                    total.problems += 1;
                    found(VerifyProblem { path: outcome.path, kind, reason });
                }
            }
            progress(total.files);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(total);
        }
    }
}

/// Whether the file's event is in the log; not, if retention removed it.
async fn is_stored(check: &mut StoredCheck<'_>, outcome: &JobOutcome) -> Result<std::result::Result<bool, Problem>> {
    if outcome.outcome != FileOutcome::Accepted {
        let why = outcome.refusal.as_ref().map_or("no reason was recorded", |refusal| refusal.reason.as_str());
        return Ok(Err(("not_taken", format!("{}: {why}", outcome.outcome))));
    }
    let asset = match check.asset(outcome.asset_id) {
        Ok(asset) => asset,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(match check.object(&asset).await? {
        Ok(()) => check.event(&asset),
        Err(problem) => Err(problem),
    })
}
