//! A job of this host in the list of jobs.

use serde::Serialize;

use crate::cli::context::Connected;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use mfctl_core::domain::job::{Job, JobCounts, JobStatus};

/// A job with its counts.
#[derive(Debug, Serialize)]
pub(super) struct JobListRow {
    #[serde(flatten)]
    pub(super) job: Job,
    #[serde(flatten)]
    pub(super) counts: JobCounts,
    /// Whether a process is running it now.
    pub(super) active: bool,
}

impl JobListRow {
    /// Reads the counts of a job of this host, unless only its id is printed.
    pub(super) async fn read(connected: &Connected, job: Job, only_name: bool) -> Result<Self> {
        if only_name {
            return Ok(Self { job, counts: JobCounts::default(), active: false });
        }
        let journal = connected.ports.journal.as_ref();
        let counts = journal.counts(job.job_id).await?;
        let active = job.status == JobStatus::Running && journal.is_leased(job.job_id).await?;
        Ok(Self { job, counts, active })
    }
}

/// The label and tone of a job's status. A job that the journal records as running, without a process that holds its
/// lease, has died.
pub(super) fn status_label(status: JobStatus, active: bool) -> (&'static str, Tone) {
    match (status, active) {
        (JobStatus::Running, true) => ("running", Tone::Good),
        (JobStatus::Running, false) => ("died", Tone::Bad),
        (JobStatus::Interrupted, _) => ("interrupted", Tone::Warn),
        (JobStatus::Finished, _) => ("finished", Tone::Plain),
    }
}

impl ListItem for JobListRow {
    const COLUMNS: &'static [Column] = &[
        Column::whole("JOB"),
        Column::whole("STATUS"),
        Column::whole("STARTED").rank(6),
        Column::number("FILES").rank(1),
        Column::number("STAGED").rank(3),
        Column::number("DUPLICATES").rank(4),
        Column::number("REJECTED").rank(2),
        Column::number("FAILED"),
        Column::number("SIZE").rank(5),
    ];

    fn cells(&self) -> Vec<Cell> {
        let (text, tone) = status_label(self.job.status, self.active);
        let toned_count = |count: u64, tone| {
            let cell = Cell::new(humane::count(count));
            if count > 0 { cell.tone(tone) } else { cell }
        };
        vec![
            Cell::new(self.job.job_id.to_string()),
            Cell::new(text).tone(tone),
            Cell::new(humane::time(self.job.started_at)),
            Cell::new(humane::count(self.counts.discovered)),
            Cell::new(humane::count(self.counts.staged)),
            Cell::new(humane::count(self.counts.deduplicated)),
            toned_count(self.counts.rejected, Tone::Warn),
            toned_count(self.counts.failed, Tone::Bad),
            Cell::new(humane::bytes(self.counts.bytes)),
        ]
    }

    const WIDE_COLUMNS: &'static [Column] = &[
        Column::number("PUBLISHED").rank(9),
        Column::whole("CHANGED").rank(9),
        Column::text("BY").rank(9),
        Column::text("HOST").rank(9),
    ];

    fn wide_cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(humane::count(self.counts.published)),
            Cell::new(humane::time(self.job.updated_at)),
            Cell::new(self.job.actor.as_str()),
            Cell::new(self.job.host.as_str()),
        ]
    }

    fn name(&self) -> String {
        self.job.job_id.to_string()
    }
}
