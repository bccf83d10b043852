//! Opens the job of a run: finds or creates it, checks free space, and takes its lease.

use std::sync::Arc;

use super::adopt;
use super::context::{IngestPorts, IngestScope};
use super::error::Error;
use super::estimate::{self, SourceEstimate};
use super::free_space::FreeSpaceGuard;
use super::input::{GivenInput, GivenInputs, HeldInput, JobInputs, JobSpool, WaitNotice, incomplete};
use super::lease::CatalogLease;
use super::rules::{FileRules, data_dir_paths};
use super::spec::JobSpec;
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::{InputKind, Job, JobInput, JobStatus};
use mfctl_core::ports::{self, ErrorKind, JobLease, NewJob};
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
    /// The job to resume, if there is one.
    async fn find(&self, ports: &IngestPorts, scope: &IngestScope) -> Result<Option<ExistingJob>, Error> {
        let own = |job| ExistingJob { job, is_adopted: false };
        Ok(match self {
            Self::New(_) => None,
            Self::ResumeOrNew(spec) => ports.journal.unfinished(&scope.tenant, &spec.canonical()?).await?.map(own),
            Self::Resume(id) | Self::RetryFailed(id) => Some(match ports.journal.job(*id).await? {
                Some(job) => own(job),
                None => ExistingJob { job: adopt::find(ports, scope, *id).await?, is_adopted: true },
            }),
        })
    }

    fn spec(&self, existing: Option<&ExistingJob>) -> Result<JobSpec, Error> {
        match (self, existing) {
            (Self::New(spec) | Self::ResumeOrNew(spec), _) => Ok(spec.clone()),
            (_, Some(existing)) => JobSpec::read(&existing.job.spec),
            (Self::Resume(id) | Self::RetryFailed(id), None) => Err(Error::UnknownJob(*id)),
        }
    }
}

/// A job that an earlier run worked on.
struct ExistingJob {
    job: Job,
    /// Whether it is another host's, and this journal does not have it yet.
    is_adopted: bool,
}

/// A job whose lease this process holds.
pub(super) struct LeasedJob {
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    /// Its lists and manifests.
    pub(super) inputs: Arc<JobInputs>,
    /// The estimate of the source, where it was made.
    pub(super) estimate: SourceEstimate,
    /// Whether an earlier run worked on the job.
    pub(super) resumed: bool,
    /// Whether only files that the journal has as planned are processed, without a walk.
    pub(super) skips_walk: bool,
    pub(super) lease: Arc<CatalogLease>,
    _journal_lease: Box<dyn JobLease>,
}

/// The leases of a job, in the journal and in the catalog.
type Leases = (Box<dyn JobLease>, CatalogLease);

/// The inputs of a command: regular files, which are read already, and others, which are read by the run.
#[derive(Default)]
struct ReadyInputs {
    held: Vec<(InputKind, HeldInput)>,
    unread: Vec<GivenInput>,
}

