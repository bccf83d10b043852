//! A job from its beginning, or where it was left, to its end: the lease, the walk, the batches, the closing word.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::engine::{Done, Engine, Place, Tools};
use super::feed::{Gatherer, skipped};
use super::space::{self, Estimate, Guard};
use super::spec::JobSpec;
use super::walk::{self, Candidate, LeftOut};
use super::{Error, Progress, Rules, manifest};
use mfctl_core::domain::job::{FileStep, Job, JobCounts, JobStatus, JournalFile};
use mfctl_core::domain::{JobId, error_chain};
use mfctl_core::ports::{self, ErrorKind, JobFilter, JobLease, NewJob};
use mfctl_core::stop::{Stop, StopReason};

/// Batches under way at the same time: one is read while another is written.
const IN_FLIGHT: usize = 4;
const PAGE: usize = 1000;

/// Which job to run.
#[derive(Debug, Clone)]
pub enum Start {
    /// The unfinished job with this spec, else a new one.
    ResumeOrNew(JobSpec),
    /// A new one.
    New(JobSpec),
    /// This one, where it was left.
    Resume(JobId),
    /// This one's failed files.
    RetryFailed(JobId),
}

/// What to run and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which job.
    pub start: Start,
    /// Files read and staged at the same time.
    pub concurrency: usize,
    /// Small objects of a batch that are sent at the same time.
    pub sends: usize,
    /// The share of the disk, in percent, that is to stay free.
    pub min_free_percent: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// Every file has its outcome.
    Finished,
    /// A stop was asked for.
    Stopped(StopReason),
    /// It could not go on.
    Broken(Error),
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The job.
    pub job_id: JobId,
    /// Its counts, earlier runs included.
    pub counts: JobCounts,
    /// Events published again for assets that others staged, in this run.
    pub republished: u64,
    /// Files that got their outcome in this run.
    pub settled: u64,
    /// How long this run took.
    pub elapsed: Duration,
    /// How it ended.
    pub ended: Ended,
    /// What was left out on purpose.
    pub left_out: Arc<LeftOut>,
}

/// A job that this process may work on.
struct Held {
    job: Job,
    resumed: bool,
    retry: bool,
    _lease: Box<dyn JobLease>,
}

/// Runs a job. `begun` hears its id, and whether it is resumed, before anything is read.
///
/// # Errors
/// What keeps it from beginning: an unknown job, one that another process has, no room. What happens later is told by
/// [`Outcome::ended`].
pub async fn run(
    tools: Arc<Tools>,
    place: Place,
    request: Request,
    progress: Arc<dyn Progress>,
    stop: Stop,
    begun: impl FnOnce(JobId, bool),
) -> Result<Outcome, Error> {
    let began = Instant::now();
    let guard = Guard { min_free_percent: request.min_free_percent };
    let (held, spec, ahead) = begin(&tools, &place, &request.start, guard, &stop).await?;
    begun(held.job.job_id, held.resumed);
    let concurrency = request.concurrency.max(1);
    let engine = Arc::new(Engine {
        rules: Rules::new(spec, skipped(&place.data_dir))?,
        place,
        job: held.job.job_id,
        stop,
        hands: Arc::new(Semaphore::new(concurrency)),
        concurrency,
        sends: request.sends.max(1),
        guard,
        done: Done::default(),
        progress,
        total: ahead.whole.then_some(ahead),
        tools,
    });
    let left_out = Arc::new(LeftOut::default());
    let worked = engine.work(&held, &left_out).await;
    engine.close(&held, worked, began, left_out).await
}

