//! `mfctl jobs show JOB`: prints one job, or follows it with `--watch` from any terminal of this host.

use std::time::Duration;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::status_label;
use crate::cli::complete;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::output::{Cell, Render, TextPage, Tone, humane};
use crate::ops::owed::{self, OwedWork};
use crate::ops::target::DataDirMode;
use crate::pipeline::ingest::spec::JobSpec;
use crate::settings::parse_duration;
use mfctl_core::domain::job::{Job, JobCounts, JobInput, JobStatus};
use mfctl_core::domain::{IdPrefix, JobId, Timestamp};

/// Arguments of `mfctl jobs show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs show 019ab0c4-0000-7000-8000-000000000000
  mfctl jobs list -o name | head -1 | mfctl jobs show - --watch
  mfctl jobs show 019ab0c4-0000-7000-8000-000000000000 -o json | jq .failed

Exit codes: 0 shown, 2 wrong usage, 5 journal not reachable, 6 no such job or no data folder")]
pub struct Args {
    /// The job's id or its beginning, at least 4 digits; - reads it from stdin
    #[arg(value_name = "JOB|-", add = ArgValueCandidates::new(complete::jobs))]
    job: String,
    /// Follow the job until it ends
    #[arg(short, long)]
    watch: bool,
    /// Refresh interval of --watch
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    interval: Duration,
}

/// The output of `mfctl jobs show`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobReport {
    /// The job's row in the journal.
    #[serde(flatten)]
    pub job: Job,
    /// Its counts, over all its runs.
    #[serde(flatten)]
    pub counts: JobCounts,
    /// The parts of its list and manifest, and how far each was read.
    pub inputs: Vec<JobInput>,
    /// Whether a process is running it now.
    pub active: bool,
    /// What the pipeline still has to do, of all jobs; none while the job runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed: Option<OwedWork>,
    #[serde(skip)]
    now: Option<Timestamp>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given: IdPrefix = ids::parse_one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::job(given, &connected).await?;
    if !args.watch {
        return cx.out().print(&read_report(&connected, id).await?);
    }
    let stop = cx.stop()?;
    loop {
        let report = read_report(&connected, id).await?;
        let active = report.active;
        cx.out().refresh(&report)?;
        if !active {
            return Ok(());
        }
        tokio::select! {
            () = mfctl_core::wait::pause(args.interval.max(Duration::from_millis(100))) => {}
            _ = stop.wait() => return Ok(()),
        }
    }
}

async fn read_report(connected: &Connected, id: JobId) -> Result<JobReport> {
    // The lease is read before the job, so that a job that ends between the two reads is shown as ended, not as died.
    let leased = connected.ports.journal.is_leased(id).await?;
    let job = super::find_job(connected, id).await?;
    let counts = connected.ports.journal.counts(id).await?;
    let inputs = connected.ports.journal.inputs(id).await?;
    let active = leased && job.status == JobStatus::Running;
    // It reads the dead letters, too much for each refresh of `--watch`.
    let owed = match active {
        true => None,
        false => Some(owed::read(connected.ports.log.as_ref(), &connected.target.environment).await),
    };
    Ok(JobReport { job, counts, inputs, active, owed, now: Some(connected.ports.clock.now()) })
}

impl Render for JobReport {
    fn page(&self, page: &mut TextPage) {
        let count = |number: u64| Cell::new(humane::count(number));
        let (text, tone) = status_label(self.job.status, self.active);
        let status = match &self.job.reason {
            Some(reason) => format!("{text}: {reason}"),
            None => text.to_owned(),
        };
        page.field("job", self.job.job_id.to_string());
        page.field("status", Cell::new(status).tone(tone));
        let now = self.now.unwrap_or(self.job.updated_at);
        page.field("started", humane::time_and_age(self.job.started_at, now));
        page.field("changed", humane::time_and_age(self.job.updated_at, now));
        page.field("by", format!("{} on {}", self.job.actor, self.job.host));
        for (name, value) in self.job.spec.as_object().into_iter().flatten() {
            page.field(format!("  {}", name.replace('_', " ")), plain_text(value));
        }
        for input in &self.inputs {
            let name =
                if input.part == 1 { format!("{} entries", input.kind) } else { format!("  part {}", input.part) };
            let end = if input.ended { "" } else { ", its end was not read" };
            page.field(name, Cell::new(format!("{}{end}", humane::count(input.entries))));
        }
        page.field(
            "discovered",
            if self.job.walk_complete {
                count(self.counts.discovered)
            } else {
                Cell::new(format!("{} so far", humane::count(self.counts.discovered)))
            },
        );
        page.field("staged", count(self.counts.staged));
        page.field("deduplicated", count(self.counts.deduplicated));
        page.field("published", count(self.counts.published));
        page.field("rejected", count(self.counts.rejected));
        page.field("failed", count(self.counts.failed));
        if self.counts.not_done() > 0 {
            page.field("not done yet", count(self.counts.not_done()));
        }
        page.field("bytes", humane::bytes(self.counts.bytes));
        if let Some(owed) = &self.owed {
            let tone = if owed.needs_attention() { Tone::Warn } else { Tone::Plain };
            page.field("pipeline", Cell::new(owed.summary.as_str()).tone(tone));
        }
        let id = self.job.job_id;
        if !self.active && self.job.status != JobStatus::Finished {
            // That of a later version of mfctl cannot be read.
            let spec = JobSpec::read(&self.job.spec).unwrap_or_default();
            page.toned(crate::cli::ingest::resume_hint(id, &spec, &self.inputs), Tone::Warn);
        } else if self.counts.failed > 0 && !self.active {
            page.toned(format!("retry the failed files with `mfctl ingest --retry-failed {id}`"), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.job.job_id.to_string()])
    }
}

fn plain_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(plain_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
