//! The report of an ingest: its counts, and every file that was rejected or failed.

use std::os::unix::ffi::OsStringExt as _;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Format, ListItem, Render, TextPage, Tone, humane};
use crate::pipeline::ingest::{IngestOutcome, RuleCount};
use mfctl_core::domain::JobId;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileOutcome, FileStep, JobInput, JobOutcome, JournalFile, RefusalKind};
use mfctl_core::ports::JobFilter;

/// The reason of a refusal without one.
const NO_REASON: &str = "no reason was recorded";
/// Files per journal query.
const PAGE_SIZE: usize = 1000;
/// Outcomes per query of the catalog.
const REPORTED_PER_REQUEST: usize = 512;

/// The output of `mfctl ingest`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IngestReport {
    /// The job.
    pub job_id: JobId,
    /// Files found. Of a finished job, the sum of staged, deduplicated, rejected and failed.
    pub discovered: u64,
    /// Files whose bytes were staged.
    pub staged: u64,
    /// Files whose bytes were stored already.
    pub deduplicated: u64,
    /// Files whose event the log acknowledged, earlier runs of the job included.
    pub published: u64,
    /// Events that this run sent again, of bytes that another file had staged and no worker had ingested yet.
    pub republished: u64,
    /// Files that cannot be ingested as they are.
    pub rejected: u64,
    /// Files that failed and can be retried.
    pub failed: u64,
    /// Files that were found and have none of these outcomes yet, because the job was interrupted.
    pub not_done: u64,
    /// Bytes of all files that were read.
    pub bytes: u64,
    /// How long this run took.
    pub elapsed_seconds: f64,
    /// Files whose outcome this run recorded, per second.
    pub files_per_second: f64,
    /// What each rule left out, the most effective rule first; no more than 1,000 rules.
    pub left_out: Vec<RuleCount>,
    /// Files and folders that further rules left out.
    pub left_out_by_other_rules: u64,
    /// Entries of its list and rows of its manifest that were read, empty ones aside; `null` for a job without either.
    pub entries_read: Option<u64>,
    /// The parts of its list and manifest, and how far each was read.
    pub inputs: Vec<JobInput>,
    /// Every file that was rejected or failed.
    pub failures: Vec<FailureRow>,
}

/// A file that was rejected or failed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FailureRow {
    /// The file's path.
    pub path: SourcePath,
    /// The reason, for people.
    pub reason: String,
    /// The reason, for scripts.
    pub kind: Option<RefusalKind>,
    #[serde(skip)]
    failed: bool,
}

impl FailureRow {
    /// A refused file of the journal, with the reason recorded there.
    #[must_use]
    pub fn from_journal(file: JournalFile) -> Self {
        let (kind, reason) = match file.refusal {
            Some(refusal) => (Some(refusal.kind), refusal.reason),
            None => (None, NO_REASON.to_owned()),
        };
        Self { path: file.path, reason, kind, failed: file.step == FileStep::Failed }
    }

    /// A refused file by its outcome; `None` for one that was ingested.
    fn from_outcome(outcome: JobOutcome) -> Option<Self> {
        let failed = match outcome.outcome {
            FileOutcome::Accepted => return None,
            FileOutcome::Rejected => false,
            FileOutcome::Failed => true,
        };
        let (kind, reason) = match outcome.refusal {
            Some(refusal) => (Some(refusal.kind), refusal.reason),
            None => (None, NO_REASON.to_owned()),
        };
        Some(Self { path: outcome.path, reason, kind, failed })
    }
}

impl ListItem for FailureRow {
    const COLUMNS: &'static [Column] =
        &[Column::whole("OUTCOME"), Column::whole("KIND"), Column::path("PATH"), Column::text("REASON")];

    fn cells(&self) -> Vec<Cell> {
        let outcome =
            if self.failed { Cell::new("failed").tone(Tone::Bad) } else { Cell::new("rejected").tone(Tone::Warn) };
        vec![outcome, Cell::maybe(self.kind), Cell::new(self.path.as_str()), Cell::new(self.reason.as_str())]
    }

    fn name(&self) -> String {
        self.path.to_string()
    }

    fn name_bytes(&self) -> Vec<u8> {
        self.path.to_path().into_os_string().into_vec()
    }
}

/// [`IngestReport`] without `failures`, which are streamed as a list.
#[derive(Debug, Serialize)]
struct IngestTotals {
    job_id: JobId,
    discovered: u64,
    staged: u64,
    deduplicated: u64,
    published: u64,
    republished: u64,
    rejected: u64,
    failed: u64,
    not_done: u64,
    bytes: u64,
    elapsed_seconds: f64,
    files_per_second: f64,
    left_out: Vec<RuleCount>,
    left_out_by_other_rules: u64,
    entries_read: Option<u64>,
    inputs: Vec<JobInput>,
}

/// The number of entries in all parts; `None` if there are none.
pub(super) fn entries_read(inputs: &[JobInput]) -> Option<u64> {
    (!inputs.is_empty()).then(|| inputs.iter().map(|input| input.entries).sum())
}

