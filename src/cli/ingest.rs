//! `mfctl ingest`: uploads files and folders in bulk; a job can be resumed.

mod dry_run;
mod job_start;
mod progress;
mod report;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::complete;
use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, Result};
use super::flag_bounds::check_flag;
use super::output::humane;
use super::signals;
use crate::ops::target::{DataDirMode, TargetKind};
use crate::pipeline::ingest::spec::{JobSpec, ManifestForm};
use crate::pipeline::ingest::{
    self, Error, GivenInputs, IngestOutcome, IngestPorts, IngestRequest, IngestScope, JobStart, RunEnd, incomplete,
};
use crate::settings::{Auto, ByteSize, RawValue, parse_duration};
use job_start::GivenJob;
use mfctl_core::domain::job::JobInput;
use mfctl_core::domain::{AssetState, JobId, MediaTypePattern};
use mfctl_core::events::EventCodec;

pub use report::{FailureRow, IngestReport};
pub(super) use report::{for_each_failure, for_each_reported_failure};

/// Default number of small objects of a batch that are sent to a cluster's store at the same time.
const CLUSTER_SENDS: usize = 48;

/// Arguments of `mfctl ingest`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Hidden files are included unless --no-hidden is given. A symbolic link to a file counts as that file; links to folders
are followed only with --follow. `.mfctlignore` files (.gitignore syntax) exclude what they match in the folders that
are walked; one that cannot be read or has an invalid line stops the job. mfctl's own data folder is never ingested.
<file>.json next to a file is a sidecar with its metadata: title, tags, collection, locale, custom. A manifest
overrides sidecars, and a sidecar overrides flags. Running the command again with the same paths and options resumes an
unfinished job.

In a cluster, --resume also continues a job of another host, if this one has the same files under the same paths: those
that were ingested are compared with their SHA-256 first. One host at a time runs a job; 60 s after it was last heard
of, another may take it over.

In --include and --exclude, * matches anything but a slash, ? one character, [a-z] one of these, {a,b} a or b, ** any
number of folders; a backslash makes the next character literal.

A list or manifest is read once, from a file or a pipe, and kept with the job. If its end was not read, the job is not
finished: give all of it again, or the rest from the last whole entry on, with --resume JOB and the same option; or run
the same command with all of it again. A line of a list may end in CR LF and the first one may begin with a byte order
mark, unless a file has that very name. Empty lines say nothing.

Examples:
  mfctl ingest ~/media --collection poems --tag source=archive
  mfctl ingest --manifest upload.csv --locale fa-IR
  find . -name '*.pdf' -print0 | mfctl ingest --files-from - -0
  make-rows | mfctl ingest --manifest - --expect 2000
  mfctl ingest --resume latest
  mfctl ingest --resume 019ab0c4-0000-7000-8000-000000000000 --files-from list
  mfctl ingest ~/media --dry-run -o json
  mfctl ingest --retry-failed 019ab0c4-0000-7000-8000-000000000000

