//! A job of any host in the list of a cluster's jobs.

use serde::Serialize;

use super::elsewhere::{JobElsewhere, lease_text};
use super::own_row::{JobListRow, status_label};
use crate::cli::context::Connected;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::ops::jobs::KnownJob;
use mfctl_core::domain::job_lease::StoredLease;

/// A job of this host, or of another one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum PlatformJobRow {
    Own {
        #[serde(flatten)]
        row: Box<JobListRow>,
        /// Its lease in the catalog, or the last one that it had; `null` if it is not known.
        lease: Option<StoredLease>,
    },
    Elsewhere(Box<JobElsewhere>),
}

impl PlatformJobRow {
    /// Reads the counts of a job, unless only its id is printed.
    pub(super) async fn read(connected: &Connected, job: KnownJob, only_name: bool) -> Result<Self> {
        Ok(match job {
            KnownJob::Own(job, lease) => {
                Self::Own { row: Box::new(JobListRow::read(connected, *job, only_name).await?), lease }
            }
            KnownJob::Elsewhere(job) => {
                Self::Elsewhere(Box::new(JobElsewhere::read(connected, *job, only_name).await?))
            }
        })
    }
}

impl ListItem for PlatformJobRow {
    const COLUMNS: &'static [Column] = &[
        Column::whole("JOB"),
        Column::whole("STATUS"),
        Column::text("HOST").rank(1),
        Column::whole("LEASE").rank(4),
        Column::whole("STARTED").rank(6),
        Column::number("FILES").rank(2),
        Column::number("ACCEPTED").rank(3),
        Column::number("REJECTED").rank(3),
        Column::number("FAILED"),
        Column::number("SIZE").rank(5),
    ];

    fn cells(&self) -> Vec<Cell> {
        let toned_count = |count: u64, tone| {
            let cell = Cell::new(humane::count(count));
            if count > 0 { cell.tone(tone) } else { cell }
        };
        match self {
            Self::Own { row, lease } => {
                let (text, tone) = status_label(row.job.status, row.active);
                let lease =
                    lease.as_ref().map_or_else(|| Cell::maybe(None::<&str>), |lease| lease_text(Some(lease)).into());
                vec![
                    Cell::new(row.job.job_id.to_string()),
                    Cell::new(text).tone(tone),
                    Cell::new(row.job.host.as_str()),
                    lease,
                    Cell::new(humane::time(row.job.started_at)),
                    Cell::new(humane::count(row.counts.discovered)),
                    Cell::new(humane::count(row.counts.published + row.counts.deduplicated)),
                    toned_count(row.counts.rejected, Tone::Warn),
                    toned_count(row.counts.failed, Tone::Bad),
                    Cell::new(humane::bytes(row.counts.bytes)),
                ]
            }
            Self::Elsewhere(job) => {
                let (text, tone) = job.status_label();
                vec![
                    Cell::new(job.job_id.to_string()),
                    Cell::new(text).tone(tone),
                    Cell::new(job.host_text()),
                    Cell::new(lease_text(job.lease.as_ref())),
                    Cell::new(humane::time(job.started_at)),
                    Cell::new(job.discovered.map_or_else(|| "unknown".to_owned(), humane::count)),
                    Cell::new(humane::count(job.accepted)),
                    toned_count(job.rejected, Tone::Warn),
                    toned_count(job.failed, Tone::Bad),
                    Cell::new(humane::bytes(job.bytes)),
                ]
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Own { row, .. } => row.job.job_id.to_string(),
            Self::Elsewhere(job) => job.job_id.to_string(),
        }
    }
}