async fn begin(
    tools: &Tools,
    place: &Place,
    start: &Start,
    guard: Guard,
    stop: &Stop,
) -> Result<(Held, JobSpec, Estimate), Error> {
    let journal = tools.journal.as_ref();
    let (found, retry) = match start {
        Start::New(_) => (None, false),
        Start::ResumeOrNew(spec) => (journal.unfinished(&place.tenant, &spec.canonical()?).await?, false),
        Start::Resume(id) => (Some(journal.job(*id).await?.ok_or(Error::UnknownJob(*id))?), false),
        Start::RetryFailed(id) => (Some(journal.job(*id).await?.ok_or(Error::UnknownJob(*id))?), true),
    };
    let spec = match (start, &found) {
        (Start::New(spec) | Start::ResumeOrNew(spec), _) => spec.clone(),
        (_, Some(job)) => JobSpec::read(&job.spec)?,
        (Start::Resume(id) | Start::RetryFailed(id), None) => return Err(Error::UnknownJob(*id)),
    };
    // A job whose walk did not end is resumed as a whole: its failed files among the others.
    let ahead = match &found {
        Some(job) if retry && job.walk_complete => Estimate::default(),
        _ => look_ahead(&spec, place, stop).await?,
    };
    space::room(tools.objects.as_ref(), guard, ahead).await?;
    let held = match found {
        Some(job) => {
            let lease = journal.lease(job.job_id).await?;
            journal.set_status(job.job_id, JobStatus::Running, None, tools.clock.now()).await?;
            let again = if retry { journal.retry_failed(job.job_id, tools.clock.now()).await? } else { 0 };
            tracing::debug!(job = %job.job_id, again, "resumed");
            Held { retry: retry && job.walk_complete, resumed: true, _lease: lease, job }
        }
        None => new_job(tools, place, &spec).await?,
    };
    Ok((held, spec, ahead))
}

async fn look_ahead(spec: &JobSpec, place: &Place, stop: &Stop) -> Result<Estimate, Error> {
    let rules = Rules::new(spec.clone(), skipped(&place.data_dir))?;
    let stop = stop.clone();
    let looked = tokio::task::spawn_blocking(move || space::look_ahead(&rules, &stop)).await;
    Ok(looked.unwrap_or_default())
}

async fn new_job(tools: &Tools, place: &Place, spec: &JobSpec) -> Result<Held, Error> {
    let job_id = JobId::fresh();
    // The lease first: nobody may take the job for one whose process died.
    let lease = tools.journal.lease(job_id).await?;
    let new = NewJob {
        job_id,
        tenant: place.tenant.clone(),
        actor: place.actor.clone(),
        host: place.host.clone(),
        spec: spec.canonical()?,
        at: tools.clock.now(),
    };
    tools.journal.begin(new).await?;
    let job = tools.journal.job(job_id).await?.ok_or(Error::UnknownJob(job_id))?;
    Ok(Held { job, resumed: false, retry: false, _lease: lease })
}

impl Engine {
    /// Works until everything has its outcome, a stop is asked for or something breaks.
    async fn work(self: &Arc<Self>, held: &Held, left_out: &Arc<LeftOut>) -> Result<(), Error> {
        if !held.retry {
            let (engine, left_out) = (self.clone(), left_out.clone());
            let walked = self.feed(move |gatherer| {
                let mut sink = |candidate| gatherer.take(candidate);
                walk::find(&engine.rules, &left_out, &engine.stop, &mut sink)
            });
            if walked.await?.is_break() || self.stopping() {
                return Ok(());
            }
            self.tools.journal.set_walk_complete(self.job, self.tools.clock.now()).await?;
        }
        if held.resumed { self.work_off_planned().await } else { Ok(()) }
    }

    /// Files that the journal has as planned and the walk did not meet again: those to be retried, and those that are
    /// gone since.
    async fn work_off_planned(self: &Arc<Self>) -> Result<(), Error> {
        let filter = JobFilter { steps: vec![FileStep::Planned, FileStep::Staged] };
        let mut cursor: Option<String> = None;
        loop {
            let page = self.tools.journal.files(self.job, &filter, cursor.as_deref(), PAGE).await?;
            let engine = self.clone();
            let done = self.feed(move |gatherer| engine.planned_again(page.items, gatherer)).await?;
            cursor = page.next;
            if cursor.is_none() || done.is_break() || self.stopping() {
                return Ok(());
            }
        }
    }