impl IngestTotals {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    fn from_outcome(outcome: &IngestOutcome) -> Self {
        let counts = &outcome.counts;
        let seconds = outcome.elapsed.as_secs_f64();
        Self {
            job_id: outcome.job_id,
            discovered: counts.discovered,
            staged: counts.staged,
            deduplicated: counts.deduplicated,
            published: counts.published,
            republished: outcome.republished,
            rejected: counts.rejected,
            failed: counts.failed,
            not_done: counts.not_done(),
            bytes: counts.bytes,
            elapsed_seconds: (seconds * 1000.0).round() / 1000.0,
            entries_read: entries_read(&outcome.inputs),
            inputs: outcome.inputs.clone(),
            files_per_second: (outcome.settled as f64 / seconds.max(0.001) * 10.0).round() / 10.0,
            left_out: outcome.skipped.by_rule(),
            left_out_by_other_rules: outcome.skipped.by_other_rules(),
        }
    }
}

impl Render for IngestTotals {
    fn page(&self, page: &mut TextPage) {
        let count = |number: u64| Cell::new(humane::count(number));
        let toned_count = |number: u64, tone| if number > 0 { count(number).tone(tone) } else { count(number) };
        page.field("job", self.job_id.to_string());
        if let Some(entries) = self.entries_read {
            page.field("entries read", count(entries));
        }
        page.field("discovered", count(self.discovered));
        page.field("staged", count(self.staged));
        page.field("deduplicated", count(self.deduplicated));
        page.field("published", count(self.published));
        if self.republished > 0 {
            page.field("published again", count(self.republished));
        }
        page.field("rejected", toned_count(self.rejected, Tone::Warn));
        page.field("failed", toned_count(self.failed, Tone::Bad));
        if self.not_done > 0 {
            page.field("not done yet", count(self.not_done).tone(Tone::Warn));
        }
        page.field("bytes", humane::bytes(self.bytes));
        let took = humane::duration(std::time::Duration::from_secs_f64(self.elapsed_seconds));
        page.field("took", format!("{took}, {} files", humane::rate(self.files_per_second)));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.job_id.to_string()])
    }
}

/// Prints the totals and streams the list of files that were rejected or failed.
pub(super) async fn print(cx: &Context, connected: &Connected, outcome: &IngestOutcome) -> Result<()> {
    let totals = IngestTotals::from_outcome(outcome);
    let out = cx.out();
    match out.options().format {
        Format::Json | Format::Yaml => {
            let mut list = out.list::<FailureRow>("failures");
            for_each_failure(connected, outcome.job_id, |row| list.push(&row)).await?;
            list.finish_with(&totals)
        }
        Format::Name => out.print(&totals),
        Format::Table | Format::Wide | Format::Jsonl => {
            out.print(&totals)?;
            if totals.rejected + totals.failed == 0 {
                return Ok(());
            }
            let mut list = out.list::<FailureRow>("failures");
            for_each_failure(connected, outcome.job_id, |row| list.push(&row)).await?;
            list.finish()
        }
    }
}

/// Whether a part of a job's list or manifest was cut off.
pub(super) async fn has_cut_off(connected: &Connected, job: JobId) -> Result<bool> {
    let mut found = false;
    for_each_failure(connected, job, |row| {
        found |= row.kind == Some(RefusalKind::CutOff);
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Calls `each` for every file of a job that was rejected or failed, page by page.
pub(in crate::cli) async fn for_each_failure(
    connected: &Connected,
    job: JobId,
    mut each: impl FnMut(FailureRow) -> Result<()>,
) -> Result<()> {
    let filter = JobFilter { steps: vec![FileStep::Rejected, FileStep::Failed] };
    let mut cursor: Option<String> = None;
    loop {
        let page = connected.ports.journal.files(job, &filter, cursor.as_deref(), PAGE_SIZE).await?;
        page.items.into_iter().map(FailureRow::from_journal).try_for_each(&mut each)?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// As [`for_each_failure`], of a job of another host: by the outcomes that it reported.
pub(in crate::cli) async fn for_each_reported_failure(
    connected: &Connected,
    job: JobId,
    mut each: impl FnMut(FailureRow) -> Result<()>,
) -> Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let page = connected.ports.catalog.job_outcomes(job, cursor.as_deref(), REPORTED_PER_REQUEST).await?;
        page.items.into_iter().filter_map(FailureRow::from_outcome).try_for_each(&mut each)?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use mfctl_core::domain::job::JobCounts;

    use super::*;
    use crate::cli::output::Layout;

    #[test]
    fn the_counts_of_an_interrupted_job_add_up() {
        let counts =
            JobCounts { discovered: 9, staged: 4, deduplicated: 1, published: 3, rejected: 1, failed: 1, bytes: 7 };
        let totals = |not_done| IngestTotals {
            job_id: "0198c1d2-7b1e-7a53-9c04-3f6f2b8f5a10".parse().unwrap(),
            discovered: counts.discovered,
            staged: counts.staged,
            deduplicated: counts.deduplicated,
            published: counts.published,
            republished: 0,
            rejected: counts.rejected,
            failed: counts.failed,
            not_done,
            bytes: counts.bytes,
            elapsed_seconds: 1.0,
            files_per_second: 7.0,
            left_out: Vec::new(),
            left_out_by_other_rules: 0,
            entries_read: None,
            inputs: Vec::new(),
        };
        let text = |totals: IngestTotals| {
            let mut page = TextPage::default();
            totals.page(&mut page);
            page.render(Layout { width: None, color: false })
        };
        assert!(text(totals(counts.not_done())).contains("not done yet: 2\n"));
        assert!(!text(totals(0)).contains("not done yet"));
    }
}