/// Opens the job that `start` asks for.
///
/// # Errors
/// An unknown job, one that another process holds, or too little free space; an input that cannot be read, or that the job
/// has already; a job of another host whose files this one does not have; errors of the ports.
pub(super) async fn open(
    ports: &IngestPorts,
    scope: &IngestScope,
    mut start: JobStart,
    given: GivenInputs,
    guard: FreeSpaceGuard,
    stop: &Stop,
) -> Result<LeasedJob, Error> {
    let GivenInputs { inputs, notice } = given;
    let reader = InputReader { scope, guard, stop, notice: &notice };
    let mut ready = reader.hold(inputs).await?;
    if let JobStart::ResumeOrNew(spec) | JobStart::New(spec) = &mut start {
        ready.held.iter().for_each(|(kind, held)| spec.set_digest(*kind, held.sha256));
    }
    let journal = ports.journal.as_ref();
    let existing = start.find(ports, scope).await?;
    let retry = matches!(start, JobStart::RetryFailed(_));
    let spec = start.spec(existing.as_ref())?;
    let kept = match &existing {
        Some(ExistingJob { job, is_adopted: false }) => journal.inputs(job.job_id).await?,
        _ => Vec::new(),
    };
    if let Some(ExistingJob { job, is_adopted }) = &existing {
        if matches!(start, JobStart::Resume(_)) {
            refuse_unwanted(job.job_id, &spec, &kept, &ready)?;
        }
        reader.hold_unkept(&mut ready, &spec, &kept).await?;
        if *is_adopted {
            adopt::check_source(ports, job, &spec, &ready.held, stop).await?;
        }
    }
    // A job whose walk did not end is resumed as a whole, its failed files among the others.
    let skips_walk = retry && existing.as_ref().is_some_and(|existing| existing.job.walk_complete);
    let estimate = if skips_walk {
        SourceEstimate::default()
    } else {
        estimate(&spec, existing.as_ref().map(|existing| existing.job.job_id), kept, &ready.held, scope, stop).await?
    };
    estimate::require(ports.objects.as_ref(), guard, estimate).await?;
    let resumed = existing.is_some();
    let (id, (journal_lease, lease)) = match existing {
        Some(existing) => (existing.job.job_id, resume(ports, scope, &existing, retry, stop).await?),
        None => create(ports, scope, &spec, stop).await?,
    };
    let takes_rest = matches!(start, JobStart::Resume(_));
    let spool = JobSpool { data_dir: scope.data_dir.clone(), job: id, free_space: guard, takes_rest };
    let inputs = keep(ports, ready, spool, stop, notice).await?;
    Ok(LeasedJob {
        id,
        spec,
        inputs: Arc::new(inputs),
        estimate,
        resumed,
        skips_walk,
        lease: Arc::new(lease),
        _journal_lease: journal_lease,
    })
}

/// Reads inputs that are regular files before it is known which job they belong to.
#[derive(Clone, Copy)]
struct InputReader<'a> {
    scope: &'a IngestScope,
    guard: FreeSpaceGuard,
    stop: &'a Stop,
    notice: &'a WaitNotice,
}

impl InputReader<'_> {
    /// Reads the inputs that are regular files.
    async fn hold(self, inputs: Vec<GivenInput>) -> Result<ReadyInputs, Error> {
        let folder = self.scope.data_dir.clone();
        let guard = self.guard;
        let stop = self.stop.clone();
        let notice = self.notice.clone();
        let read = move || {
            let mut ready = ReadyInputs::default();
            for given in inputs {
                if given.regular {
                    ready.held.push((given.kind, HeldInput::read(given, &folder, guard, &stop, notice.clone())?));
                } else {
                    ready.unread.push(given);
                }
            }
            Ok(ready)
        };
        run_blocking("read a list or manifest", read).await?
    }

    /// Reads the inputs of a job that a version of mfctl began that did not keep them, where they still are regular files.
    async fn hold_unkept(self, ready: &mut ReadyInputs, spec: &JobSpec, kept: &[JobInput]) -> Result<(), Error> {
        for kind in InputKind::ALL.iter().copied().filter(|kind| spec.has_input(*kind)) {
            let given =
                ready.held.iter().any(|(held, _)| *held == kind) || ready.unread.iter().any(|new| new.kind == kind);
            if given || kept.iter().any(|input| input.kind == kind) {
                continue;
            }
            let reopened = spec.input_path(kind).and_then(|path| GivenInput::reopen(kind, path));
            ready.held.extend(self.hold(reopened.into_iter().collect()).await?.held);
        }
        Ok(())
    }
}

async fn run_blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let internal = |error| ports::Error::new(ErrorKind::Internal, format!("{what}: {error}"));
    Ok(tokio::task::spawn_blocking(work).await.map_err(internal)?)
}

/// Refuses inputs that are given to a job that has all of its own.
fn refuse_unwanted(job: JobId, spec: &JobSpec, kept: &[JobInput], ready: &ReadyInputs) -> Result<(), Error> {
    let kinds = ready.held.iter().map(|(kind, _)| *kind).chain(ready.unread.iter().map(|given| given.kind));
    for kind in kinds {
        if !spec.has_input(kind) {
            return Err(Error::InputNotWanted { job, kind, why: "it was begun without one" });
        }
        if incomplete(spec, kept).is_none() {
            return Err(Error::InputNotWanted { job, kind, why: "its own was read to its end" });
        }
    }
    Ok(())
}

