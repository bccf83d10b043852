//! Opens the job of a run: finds or creates it, checks free space, and takes its lease.

use std::sync::Arc;

use super::adopt::{self, ExistingJob};
use super::context::{IngestPorts, IngestScope, retry};
use super::error::Error;
use super::estimate::{self, SourceEstimate};
use super::free_space::FreeSpaceGuard;
use super::input::{GivenInput, GivenInputs, HeldInput, JobInputs, JobSpool, WaitNotice, incomplete};
use super::lease::CatalogLease;
use super::rules::{FileRules, data_dir_paths};
use super::spec::JobSpec;
use mfctl_core::domain::job::{InputKind, JobInput, JobStatus};
use mfctl_core::domain::{ImportedLease, JobId, LeaseState, error_chain};
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
    async fn find(&self, ports: &IngestPorts, scope: &IngestScope, stop: &Stop) -> Result<Option<ExistingJob>, Error> {
        Ok(match self {
            Self::New(_) => None,
            Self::ResumeOrNew(spec) => match ports.journal.unfinished(&scope.tenant, &spec.canonical()?).await? {
                // One that another host finished is not resumed without being named.
                Some(job) => Some(adopt::find(ports, scope, job.job_id, stop).await?)
                    .filter(|existing| !(existing.lacks_outcomes && existing.is_finished)),
                None => None,
            },
            Self::Resume(id) | Self::RetryFailed(id) => Some(adopt::find(ports, scope, *id, stop).await?),
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

/// A job whose lease this process holds.
pub(super) struct LeasedJob {
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    pub(super) rules: Arc<FileRules>,
    /// Its lists and manifests.
    pub(super) inputs: Arc<JobInputs>,
    /// The estimate of the source, where it was made.
    pub(super) estimate: SourceEstimate,
    /// Whether an earlier run worked on the job.
    pub(super) resumed: bool,
    /// Whether only files that the journal has as planned are processed, without a walk.
    pub(super) skips_walk: bool,
    /// Files that another host had found, without which the job is not finished; `None` if it was never another host's.
    pub(super) expected_files: Option<u64>,
    pub(super) lease: Arc<CatalogLease>,
    _journal_lease: Box<dyn JobLease>,
}

/// A job whose leases were taken, before anything of this run is in the journal.
struct TakenJob {
    new: NewJob,
    spec: JobSpec,
    rules: Arc<FileRules>,
    existing: Option<ExistingJob>,
    estimate: SourceEstimate,
    skips_walk: bool,
    journal_lease: Box<dyn JobLease>,
    lease: CatalogLease,
}

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
    let mut taken = take(ports, &start, &mut ready, reader).await;
    // Another host ran the job and ended while this one compared its files: what it recorded is compared as well.
    if let Err(Error::HeldElsewhere { lease: Some(lease), .. }) = &taken
        && lease.state != LeaseState::Held
    {
        taken = take(ports, &start, &mut ready, reader).await;
    }
    let taken = taken?;
    let takes_rest = matches!(start, JobStart::Resume(_));
    let spool = JobSpool { data_dir: scope.data_dir.clone(), job: taken.new.job_id, free_space: guard, takes_rest };
    let begun = async {
        begin(ports, &taken, matches!(start, JobStart::RetryFailed(_)), stop).await?;
        keep(ports, ready, spool, stop, notice.clone()).await
    };
    let inputs = match begun.await {
        Ok(inputs) => inputs,
        Err(error) => {
            give_up(ports, &taken, &error).await;
            return Err(error);
        }
    };
    Ok(LeasedJob {
        id: taken.new.job_id,
        spec: taken.spec,
        rules: taken.rules,
        inputs: Arc::new(inputs),
        estimate: taken.estimate,
        resumed: taken.existing.is_some(),
        skips_walk: taken.skips_walk,
        expected_files: taken.existing.and_then(|existing| existing.expected_files),
        lease: Arc::new(taken.lease),
        _journal_lease: taken.journal_lease,
    })
}

/// Finds the job, checks that this host can run it, and takes its leases.
async fn take(
    ports: &IngestPorts,
    start: &JobStart,
    ready: &mut ReadyInputs,
    reader: InputReader<'_>,
) -> Result<TakenJob, Error> {
    let InputReader { scope, guard, stop, .. } = reader;
    let existing = start.find(ports, scope, stop).await?;
    let spec = start.spec(existing.as_ref())?;
    let rules = Arc::new(FileRules::new(spec.clone(), data_dir_paths(&scope.data_dir))?);
    let kept = match &existing {
        Some(ExistingJob { job, is_journalled: true, .. }) => ports.journal.inputs(job.job_id).await?,
        _ => Vec::new(),
    };
    if let Some(ExistingJob { job, lacks_outcomes, .. }) = &existing {
        if matches!(start, JobStart::Resume(_)) {
            refuse_unwanted(job.job_id, &spec, &kept, ready)?;
        }
        reader.hold_unkept(ready, &spec, &kept).await?;
        if *lacks_outcomes {
            adopt::check_source(ports, job, &spec, &ready.held, &kept, stop).await?;
        }
    }
    // A job whose walk did not end is resumed as a whole, its failed files among the others.
    let has_all_files = |existing: &ExistingJob| existing.job.walk_complete && !existing.lacks_outcomes;
    let skips_walk = matches!(start, JobStart::RetryFailed(_)) && existing.as_ref().is_some_and(has_all_files);
    let job = existing.as_ref().map(|existing| existing.job.job_id);
    let estimate = match skips_walk {
        true => SourceEstimate::default(),
        false => estimate(&rules, job, kept, &ready.held, scope, stop).await?,
    };
    estimate::require(ports.objects.as_ref(), guard, estimate).await?;
    let new = match &existing {
        Some(ExistingJob { job, .. }) => NewJob {
            job_id: job.job_id,
            tenant: job.tenant.clone(),
            actor: job.actor.clone(),
            host: scope.host.clone(),
            spec: job.spec.clone(),
            at: job.started_at,
        },
        None => NewJob {
            job_id: JobId::fresh(),
            tenant: scope.tenant.clone(),
            actor: scope.actor.clone(),
            host: scope.host.clone(),
            spec: spec.canonical()?,
            at: ports.clock.now(),
        },
    };
    let journal_lease = ports.journal.lease(new.job_id).await?;
    let epoch = existing.as_ref().and_then(|existing| existing.epoch);
    let lease = CatalogLease::take(ports, new.clone(), epoch, stop).await?;
    Ok(TakenJob { new, spec, rules, existing, estimate, skips_walk, journal_lease, lease })
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
    rules: &Arc<FileRules>,
    job: Option<JobId>,
    kept: Vec<JobInput>,
    held: &[(InputKind, HeldInput)],
    scope: &IngestScope,
    stop: &Stop,
) -> Result<SourceEstimate, Error> {
    let rules = Arc::clone(rules);
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

/// Records in the journal that the job runs, and what other hosts ingested of it.
async fn begin(ports: &IngestPorts, taken: &TakenJob, retries: bool, stop: &Stop) -> Result<(), Error> {
    let journal = ports.journal.as_ref();
    let id = taken.new.job_id;
    let begin = || async {
        // The answer to an earlier attempt may have been lost.
        match journal.job(id).await? {
            Some(_) => Ok(()),
            None => journal.begin(taken.new.clone()).await,
        }
    };
    retry(stop, begin).await?;
    if taken.existing.as_ref().is_some_and(|existing| existing.lacks_outcomes) {
        adopt::record_ingested(ports, &taken.new, stop).await?;
    }
    let expected_files = taken.existing.as_ref().and_then(|existing| existing.expected_files);
    let imported = ImportedLease { epoch: taken.lease.fence().epoch, expected_files };
    retry(stop, || journal.set_imported_lease(id, imported)).await?;
    if taken.existing.is_some() {
        let now = ports.clock.now();
        retry(stop, || journal.set_status(id, JobStatus::Running, None, now)).await?;
        let again = if retries { retry(stop, || journal.retry_failed(id, now)).await? } else { 0 };
        tracing::debug!(job = %id, again, "resumed");
    }
    Ok(())
}

/// Gives up the lease of a job that could not begin, and records why.
async fn give_up(ports: &IngestPorts, taken: &TakenJob, error: &Error) {
    let id = taken.new.job_id;
    let reason = error_chain(error);
    let now = ports.clock.now();
    if let Err(error) = taken.lease.end(JobStatus::Interrupted, Some(&reason), now).await {
        tracing::warn!(job = %id, error = error.full(), "the job's lease was not given up");
    }
    match ports.journal.set_status(id, JobStatus::Interrupted, Some(&reason), now).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(job = %id, error = error.full(), "the job was not recorded as interrupted");
        }
        _ => {}
    }
}
