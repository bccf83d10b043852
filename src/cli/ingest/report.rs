//! The closing word of an ingest: its numbers, and every file that was not taken.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Format, Item, Page, Render, Tone, humane};
use crate::pipeline::ingest::IngestOutcome;
use mfctl_core::domain::JobId;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileStep, JournalFile, RefusalKind};
use mfctl_core::ports::JobFilter;

const PAGE: usize = 1000;

/// What `mfctl ingest` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IngestReport {
    /// The job.
    pub job_id: JobId,
    /// Files found: staged, deduplicated, rejected and failed together, once the job is finished.
    pub discovered: u64,
    /// Files whose bytes were staged.
    pub staged: u64,
    /// Files whose bytes were there already.
    pub deduplicated: u64,
    /// Events acknowledged.
    pub published: u64,
    /// Files that cannot be taken as they are.
    pub rejected: u64,
    /// Files that may be taken when tried again.
    pub failed: u64,
    /// Bytes of all files that were read.
    pub bytes: u64,
    /// How long this run took.
    pub elapsed_seconds: f64,
    /// Files this run settled, each second.
    pub files_per_second: f64,
    /// Every file that was not taken.
    pub failures: Vec<FailureRow>,
}

/// A file that was not taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FailureRow {
    /// The file.
    pub path: SourcePath,
    /// Why, for people.
    pub reason: String,
    /// Why, for scripts.
    pub kind: Option<RefusalKind>,
    #[serde(skip)]
    failed: bool,
}

impl FailureRow {
    /// The row of a file of the journal.
    #[must_use]
    pub fn of(file: JournalFile) -> Self {
        let (kind, reason) = match file.refusal {
            Some(refusal) => (Some(refusal.kind), refusal.reason),
            None => (None, "no reason was kept".to_owned()),
        };
        Self { path: file.path, reason, kind, failed: file.step == FileStep::Failed }
    }
}

impl Item for FailureRow {
    const COLUMNS: &'static [Column] =
        &[Column::left("OUTCOME"), Column::left("KIND"), Column::left("PATH"), Column::left("REASON")];

    fn cells(&self) -> Vec<Cell> {
        let outcome =
            if self.failed { Cell::new("failed").tone(Tone::Bad) } else { Cell::new("rejected").tone(Tone::Warn) };
        vec![outcome, Cell::maybe(self.kind), Cell::new(self.path.as_str()), Cell::new(self.reason.as_str())]
    }

    fn name(&self) -> String {
        self.path.to_string()
    }
}

/// The report without its list, which is streamed.
#[derive(Debug, Serialize)]
struct Summary {
    job_id: JobId,
    discovered: u64,
    staged: u64,
    deduplicated: u64,
    published: u64,
    rejected: u64,
    failed: u64,
    bytes: u64,
    elapsed_seconds: f64,
    files_per_second: f64,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    fn of(outcome: &IngestOutcome) -> Self {
        let counts = &outcome.counts;
        let seconds = outcome.elapsed.as_secs_f64();
        Self {
            job_id: outcome.job_id,
            discovered: counts.discovered,
            staged: counts.staged,
            deduplicated: counts.deduplicated,
            published: counts.published + outcome.republished,
            rejected: counts.rejected,
            failed: counts.failed,
            bytes: counts.bytes,
            elapsed_seconds: (seconds * 1000.0).round() / 1000.0,
            files_per_second: (outcome.settled as f64 / seconds.max(0.001) * 10.0).round() / 10.0,
        }
    }
}

impl Render for Summary {
    fn page(&self, page: &mut Page) {
        let count = |number: u64| Cell::new(humane::count(number));
        let bad = |number: u64, tone| if number > 0 { count(number).tone(tone) } else { count(number) };
        page.field("job", self.job_id.to_string());
        page.field("discovered", count(self.discovered));
        page.field("staged", count(self.staged));
        page.field("deduplicated", count(self.deduplicated));
        page.field("published", count(self.published));
        page.field("rejected", bad(self.rejected, Tone::Warn));
        page.field("failed", bad(self.failed, Tone::Bad));
        page.field("bytes", humane::bytes(self.bytes));
        let took = humane::duration(std::time::Duration::from_secs_f64(self.elapsed_seconds));
        page.field("took", format!("{took}, {} files", humane::rate(self.files_per_second)));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.job_id.to_string()])
    }
}

/// Prints the numbers and streams the list of files that were not taken.
pub(super) async fn print(cx: &Context, connected: &Connected, outcome: &IngestOutcome) -> Result<()> {
    let summary = Summary::of(outcome);
    let out = cx.out();
    match out.options().format {
        Format::Json | Format::Yaml => {
            let mut list = out.list::<FailureRow>("failures");
            failures(connected, outcome.job_id, |row| list.push(&row)).await?;
            list.finish_with(&summary)
        }
        Format::Name => out.print(&summary),
        Format::Table | Format::Jsonl => {
            out.print(&summary)?;
            if summary.rejected + summary.failed == 0 {
                return Ok(());
            }
            let mut list = out.list::<FailureRow>("failures");
            failures(connected, outcome.job_id, |row| list.push(&row)).await?;
            list.finish()
        }
    }
}

/// Hands over every file of a job that was not taken, page by page.
pub(in crate::cli) async fn failures(
    connected: &Connected,
    job: JobId,
    mut each: impl FnMut(FailureRow) -> Result<()>,
) -> Result<()> {
    let filter = JobFilter { steps: vec![FileStep::Rejected, FileStep::Failed] };
    let mut cursor: Option<String> = None;
    loop {
        let page = connected.ports.journal.files(job, &filter, cursor.as_deref(), PAGE).await?;
        page.items.into_iter().map(FailureRow::of).try_for_each(&mut each)?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
