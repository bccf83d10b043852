//! Runs a job from its start, or from where it stopped, to its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batch::BatchPipeline;
use super::context::{IngestPorts, IngestScope, RunContext};
use super::error::Error;
use super::free_space::FreeSpaceGuard;
use super::input::{GivenInputs, Incomplete};
use super::open::{self, JobStart, LeasedJob};
use super::progress::{ProgressCounters, ProgressObserver};
use super::runner::JobRunner;
use super::skipped::SkipCounters;
use super::spec::JobSpec;
use mfctl_core::domain::job::{JobCounts, JobInput, JobStatus};
use mfctl_core::domain::{JobId, error_chain};
use mfctl_core::stop::{Stop, StopReason};

/// Which job to run, and with how much concurrency.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Which job.
    pub start: JobStart,
    /// Files read and staged at the same time; at least 1.
    pub concurrency: usize,
    /// Small objects of a batch that are put at the same time; at least 1.
    pub sends: usize,
    /// The share of the disk, in percent, that has to stay free.
    pub min_free_percent: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// Every file has its outcome.
    Finished,
    /// A stop was requested.
    Stopped(StopReason),
    /// Everything that was read of its list and manifest has its outcome, but there is more of them.
    Incomplete(Incomplete),
    /// Every file that was found has its outcome, but another host had found more of them.
    FilesMissing(MissingFiles),
    /// An error interrupted it; the job can be resumed.
    Failed(Error),
}

/// How many files of another host's job were found on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingFiles {
    /// Files that were found on this host.
    pub found: u64,
    /// Files that another host had found; 1 if their number is not known.
    pub expected: u64,
}

impl fmt::Display for MissingFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            0 => f.write_str("none of its files was found on this host"),
            found => write!(f, "only {found} of the {} files of another host were found on this one", self.expected),
        }
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct IngestOutcome {
    /// The job.
    pub job_id: JobId,
    /// The job's counts, earlier runs included.
    pub counts: JobCounts,
    /// Events that this run published again for assets that another file had staged.
    pub republished: u64,
    /// Files whose outcome was recorded in this run.
    pub settled: u64,
    /// How long this run took.
    pub elapsed: Duration,
    /// How it ended.
    pub end: RunEnd,
    /// The job's specification.
    pub spec: JobSpec,
    /// How far its list and manifest were read, earlier runs included.
    pub inputs: Vec<JobInput>,
    /// What the walk left out by rule.
    pub skipped: Arc<SkipCounters>,
}

/// Runs a job. `on_start` receives its id, whether it is resumed, and its specification, before any file is read.
///
/// # Errors
/// Why the run could not start: an unknown job, one that another process holds, too little free space, an input that
/// cannot be read. A later error is in [`IngestOutcome::end`].
pub async fn run(
    ports: Arc<IngestPorts>,
    scope: IngestScope,
    request: IngestRequest,
    given: GivenInputs,
    observer: Arc<dyn ProgressObserver>,
    stop: Stop,
    on_start: impl FnOnce(JobId, bool, &JobSpec),
) -> Result<IngestOutcome, Error> {
    let started = Instant::now();
    let free_space = FreeSpaceGuard { min_free_percent: request.min_free_percent };
    let job = Box::pin(open::open(&ports, &scope, request.start, given, free_space, &stop)).await?;
    on_start(job.id, job.resumed, &job.spec);
    let context = Arc::new(RunContext {
        rules: job.rules.clone(),
        progress: ProgressCounters::new(observer, job.estimate.complete.then_some(job.estimate)),
        inputs: job.inputs.clone(),
        job: job.id,
        lease: job.lease.clone(),
        ports,
        scope,
        stop,
        free_space,
    });
    let pipeline = BatchPipeline::new(&context, request.concurrency.max(1), request.sends.max(1));
    let skipped = Arc::new(SkipCounters::default());
    let runner = JobRunner::new(context.clone(), pipeline, skipped.clone());
    let result = runner.run(&job).await;
    let end = match (result, context.stop.requested()) {
        (_, Some(reason)) => RunEnd::Stopped(reason),
        (Err(error), None) => RunEnd::Failed(error),
        (Ok(()), None) => match context.incomplete() {
            Some(incomplete) => RunEnd::Incomplete(incomplete),
            None => finished(&context, &job).await,
        },
    };
    let end = give_up_lease(&context, end).await;
    let counts = close(&context, &job, &end).await?;
    Ok(IngestOutcome {
        job_id: job.id,
        counts,
        republished: context.progress.republished.load(Ordering::Relaxed),
        settled: context.progress.settled.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
        end,
        spec: job.spec,
        inputs: context.inputs.progress(),
        skipped,
    })
}

impl RunEnd {
    /// The job's status after the run, and why it was interrupted.
    fn status(&self) -> (JobStatus, Option<String>) {
        match self {
            Self::Finished => (JobStatus::Finished, None),
            Self::Stopped(reason) => (JobStatus::Interrupted, Some(reason.to_string())),
            Self::Incomplete(incomplete) => (JobStatus::Interrupted, Some(incomplete.to_string())),
            Self::FilesMissing(missing) => (JobStatus::Interrupted, Some(missing.to_string())),
            Self::Failed(error) => (JobStatus::Interrupted, Some(error_chain(error))),
        }
    }
}

/// The end of a run in which every file that was found got its outcome.
async fn finished(context: &RunContext, job: &LeasedJob) -> RunEnd {
    let Some(expected) = job.expected_files else { return RunEnd::Finished };
    match context.ports.journal.counts(job.id).await {
        Ok(counts) if counts.discovered < expected => {
            RunEnd::FilesMissing(MissingFiles { found: counts.discovered, expected })
        }
        Ok(_) => RunEnd::Finished,
        Err(error) => RunEnd::Failed(error.into()),
    }
}

/// Gives up the job's lease in the catalog. A run that did what it could fails if another host took the job over, or if
/// the catalog did not learn of its end.
async fn give_up_lease(context: &RunContext, end: RunEnd) -> RunEnd {
    let (status, reason) = end.status();
    let now = context.ports.clock.now();
    let give_up = || context.lease.end(status, reason.as_deref(), now);
    match end {
        RunEnd::Finished | RunEnd::Incomplete(_) | RunEnd::FilesMissing(_) => match context.retry(give_up).await {
            Ok(()) => end,
            Err(error) => RunEnd::Failed(error.into()),
        },
        RunEnd::Stopped(_) | RunEnd::Failed(_) => {
            if let Err(error) = give_up().await {
                tracing::warn!(error = error.full(), "the job's lease was not given up");
            }
            end
        }
    }
}

/// Records the job's status in the journal and reads its counts.
async fn close(context: &RunContext, job: &LeasedJob, end: &RunEnd) -> Result<JobCounts, Error> {
    let (status, reason) = end.status();
    let journal = context.ports.journal.as_ref();
    let recorded = journal.set_status(job.id, status, reason.as_deref(), context.ports.clock.now()).await;
    let counts = match (journal.counts(job.id).await, end) {
        (Ok(counts), _) => counts,
        // The journal itself may have failed: `end` has the reason.
        (Err(_), RunEnd::Failed(_)) => JobCounts::default(),
        (Err(error), _) => return Err(error.into()),
    };
    if matches!(end, RunEnd::Finished | RunEnd::Incomplete(_) | RunEnd::FilesMissing(_)) {
        recorded?;
    }
    Ok(counts)
}