Exit codes: 0 done, 2 wrong usage, 3 some files rejected or failed, each listed, or a list or manifest was cut off or has
another number of entries than --expect says, 5 a dependency is not reachable or the disk is full, 6 a path, list or
manifest does not exist or cannot be read, an ignore file cannot be applied, no file was found, or the files of another
host's job are not here, 7 another process or host runs the job or took it over, 8 it would leave too little free disk
space, 129/130/143 stopped by a signal; the job can be resumed")]
#[command(group(clap::ArgGroup::new("existing_job").args(["resume", "retry_failed"])))]
pub struct Args {
    /// Files and folders to ingest
    #[arg(value_name = "PATH", conflicts_with = "existing_job")]
    paths: Vec<PathBuf>,
    /// Ingest the files that this manifest names, with its metadata: JSON Lines, or CSV if its name ends in .csv; - is stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "retry_failed")]
    manifest: Option<PathBuf>,
    /// Format of --manifest, whatever its name
    #[arg(long, value_name = "FORMAT", value_enum, requires = "manifest", conflicts_with = "existing_job")]
    manifest_format: Option<ManifestFormat>,
    /// Ingest the files and folders that this file lists, one per line; - is stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "retry_failed")]
    files_from: Option<PathBuf>,
    /// Paths in --files-from are NUL-terminated; of a job that is resumed, this is known
    #[arg(short = '0', requires = "files_from")]
    nul: bool,
    /// Entries that --files-from and --manifest must have; empty lines and a CSV header do not count
    #[arg(long, value_name = "N", conflicts_with = "existing_job")]
    expect: Option<u64>,
    /// Finding no file is a success
    #[arg(long)]
    allow_empty: bool,
    /// Only files that match; a pattern without a slash matches the name, one with a slash the path below the root
    #[arg(long, value_name = "GLOB", conflicts_with = "existing_job")]
    include: Vec<OsString>,
    /// Exclude files and folders that match; a pattern that ends in a slash matches only folders
    #[arg(long, value_name = "GLOB", conflicts_with = "existing_job")]
    exclude: Vec<OsString>,
    /// Exclude hidden files and folders
    #[arg(long, conflicts_with = "existing_job")]
    no_hidden: bool,
    /// Follow symbolic links to folders
    #[arg(long, conflicts_with = "existing_job")]
    follow: bool,
    /// Do not read <file>.json as metadata; ingest it as a file
    #[arg(long, conflicts_with = "existing_job")]
    no_sidecars: bool,
    /// Collection of files whose metadata names none
    #[arg(long, value_name = "NAME", conflicts_with = "existing_job", add = ArgValueCandidates::new(complete::collections))]
    collection: Option<String>,
    /// Add this tag to every file; can be repeated
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "existing_job", add = ArgValueCandidates::new(complete::tags))]
    tag: Vec<String>,
    /// Locale of files whose metadata names none: fa-IR (BCP 47), or fa_IR.UTF-8 as in LANG
    #[arg(long, value_name = "LOCALE", conflicts_with = "existing_job")]
    locale: Option<String>,
    /// Reject larger files [default: ingest.max_size]
    #[arg(long, value_name = "SIZE", conflicts_with = "existing_job")]
    max_size: Option<ByteSize>,
    /// Only these media types, detected by content: application/pdf, image/*
    #[arg(long, value_name = "TYPE", conflicts_with = "existing_job")]
    allow_type: Vec<MediaTypePattern>,
    /// None of these media types, detected by content
    #[arg(long, value_name = "TYPE", conflicts_with = "existing_job")]
    deny_type: Vec<MediaTypePattern>,
    /// Files read and staged at the same time [default: ingest.concurrency; auto adapts to the machine]
    #[arg(long, value_name = "N|auto")]
    concurrency: Option<Auto>,
    /// Show what would happen to each file, and why; write nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue, conflicts_with_all = ["existing_job", "wait"])]
    dry_run: bool,
    /// Resume this job, by its id or its beginning, or the latest unfinished one of this host; --files-from or
    /// --manifest give what it did not read of its own
    #[arg(long, value_name = "JOB|latest", add = ArgValueCandidates::new(complete::jobs))]
    resume: Option<GivenJob>,
    /// Retry the failed files of this job, by its id or its beginning, or of the latest one that has any
    #[arg(long, value_name = "JOB|latest", add = ArgValueCandidates::new(complete::jobs))]
    retry_failed: Option<GivenJob>,
    /// Start a new job even if one with the same paths and options is unfinished
    #[arg(long, conflicts_with = "existing_job")]
    new_job: bool,
    /// Wait until every asset has reached this state; a worker must be running
    #[arg(long, value_name = "STATE", value_enum)]
    wait: Option<WaitFor>,
    /// Timeout of --wait
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m", requires = "wait")]
    wait_timeout: Duration,
}

/// The format of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ManifestFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

impl ManifestFormat {
    const fn form(self) -> ManifestForm {
        match self {
            Self::Jsonl => ManifestForm::Jsonl,
            Self::Csv => ManifestForm::Csv,
        }
    }
}

