//! Opens the job of a run: finds or creates it, checks free space, and takes its lease.

use super::context::{IngestPorts, IngestScope};
use super::error::Error;
use super::free_space::{self, FreeSpaceGuard, SourceEstimate};
use super::rules::{FileRules, data_dir_paths};
use super::spec::JobSpec;
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::{Job, JobStatus};
use mfctl_core::ports::{JobJournal, JobLease, NewJob};
use mfctl_core::stop::Stop;

/// Which job to run.
#[derive(Debug, Clone)]
pub enum JobStart {
    /// The unfinished job with this spec, or a new one.
    ResumeOrNew(JobSpec),
    /// A new job.
    New(JobSpec),
    /// This job, from where it stopped.
    Resume(JobId),
    /// The failed files of this job.
    RetryFailed(JobId),
}

impl JobStart {
    /// The journal's job to resume, if there is one, and whether only its failed files are retried.
    async fn find(&self, journal: &dyn JobJournal, scope: &IngestScope) -> Result<(Option<Job>, bool), Error> {
        let existing = async |id: JobId| -> Result<Job, Error> { journal.job(id).await?.ok_or(Error::UnknownJob(id)) };
        Ok(match self {
            Self::New(_) => (None, false),
            Self::ResumeOrNew(spec) => (journal.unfinished(&scope.tenant, &spec.canonical()?).await?, false),
            Self::Resume(id) => (Some(existing(*id).await?), false),
            Self::RetryFailed(id) => (Some(existing(*id).await?), true),
        })
    }

    fn spec(&self, existing: Option<&Job>) -> Result<JobSpec, Error> {
        match (self, existing) {
            (Self::New(spec) | Self::ResumeOrNew(spec), _) => Ok(spec.clone()),
            (_, Some(job)) => JobSpec::read(&job.spec),
            (Self::Resume(id) | Self::RetryFailed(id), None) => Err(Error::UnknownJob(*id)),
        }
    }
}

/// A job whose lease this process holds.
pub(super) struct LeasedJob {
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    /// The estimate of the source, where it was made.
    pub(super) estimate: SourceEstimate,
    /// Whether an earlier run worked on the job.
    pub(super) resumed: bool,
    /// Whether only files that the journal has as planned are processed, without a walk.
    pub(super) skips_walk: bool,
    _lease: Box<dyn JobLease>,
}

/// Opens the job that `start` asks for.
///
/// # Errors
/// An unknown job, one that another process holds, or too little free space; errors of the ports.
pub(super) async fn open(
    ports: &IngestPorts,
    scope: &IngestScope,
    start: &JobStart,
    guard: FreeSpaceGuard,
    stop: &Stop,
) -> Result<LeasedJob, Error> {
    let journal = ports.journal.as_ref();
    let (existing, retry) = start.find(journal, scope).await?;
    let spec = start.spec(existing.as_ref())?;
    // A job whose walk did not end is resumed as a whole, its failed files among the others.
    let skips_walk = retry && existing.as_ref().is_some_and(|job| job.walk_complete);
    let estimate = if skips_walk { SourceEstimate::default() } else { estimate(&spec, scope, stop).await? };
    free_space::require(ports.objects.as_ref(), guard, estimate).await?;
    let resumed = existing.is_some();
    let (id, lease) = match existing {
        Some(job) => (job.job_id, resume(ports, job.job_id, retry).await?),
        None => create(ports, scope, &spec).await?,
    };
    Ok(LeasedJob { id, spec, estimate, resumed, skips_walk, _lease: lease })
}

async fn estimate(spec: &JobSpec, scope: &IngestScope, stop: &Stop) -> Result<SourceEstimate, Error> {
    let rules = FileRules::new(spec.clone(), data_dir_paths(&scope.data_dir))?;
    let stop = stop.clone();
    let estimate = tokio::task::spawn_blocking(move || free_space::estimate(&rules, &stop)).await;
    Ok(estimate.unwrap_or_default())
}

async fn resume(ports: &IngestPorts, id: JobId, retry: bool) -> Result<Box<dyn JobLease>, Error> {
    let lease = ports.journal.lease(id).await?;
    ports.journal.set_status(id, JobStatus::Running, None, ports.clock.now()).await?;
    let retried = if retry { ports.journal.retry_failed(id, ports.clock.now()).await? } else { 0 };
    tracing::debug!(job = %id, again = retried, "resumed");
    Ok(lease)
}

async fn create(ports: &IngestPorts, scope: &IngestScope, spec: &JobSpec) -> Result<(JobId, Box<dyn JobLease>), Error> {
    let job_id = JobId::fresh();
    // The lease is taken first: without it, the job would look like one whose process died.
    let lease = ports.journal.lease(job_id).await?;
    let new = NewJob {
        job_id,
        tenant: scope.tenant.clone(),
        actor: scope.actor.clone(),
        host: scope.host.clone(),
        spec: spec.canonical()?,
        at: ports.clock.now(),
    };
    ports.journal.begin(new).await?;
    Ok((job_id, lease))
}
