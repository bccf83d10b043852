//! `mfctl jobs list`: lists the ingest jobs of this host, latest first.

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::ops::owed::{self, OwedState, OwedWork};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::job::{Job, JobCounts, JobStatus};

/// Arguments of `mfctl jobs list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs list
  mfctl jobs list --limit 5 -o json
  mfctl jobs list -o name | head -1         the latest job

A note says what the pipeline still has to do: staged files are safe, but not searchable before they are enriched.

Exit codes: 0 listed, 2 wrong usage, 5 journal not reachable, 6 no data folder")]
pub struct Args {
    /// Maximum number of jobs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Continue from the cursor that an earlier list printed
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    nul_names: NulNames,
}

/// A job with its counts.
#[derive(Debug, Serialize)]
struct JobListRow {
    #[serde(flatten)]
    job: Job,
    #[serde(flatten)]
    counts: JobCounts,
    /// Whether a process is running it now.
    active: bool,
}

/// The fields after the list of jobs in a document.
#[derive(Debug, Serialize)]
struct JobListTrailer {
    /// For `--cursor`; none after the last page.
    next_cursor: Option<String>,
    /// What the pipeline still has to do, of all jobs.
    owed: OwedWork,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let journal = connected.ports.journal.as_ref();
    let page = journal.jobs(args.cursor.as_deref(), args.limit.max(1)).await?;
    let mut rows = cx.out().list::<JobListRow>("jobs");
    for job in page.items {
        if cx.out().prints_only_names() {
            rows.push(&JobListRow { job, counts: JobCounts::default(), active: false })?;
            continue;
        }
        let counts = journal.counts(job.job_id).await?;
        let active = job.status == JobStatus::Running && journal.is_leased(job.job_id).await?;
        rows.push(&JobListRow { job, counts, active })?;
    }
    let shown = rows.count();
    let owed = owed::read(connected.ports.log.as_ref(), &connected.target.environment).await;
    let note = (owed.state != OwedState::Nothing).then(|| format!("pipeline: {}", owed.summary));
    rows.finish_with(&JobListTrailer { next_cursor: page.next.clone(), owed })?;
    if let Some(note) = note {
        cx.out().note(note);
    }
    if let Some(cursor) = page.next {
        cx.out().note(format!("{} shown; more with --cursor {cursor}", humane::counted(shown, "job", "jobs")));
    }
    Ok(())
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