/// The state that `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    /// Stored in the durable bucket.
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

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    check_bounds(&args)?;
    let settings = cx.settings()?;
    if args.expect.is_some() && args.files_from.is_none() && args.manifest.is_none() {
        return Err(Failure::usage("--expect counts the entries of --files-from or --manifest, and neither is given"));
    }
    let (start, inputs) = job_start::from_args(&args, cx, &settings)?;
    let given = GivenInputs { inputs, notice: progress::wait_notice(cx.out()) };
    if args.dry_run {
        return match start {
            Some(JobStart::ResumeOrNew(spec) | JobStart::New(spec)) => {
                dry_run::run(spec, given, args.allow_empty, cx).await
            }
            _ => Err(Failure::usage("--dry-run takes paths, not a job")),
        };
    }
    let connected = cx.connect(DataDirMode::MayCreate).await?;
    let start = match start {
        Some(start) => start,
        None => job_start::existing(&args, &connected).await?,
    };
    let cpus = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get).min(16);
    let concurrency = args.concurrency.unwrap_or(settings.ingest.concurrency);
    // The CPUs and the disk limit writes to local files; a remote store is limited by latency, which more sends hide.
    let default_sends = || if connected.target.kind == TargetKind::Embedded { 2 * cpus() } else { CLUSTER_SENDS };
    let request = IngestRequest {
        start,
        concurrency: concurrency.or_else(cpus),
        sends: concurrency.or_else(default_sends),
        min_free_percent: f64::from(settings.ingest.min_free_percent.get()),
    };
    let stop = cx.stop()?;
    let progress_bar = Arc::new(progress::IngestProgressBar::new(cx.out()));
    let on_start = |job: JobId, resumed: bool, spec: &JobSpec| {
        let action = if resumed { "resuming" } else { "beginning" };
        let hint = if resumed && args.resume.is_none() && args.retry_failed.is_none() {
            "; --new-job starts a new one"
        } else {
            ""
        };
        cx.out().note(format!("{action} job {job}{hint}"));
        let base = spec.list.as_ref().map(|list| &list.base).filter(|_| args.files_from.is_some());
        if let Some(base) = base.filter(|base| base.to_path() != cx.sources().cwd) {
            cx.out().note(format!("relative names in the list are below {base}, where the job was begun"));
        }
    };
    let ports = Arc::new(ingest_ports(&connected));
    let scope = ingest_scope(&connected, cx);
    let result = ingest::run(ports, scope, request, given, progress_bar.clone(), stop.clone(), on_start).await;
    progress_bar.finish();
    let outcome = result.map_err(ingest_failure)?;
    progress::note_inputs(cx.out(), &outcome.inputs);
    progress::note_skipped(cx.out(), &outcome.skipped);
    report::print(cx, &connected, &outcome).await?;
    fail_unless_finished(&outcome)?;
    let begun_before = args.resume.is_some() || args.retry_failed.is_some();
    if outcome.counts.discovered == 0 && !begun_before && !args.allow_empty {
        return Err(progress::nothing_found(&outcome.skipped, &outcome.inputs));
    }
    if let Some(wait) = args.wait {
        progress::wait_for_assets(cx, &connected, outcome.job_id, wait.state(), args.wait_timeout, &stop).await?;
    }
    fail_if_refused(&outcome, &connected).await
}

/// Checks the flags that give settings.
fn check_bounds(args: &Args) -> Result<()> {
    if let Some(size) = args.max_size {
        check_flag("ingest.max_size", "--max-size", &RawValue::Text(size.to_string()))?;
    }
    match args.concurrency {
        Some(count) => check_flag("ingest.concurrency", "--concurrency", &RawValue::Text(count.to_string())),
        None => Ok(()),
    }
}

fn ingest_ports(connected: &Connected) -> IngestPorts {
    let codec = EventCodec::new(connected.ports.registry.clone(), connected.target.environment.clone());
    IngestPorts::from_ports(&connected.ports, codec)
}

fn ingest_scope(connected: &Connected, cx: &Context) -> IngestScope {
    IngestScope {
        tenant: connected.target.tenant.clone(),
        buckets: connected.buckets.clone(),
        actor: connected.settings.profile.actor.chars().take(256).collect(),
        host: cx.sources().host.clone(),
        data_dir: connected.target.data_dir.clone(),
    }
}

/// The failure of a run that could not start.
fn ingest_failure(error: Error) -> Failure {
    let hint = match error {
        Error::Port(error) => return Failure::from(error),
        Error::Stopped(reason) => return signals::stopped(reason, error.to_string()).hint("nothing was changed"),
        Error::NoRoom(_) => "free some space, choose another --data-dir, or lower the setting ingest.min_free_percent",
        Error::UnknownJob(_) => "`mfctl jobs list` shows the jobs",
        Error::NotRecorded(_) => "resume it on the host that began it",
        Error::OtherTenant { .. } => "resume it with the profile or tenant that it was begun with",
        Error::HeldElsewhere { .. } => "wait for it, or stop it there; `mfctl jobs show JOB` shows how far it is",
        Error::SourceDiffers { .. } => {
            "nothing was changed; provide the same files at these paths, resume it where they are, or begin another job \
             with --new-job"
        }
        Error::IgnoreFile { .. } => "correct the file or delete it: nothing in its folder was taken",
        Error::InputNotWanted { .. } => "run the command without --resume to begin another job",
        Error::AnotherInput { .. } | Error::Input { .. } | Error::Spec(_) => {
            return Failure::from_error(failure_kind(&error), &error);
        }
    };
    Failure::from_error(failure_kind(&error), &error).hint(hint)
}

