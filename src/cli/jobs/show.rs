//! `mfctl jobs show JOB`: prints one job, or follows it with `--watch`.

use std::time::Duration;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::elsewhere::{JobElsewhere, lease_text};
use super::own_row::status_label;
use crate::cli::complete;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::output::{Cell, Render, TextPage, Tone, humane};
use crate::ops::jobs::KnownJob;
use crate::ops::owed::{self, OwedWork};
use crate::ops::target::{DataDirMode, TargetKind};
use crate::pipeline::ingest::spec::JobSpec;
use crate::settings::parse_duration;
use mfctl_core::domain::job::{Job, JobCounts, JobInput, JobStatus};
use mfctl_core::domain::job_lease::{CatalogJob, StoredLease};
use mfctl_core::domain::{IdPrefix, JobId, Timestamp};
use mfctl_core::ports::Error;

/// Arguments of `mfctl jobs show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs show 019ab0c4-0000-7000-8000-000000000000
  mfctl jobs list -o name | head -1 | mfctl jobs show - --watch
  mfctl jobs show 019ab0c4-0000-7000-8000-000000000000 -o json | jq .failed

A job of another host of a cluster is shown by the outcomes that it reported; what only its journal knows is unknown.

Exit codes: 0 shown, 2 wrong usage, 5 journal or catalog not reachable (a job of this host is shown all the same), 6 no
such job or no data folder")]
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

/// The output of `mfctl jobs show` for a job of this host.
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
    /// Its lease in the catalog of a cluster, or the last one that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<StoredLease>,
    /// What the pipeline still has to do, of all jobs; none while the job runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed: Option<OwedWork>,
    #[serde(skip)]
    now: Option<Timestamp>,
}

/// The output of `mfctl jobs show` for a job of another host.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobElsewhereReport {
    /// The job.
    #[serde(flatten)]
    pub job: JobElsewhere,
    /// What the pipeline still has to do, of all jobs; none while the job runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed: Option<OwedWork>,
    #[serde(skip)]
    now: Option<Timestamp>,
}

/// The output of `mfctl jobs show`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ShownJob {
    /// A job of this host.
    Own(Box<JobReport>),
    /// A job of another host.
    Elsewhere(Box<JobElsewhereReport>),
}

impl ShownJob {
    fn is_active(&self) -> bool {
        match self {
            Self::Own(report) => report.active,
            Self::Elsewhere(report) => report.job.active,
        }
    }
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given: IdPrefix = ids::parse_one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::job(given, &connected).await?;
    if !args.watch {
        let (report, catalog_error) = read_report(&connected, id).await?;
        cx.out().print(&report)?;
        return fail_without_catalog(catalog_error);
    }
    let stop = cx.stop()?;
    loop {
        let (report, catalog_error) = read_report(&connected, id).await?;
        let active = report.is_active();
        cx.out().refresh(&report)?;
        if !active {
            return fail_without_catalog(catalog_error);
        }
        tokio::select! {
            () = mfctl_core::wait::pause(args.interval.max(Duration::from_millis(100))) => {}
            _ = stop.wait() => return fail_without_catalog(catalog_error),
        }
    }
}

fn fail_without_catalog(catalog_error: Option<Error>) -> Result<()> {
    let unknown = "it is not known whether another host continued the job";
    catalog_error.map_or(Ok(()), |error| Err(super::without_catalog(error, unknown)))
}

/// The job, and the error of the catalog if it could not be read.
async fn read_report(connected: &Connected, id: JobId) -> Result<(ShownJob, Option<Error>)> {
    // The lease is read before the job, so that a job that ends between the two reads is shown as ended, not as died.
    let leased = connected.ports.journal.is_leased(id).await?;
    let found = super::find_job(connected, id).await?;
    let shown = match found.job {
        KnownJob::Own(job, lease) => ShownJob::Own(Box::new(own_report(connected, *job, lease, leased).await?)),
        KnownJob::Elsewhere(job) => ShownJob::Elsewhere(Box::new(elsewhere_report(connected, *job).await?)),
    };
    Ok((shown, found.catalog_error))
}

