//! `mfctl ingest`: bulk uploads, resumable.

mod dry;
mod report;
mod shown;
mod words;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::complete;
use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, Result};
use super::output::humane;
use super::signals;
use crate::ops::target::{DataDirMode, TargetKind};
use crate::pipeline::ingest::{self, Error, IngestOutcome, IngestPorts, IngestRequest, IngestScope, JobStart, RunEnd};
use crate::settings::{Auto, ByteSize, parse_duration};
use mfctl_core::domain::{AssetState, JobId};
use mfctl_core::events::EventCodec;

pub(super) use report::failures;
pub use report::{FailureRow, IngestReport};

/// Small objects of a batch that are sent to a cluster's store at the same time where nobody said.
const SENDS: usize = 48;

/// Arguments of `mfctl ingest`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Hidden files are taken (--no-hidden leaves them out). A symbolic link to a file counts as that file; links to folders
are entered with --follow alone. `.mfctlignore` files (the syntax of .gitignore) leave out what they name.
<file>.json beside a file is read as its metadata: title, tags, collection, locale, custom. What a manifest says wins
over a sidecar, a sidecar over flags. The same paths and options go on with an unfinished job.

Examples:
  mfctl ingest ~/media --collection poems --tag source=archive
  mfctl ingest --manifest upload.csv --locale fa-IR
  find . -name '*.pdf' -print0 | mfctl ingest --files-from - -0
  mfctl ingest ~/media --dry-run -o json
  mfctl ingest --retry-failed 019ab0c4-0000-7000-8000-000000000000

Exit codes: 0 done, 2 wrong usage, 3 some files rejected or failed, each listed, 5 a dependency is not reachable or
the disk is full, 6 a path or manifest that is not there or cannot be read, 7 another process runs the job,
8 it would leave too little of the disk free, 129/130/143 stopped by a signal; it can be resumed")]
#[command(group(clap::ArgGroup::new("which").args(["resume", "retry_failed"])))]
pub struct Args {
    /// Files and folders
    #[arg(value_name = "PATH", conflicts_with = "which")]
    paths: Vec<PathBuf>,
    /// Take the files this manifest names, with what it says of them: JSON lines, or CSV if it ends in .csv
    #[arg(long, value_name = "FILE", conflicts_with = "which")]
    manifest: Option<PathBuf>,
    /// Take the files and folders listed there, one a line; - is stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "which")]
    files_from: Option<PathBuf>,
    /// Paths of --files-from end in NUL
    #[arg(short = '0', requires = "files_from")]
    nul: bool,
    /// Only files that match; without a slash against the name, with one against the path below the root
    #[arg(long, value_name = "GLOB", conflicts_with = "which")]
    include: Vec<String>,
    /// No files or folders that match
    #[arg(long, value_name = "GLOB", conflicts_with = "which")]
    exclude: Vec<String>,
    /// Leave out hidden files and folders
    #[arg(long, conflicts_with = "which")]
    no_hidden: bool,
    /// Enter folders that symbolic links lead to
    #[arg(long, conflicts_with = "which")]
    follow: bool,
    /// Do not read <file>.json as metadata; take it as a file
    #[arg(long, conflicts_with = "which")]
    no_sidecars: bool,
    /// The collection of files that name none
    #[arg(long, value_name = "NAME", conflicts_with = "which")]
    collection: Option<String>,
    /// A tag of every file; repeat for more
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "which")]
    tag: Vec<String>,
    /// The locale of files that name none, e.g. fa-IR
    #[arg(long, value_name = "LOCALE", conflicts_with = "which")]
    locale: Option<String>,
    /// Reject larger files [default: ingest.max_size]
    #[arg(long, value_name = "SIZE", conflicts_with = "which")]
    max_size: Option<ByteSize>,
    /// Only these types by content: application/pdf, image/*
    #[arg(long, value_name = "TYPE", conflicts_with = "which")]
    allow_type: Vec<String>,
    /// None of these types by content
    #[arg(long, value_name = "TYPE", conflicts_with = "which")]
    deny_type: Vec<String>,
    /// Files read and staged at the same time [default: ingest.concurrency; auto looks at the machine]
    #[arg(long, value_name = "N|auto")]
    concurrency: Option<Auto>,
    /// Say what would happen to each file, and why; write nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue, conflicts_with_all = ["which", "wait"])]
    dry_run: bool,
    /// Go on with this job
    #[arg(long, value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    resume: Option<JobId>,
    /// Try this job's failed files again
    #[arg(long, value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    retry_failed: Option<JobId>,
    /// Begin a new job even if one with the same paths and options is unfinished
    #[arg(long, conflicts_with = "which")]
    new_job: bool,
    /// End when every asset has come this far; a worker must be running
    #[arg(long, value_name = "STATE", value_enum)]
    wait: Option<WaitFor>,
    /// How long --wait waits
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m", requires = "wait")]
    wait_timeout: Duration,
}

/// How far assets are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    /// In the durable bucket.
    Ingested,
    /// Enriched and searchable.
    Enriched,
}