/// How to resume a job, and what to give it if it lacks a part of its list or manifest.
pub(super) fn resume_hint(job: JobId, spec: &JobSpec, inputs: &[JobInput]) -> String {
    let Some(missing) = incomplete(spec, inputs) else {
        return format!("resume it with `mfctl ingest --resume {job}`");
    };
    let what = if missing.needs_all() {
        "give it all of it again"
    } else {
        "give it all of it again, or the rest from the last whole entry on,"
    };
    format!("{what} with `mfctl ingest --resume {job} {} FILE` (- is stdin)", missing.option(spec))
}

/// Fails if the run was stopped or interrupted, or lacks input; the hint is the command that resumes the job.
fn fail_unless_finished(outcome: &IngestOutcome) -> Result<()> {
    let resume = resume_hint(outcome.job_id, &outcome.spec, &outcome.inputs);
    match &outcome.end {
        RunEnd::Finished => Ok(()),
        RunEnd::Incomplete(incomplete) => {
            Err(Failure::partial(format!("job {} is not finished: {incomplete}", outcome.job_id)).hint(resume))
        }
        RunEnd::FilesMissing(missing) => {
            let hint = format!("provide the files at the job's paths on this host, then {resume}");
            Err(Failure::partial(format!("job {} is not finished: {missing}", outcome.job_id)).hint(hint))
        }
        RunEnd::Stopped(reason) => {
            Err(signals::stopped(*reason, format!("job {} was {reason}; nothing is lost", outcome.job_id)).hint(resume))
        }
        RunEnd::Failed(error) => {
            let kind = failure_kind(error);
            let hint = match error {
                Error::Port(error) => error.hint_text().map(|first| format!("{first}; then {resume}")),
                Error::AnotherInput { kind, .. } => Some(format!(
                    "nothing of it was taken: if it is another {kind}, begin another job with --new-job; if it is the rest, \
                     {resume}"
                )),
                Error::IgnoreFile { .. } => {
                    Some(format!("nothing in its folder was taken: correct the file or delete it; then {resume}"))
                }
                _ => None,
            };
            let failure = Failure::new(kind, format!("job {} was interrupted", outcome.job_id));
            Err(failure.because(error).hint(hint.unwrap_or(resume)))
        }
    }
}

fn failure_kind(error: &Error) -> FailureKind {
    match error {
        Error::Port(port) => Failure::from(mfctl_core::ports::Error::new(port.kind(), port.to_string())).kind(),
        Error::NoRoom(_) => FailureKind::Refused,
        Error::UnknownJob(_) => FailureKind::NotFound,
        Error::HeldElsewhere { .. } => FailureKind::Conflict,
        Error::Input { error, .. } if error.kind() == std::io::ErrorKind::NotFound => FailureKind::NotFound,
        Error::Input { .. }
        | Error::AnotherInput { .. }
        | Error::Spec(_)
        | Error::NotRecorded(_)
        | Error::OtherTenant { .. }
        | Error::SourceDiffers { .. }
        | Error::IgnoreFile { .. }
        | Error::InputNotWanted { .. } => FailureKind::Invalid,
        Error::Stopped(reason) => signals::stopped(*reason, "").kind(),
    }
}

/// Fails if a file was rejected or failed.
async fn fail_if_refused(outcome: &IngestOutcome, connected: &Connected) -> Result<()> {
    let counts = &outcome.counts;
    if counts.rejected + counts.failed == 0 {
        return Ok(());
    }
    let files = humane::counted(counts.rejected + counts.failed, "file was", "files were");
    let failure = Failure::partial(format!(
        "{files} not ingested: {} rejected, {} failed",
        humane::count(counts.rejected),
        humane::count(counts.failed)
    ));
    Err(if counts.failed > 0 {
        let retry = format!("retry the failed files with `mfctl ingest --retry-failed {}`", outcome.job_id);
        let cut_off = if report::has_cut_off(connected, outcome.job_id).await.unwrap_or(false) {
            "; what was cut off needs a new job with the whole list or manifest"
        } else {
            ""
        };
        failure.hint(format!("{retry}{cut_off}"))
    } else {
        failure.hint("rejected files cannot be ingested as they are; each is listed with its reason")
    })
}