    /// Looks at journalled files again, with what the manifest says of them.
    fn planned_again(&self, rows: Vec<JournalFile>, gatherer: &mut Gatherer) -> Result<ControlFlow<()>, Error> {
        let mut wanted: std::collections::HashMap<_, _> =
            rows.into_iter().map(|row| (row.path.to_path(), None::<Candidate>)).collect();
        if let Some(spec) = &self.rules.spec.manifest {
            let mut each = |candidate: Candidate| {
                if let Some(slot) = wanted.get_mut(&candidate.path) {
                    *slot = Some(candidate);
                }
                ControlFlow::Continue(())
            };
            if manifest::rows(spec, &self.stop, &mut each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for (path, said) in wanted {
            // A folder that could not be read may be readable now.
            if path.is_dir() && std::fs::read_dir(&path).is_ok() {
                let mut sink = |candidate| gatherer.take(candidate);
                if walk::tree(&path, &self.rules, &Arc::default(), &self.stop, &mut sink).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let bare = || Candidate { path: path.clone(), size_hint: 0, refused: None, said: None };
            if gatherer.take(walk::classified(said.unwrap_or_else(bare))).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Runs a finder on a thread of its own and takes its batches on their journeys, several at a time.
    async fn feed(
        self: &Arc<Self>,
        find: impl FnOnce(&mut Gatherer) -> Result<ControlFlow<()>, Error> + Send + 'static,
    ) -> Result<ControlFlow<()>, Error> {
        let (sender, mut batches) = mpsc::channel(1);
        let mut finder = tokio::task::spawn_blocking(move || {
            let mut gatherer = Gatherer::new(sender);
            let found = find(&mut gatherer)?;
            Ok::<_, Error>(if gatherer.finish().is_break() { ControlFlow::Break(()) } else { found })
        });
        let mut journeys: JoinSet<ports::Result<()>> = JoinSet::new();
        let mut failed = None;
        while failed.is_none() && !self.stopping() {
            let batch = tokio::select! {
                batch = batches.recv(), if journeys.len() < IN_FLIGHT => batch,
                Some(done) = journeys.join_next() => { failed = failure(done); continue }
                _ = self.stop.wait() => break,
            };
            let Some(batch) = batch else { break };
            let engine = self.clone();
            journeys.spawn(async move { engine.journey(batch).await });
        }
        drop(batches);
        while let Some(done) = journeys.join_next().await {
            failed = failed.or(failure(done));
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        if self.stopping() {
            // The finder may be waiting for standard input: nobody waits for it.
            return Ok(ControlFlow::Break(()));
        }
        match (&mut finder).await {
            Ok(found) => found,
            Err(error) => Err(ports::Error::new(ErrorKind::Internal, format!("find files: {error}")).into()),
        }
    }

    /// Says how the job stands, and what came of the run.
    async fn close(
        self: &Arc<Self>,
        held: &Held,
        worked: Result<(), Error>,
        began: Instant,
        left_out: Arc<LeftOut>,
    ) -> Result<Outcome, Error> {
        let ended = match (worked, self.stop.requested()) {
            (Err(_), Some(reason)) | (Ok(()), Some(reason)) => Ended::Stopped(reason),
            (Err(error), None) => Ended::Broken(error),
            (Ok(()), None) => Ended::Finished,
        };
        let (status, reason) = match &ended {
            Ended::Finished => (JobStatus::Finished, None),
            Ended::Stopped(reason) => (JobStatus::Interrupted, Some(reason.to_string())),
            Ended::Broken(error) => (JobStatus::Interrupted, Some(error_chain(error))),
        };
        let journal = self.tools.journal.as_ref();
        let job = held.job.job_id;
        let said = journal.set_status(job, status, reason.as_deref(), self.tools.clock.now()).await;
        let counts = match (journal.counts(job).await, &ended) {
            (Ok(counts), _) => counts,
            // The journal is what broke: the reason is told already.
            (Err(_), Ended::Broken(_)) => JobCounts::default(),
            (Err(error), _) => return Err(error.into()),
        };
        if matches!(ended, Ended::Finished) {
            said?;
        }
        Ok(Outcome {
            job_id: job,
            counts,
            republished: self.done.republished.load(Ordering::Relaxed),
            settled: self.done.settled.load(Ordering::Relaxed),
            elapsed: began.elapsed(),
            ended,
            left_out,
        })
    }
}

fn failure(done: Result<ports::Result<()>, tokio::task::JoinError>) -> Option<ports::Error> {
    match done {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(ports::Error::new(ErrorKind::Internal, format!("take a batch of files: {error}"))),
    }
}