async fn estimate(
    spec: &JobSpec,
    job: Option<JobId>,
    kept: Vec<JobInput>,
    held: &[(InputKind, HeldInput)],
    scope: &IngestScope,
    stop: &Stop,
) -> Result<SourceEstimate, Error> {
    let rules = FileRules::new(spec.clone(), data_dir_paths(&scope.data_dir))?;
    let mut inputs = job.map_or_else(JobInputs::default, |job| JobInputs::kept(&scope.data_dir, job, kept));
    for (kind, held) in held {
        if !inputs.ended(*kind) {
            inputs.push_held(*kind, held);
        }
    }
    let stop = stop.clone();
    let estimated = move || match estimate::estimate(&rules, &inputs, &stop) {
        // What was kept cannot be used: the run says so, and rejects it.
        Err(_) if inputs.rejected_kept() => Ok(SourceEstimate::default()),
        estimated => estimated,
    };
    run_blocking("estimate the source", estimated).await?
}

/// Adds the inputs of this command to those that the job has. A regular file that the job has read to its end is added again
/// only as the rest: the job's specification has its digest.
async fn keep(
    ports: &IngestPorts,
    ready: ReadyInputs,
    spool: JobSpool,
    stop: &Stop,
    notice: WaitNotice,
) -> Result<JobInputs, Error> {
    let job = spool.job;
    let mut inputs = JobInputs::kept(&spool.data_dir, job, ports.journal.inputs(job).await?);
    let stop = stop.clone();
    let store = move || {
        for (kind, held) in &ready.held {
            if spool.takes_rest || !inputs.ended(*kind) {
                inputs.keep_held(*kind, held, &spool)?;
            }
        }
        for given in ready.unread {
            inputs.push_new(given, Some(&spool), &stop, notice.clone())?;
        }
        Ok::<_, Error>(inputs)
    };
    let inputs = run_blocking("keep a list or manifest", store).await??;
    for input in inputs.progress() {
        ports.journal.put_input(job, input, ports.clock.now()).await?;
    }
    Ok(inputs)
}

async fn resume(
    ports: &IngestPorts,
    scope: &IngestScope,
    ExistingJob { job, is_adopted }: &ExistingJob,
    retry: bool,
    stop: &Stop,
) -> Result<Leases, Error> {
    let id = job.job_id;
    let new = NewJob {
        job_id: id,
        tenant: job.tenant.clone(),
        actor: job.actor.clone(),
        host: scope.host.clone(),
        spec: job.spec.clone(),
        at: job.started_at,
    };
    let journal_lease = ports.journal.lease(id).await?;
    let lease = CatalogLease::take(ports, new.clone(), stop).await?;
    if *is_adopted {
        ports.journal.begin(new).await?;
        adopt::record_ingested(ports, job).await?;
    }
    ports.journal.set_status(id, JobStatus::Running, None, ports.clock.now()).await?;
    let retried = if retry { ports.journal.retry_failed(id, ports.clock.now()).await? } else { 0 };
    tracing::debug!(job = %id, again = retried, "resumed");
    Ok((journal_lease, lease))
}

async fn create(
    ports: &IngestPorts,
    scope: &IngestScope,
    spec: &JobSpec,
    stop: &Stop,
) -> Result<(JobId, Leases), Error> {
    let job_id = JobId::fresh();
    // The leases are taken first: without them, the job would look like one whose process died.
    let journal_lease = ports.journal.lease(job_id).await?;
    let new = NewJob {
        job_id,
        tenant: scope.tenant.clone(),
        actor: scope.actor.clone(),
        host: scope.host.clone(),
        spec: spec.canonical()?,
        at: ports.clock.now(),
    };
    let lease = CatalogLease::take(ports, new.clone(), stop).await?;
    ports.journal.begin(new).await?;
    Ok((job_id, (journal_lease, lease)))
}