async fn own_report(connected: &Connected, job: Job, lease: Option<StoredLease>, leased: bool) -> Result<JobReport> {
    let id = job.job_id;
    let lease = lease.filter(|_| connected.target.kind == TargetKind::Cluster);
    let counts = connected.ports.journal.counts(id).await?;
    let inputs = connected.ports.journal.inputs(id).await?;
    let active = leased && job.status == JobStatus::Running;
    let owed = owed_unless(active, connected).await;
    Ok(JobReport { job, counts, inputs, active, lease, owed, now: Some(connected.ports.clock.now()) })
}

async fn elsewhere_report(connected: &Connected, job: CatalogJob) -> Result<JobElsewhereReport> {
    let job = JobElsewhere::read(connected, job, false).await?;
    let owed = owed_unless(job.active, connected).await;
    Ok(JobElsewhereReport { job, owed, now: Some(connected.ports.clock.now()) })
}

/// What the pipeline has to do, unless the job is active. It reads the dead letters, too much for each refresh of
/// `--watch`.
async fn owed_unless(active: bool, connected: &Connected) -> Option<OwedWork> {
    match active {
        true => None,
        false => Some(owed::read(connected.ports.log.as_ref(), &connected.target.environment).await),
    }
}

impl Render for ShownJob {
    fn page(&self, page: &mut TextPage) {
        match self {
            Self::Own(report) => report.page(page),
            Self::Elsewhere(report) => report.page(page),
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let id = match self {
            Self::Own(report) => report.job.job_id,
            Self::Elsewhere(report) => report.job.job_id,
        };
        Some(vec![id.to_string()])
    }
}

impl JobElsewhereReport {
    fn page(&self, page: &mut TextPage) {
        let job = &self.job;
        let count = |number: u64| Cell::new(humane::count(number));
        let maybe_count = |number: Option<u64>| Cell::new(number.map_or_else(|| "unknown".to_owned(), humane::count));
        let (text, tone) = job.status_label();
        let status = job.reason.as_ref().map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}"));
        let now = self.now.unwrap_or(job.started_at);
        page.field("job", job.job_id.to_string());
        page.field("status", Cell::new(status).tone(tone));
        page.field("lease", lease_text(job.lease.as_ref()));
        page.field("started", humane::time_and_age(job.started_at, now));
        if let Some(at) = job.updated_at {
            page.field("changed", humane::time_and_age(at, now));
        }
        page.field("by", format!("{} on {}", job.actor.as_deref().unwrap_or("unknown"), job.host_text()));
        push_spec(page, job.spec.as_ref());
        page.field("discovered", maybe_count(job.discovered));
        page.field("accepted", count(job.accepted));
        page.field("rejected", count(job.rejected));
        page.field("failed", count(job.failed));
        page.field("not reported", maybe_count(job.not_reported));
        page.field("bytes", humane::bytes(job.bytes));
        push_owed(page, self.owed.as_ref());
        let id = job.job_id;
        if job.status.is_some_and(|status| status != JobStatus::Finished) && !job.active {
            page.toned(format!("continue it where its files are with `mfctl ingest --resume {id}`"), Tone::Warn);
        }
    }
}

impl JobReport {
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
        if let Some(lease) = &self.lease {
            page.field("lease", lease_text(Some(lease)));
        }
        push_spec(page, Some(&self.job.spec));
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
        push_owed(page, self.owed.as_ref());
        let id = self.job.job_id;
        if !self.active && self.job.status != JobStatus::Finished {
            // That of a later version of mfctl cannot be read.
            let spec = JobSpec::read(&self.job.spec).unwrap_or_default();
            page.toned(crate::cli::ingest::resume_hint(id, &spec, &self.inputs), Tone::Warn);
        } else if self.counts.failed > 0 && !self.active {
            page.toned(format!("retry the failed files with `mfctl ingest --retry-failed {id}`"), Tone::Warn);
        }
    }
}

fn push_spec(page: &mut TextPage, spec: Option<&serde_json::Value>) {
    for (name, value) in spec.and_then(|spec| spec.as_object()).into_iter().flatten() {
        page.field(format!("  {}", name.replace('_', " ")), plain_text(value));
    }
}

fn push_owed(page: &mut TextPage, owed: Option<&OwedWork>) {
    if let Some(owed) = owed {
        let tone = if owed.needs_attention() { Tone::Warn } else { Tone::Plain };
        page.field("pipeline", Cell::new(owed.summary.as_str()).tone(tone));
    }
}

fn plain_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(plain_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