impl WaitFor {
    const fn state(self) -> AssetState {
        match self {
            Self::Ingested => AssetState::Ingested,
            Self::Enriched => AssetState::Enriched,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let start = words::start(&args, cx, &settings)?;
    if args.dry_run {
        return match start {
            JobStart::ResumeOrNew(spec) | JobStart::New(spec) => dry::run(spec, cx).await,
            JobStart::Resume(_) | JobStart::RetryFailed(_) => Err(Failure::usage("--dry-run takes paths, not a job")),
        };
    }
    let connected = cx.connect(DataDirMode::MayCreate).await?;
    let auto = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get).min(16);
    let concurrency = args.concurrency.unwrap_or(settings.ingest.concurrency);
    // A disk has the processor wait for it, a store far away does not.
    let sends = || if connected.target.kind == TargetKind::Embedded { 2 * auto() } else { SENDS };
    let request = IngestRequest {
        start,
        concurrency: concurrency.or_else(auto),
        sends: concurrency.or_else(sends),
        min_free_percent: f64::from(settings.ingest.min_free_percent.get()),
    };
    let stop = cx.stop()?;
    let progress = Arc::new(shown::Shown::new(cx.out()));
    let begun = |job: JobId, resumed: bool| {
        let verb = if resumed { "resuming" } else { "beginning" };
        let hint = if resumed && args.resume.is_none() && args.retry_failed.is_none() {
            "; --new-job begins another"
        } else {
            ""
        };
        cx.out().note(format!("{verb} job {job}{hint}"));
    };
    let tools = Arc::new(tools(&connected));
    let ran = ingest::run(tools, place(&connected, cx), request, progress.clone(), stop.clone(), begun).await;
    progress.finish();
    let outcome = ran.map_err(failed)?;
    shown::left_out(cx.out(), &outcome.skipped);
    report::print(cx, &connected, &outcome).await?;
    end(&outcome)?;
    if let Some(wait) = args.wait {
        shown::wait(cx, &connected, outcome.job_id, wait.state(), args.wait_timeout, &stop).await?;
    }
    partial(&outcome)
}

/// The ports that ingest uses, of a connected profile.
pub(super) fn tools(connected: &Connected) -> IngestPorts {
    let codec = EventCodec::new(connected.ports.registry.clone(), connected.target.environment.clone());
    IngestPorts::from_ports(&connected.ports, codec)
}

fn place(connected: &Connected, cx: &Context) -> IngestScope {
    IngestScope {
        tenant: connected.target.tenant.clone(),
        buckets: connected.buckets.clone(),
        actor: connected.settings.profile.actor.chars().take(256).collect(),
        host: cx.sources().host.clone(),
        data_dir: connected.target.data_dir.clone(),
    }
}

/// The failure of a run that did not begin.
pub(super) fn failed(error: Error) -> Failure {
    match error {
        Error::Port(error) => Failure::from(error),
        Error::NoRoom(_) => Failure::of(FailureKind::Refused, &error)
            .hint("free some space, choose another --data-dir, or lower the setting ingest.min_free_percent"),
        Error::UnknownJob(_) => {
            Failure::of(FailureKind::NotFound, &error).hint("`mfctl jobs list` shows those that are there")
        }
        Error::Input { .. } | Error::Spec(_) => Failure::of(FailureKind::Invalid, &error),
    }
}

/// The failure of a run that did not come to its end, with how to go on.
fn end(outcome: &IngestOutcome) -> Result<()> {
    let resume = format!("go on with `mfctl ingest --resume {}`", outcome.job_id);
    match &outcome.end {
        RunEnd::Finished => Ok(()),
        RunEnd::Stopped(reason) => {
            Err(signals::stopped(*reason, format!("job {} was {reason}; nothing is lost", outcome.job_id)).hint(resume))
        }
        RunEnd::Failed(error) => {
            let kind = kind_of(error);
            let hint = match error {
                Error::Port(error) => error.hint_text().map(|first| format!("{first}; then {resume}")),
                _ => None,
            };
            let failure = Failure::new(kind, format!("job {} was interrupted", outcome.job_id));
            Err(failure.because(error).hint(hint.unwrap_or(resume)))
        }
    }
}

fn kind_of(error: &Error) -> FailureKind {
    match error {
        Error::Port(port) => Failure::from(mfctl_core::ports::Error::new(port.kind(), port.to_string())).kind(),
        Error::NoRoom(_) => FailureKind::Refused,
        Error::UnknownJob(_) => FailureKind::NotFound,
        Error::Input { .. } | Error::Spec(_) => FailureKind::Invalid,
    }
}

/// The failure of a run that could not take every file.
fn partial(outcome: &IngestOutcome) -> Result<()> {
    let counts = &outcome.counts;
    if counts.rejected + counts.failed == 0 {
        return Ok(());
    }
    let files = humane::counted(counts.rejected + counts.failed, "file was", "files were");
    let failure = Failure::partial(format!(
        "{files} not taken: {} rejected, {} failed",
        humane::count(counts.rejected),
        humane::count(counts.failed)
    ));
    Err(if counts.failed > 0 {
        failure.hint(format!("try the failed ones again with `mfctl ingest --retry-failed {}`", outcome.job_id))
    } else {
        failure.hint("rejected files cannot be taken as they are; each is listed with its reason")
    })
}
