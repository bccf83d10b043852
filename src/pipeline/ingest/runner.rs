//! Feeds a job's files to the batch pipeline: those that the walk finds, then those that only the journal knows.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::batch::BatchPipeline;
use super::batching::BatchBuilder;
use super::candidate::IngestCandidate;
use super::context::RunContext;
use super::error::Error;
use super::manifest;
use super::open::LeasedJob;
use super::read::refusal;
use super::skipped::SkipCounters;
use super::walk;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileStep, JournalFile, RefusalKind};
use mfctl_core::ports::{self, ErrorKind, JobFilter};

/// Batches that are processed at the same time: one is read while another is written.
const MAX_BATCHES: usize = 4;
/// Journal rows of a page.
const PAGE: usize = 1000;

/// Runs one job.
pub(super) struct JobRunner {
    context: Arc<RunContext>,
    pipeline: Arc<BatchPipeline>,
    skipped: Arc<SkipCounters>,
}

impl JobRunner {
    pub(super) fn new(context: Arc<RunContext>, pipeline: BatchPipeline, skipped: Arc<SkipCounters>) -> Self {
        Self { context, pipeline: Arc::new(pipeline), skipped }
    }

    /// Runs until every file has its outcome, a stop is requested or an error ends the run.
    pub(super) async fn run(&self, job: &LeasedJob) -> Result<(), Error> {
        if !job.skips_walk {
            let context = self.context.clone();
            let skipped = self.skipped.clone();
            let walked = self.process(move |builder| {
                let mut sink = |candidate| builder.push(candidate);
                walk::walk(&context.rules, &context.inputs, &skipped, &context.stop, &mut sink)
            });
            let walked = walked.await;
            self.context.record_inputs().await?;
            if walked?.is_break() || self.context.is_stopping() {
                return Ok(());
            }
            // Without the rest of its list, a job does not know all its files.
            if self.context.incomplete().is_none() {
                let ports = &self.context.ports;
                ports.journal.set_walk_complete(self.context.job, ports.clock.now()).await?;
            }
        }
        if job.resumed { self.process_planned(job.skips_walk).await } else { Ok(()) }
    }

    /// Processes the files that the journal has as planned and that the walk did not find again: those to be retried,
    /// and those that have vanished.
    async fn process_planned(&self, retries: bool) -> Result<(), Error> {
        let filter = JobFilter { steps: vec![FileStep::Planned, FileStep::Staged] };
        let mut cursor: Option<String> = None;
        loop {
            let page = self.context.ports.journal.files(self.context.job, &filter, cursor.as_deref(), PAGE).await?;
            let context = self.context.clone();
            let folders = Arc::new(Mutex::new(Vec::new()));
            let walked = folders.clone();
            let done = self.process(move |builder| {
                let (found, folders) = add_planned(&context, page.items, retries, builder)?;
                *walked.lock().unwrap_or_else(PoisonError::into_inner) = folders;
                Ok(found)
            });
            let done = done.await?;
            let folders = std::mem::take(&mut *folders.lock().unwrap_or_else(PoisonError::into_inner));
            if !folders.is_empty() {
                let ports = &self.context.ports;
                ports.journal.forget_planned(self.context.job, folders, ports.clock.now()).await?;
            }
            cursor = page.next;
            if cursor.is_none() || done.is_break() || self.context.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Runs a finder on a blocking thread and its batches through the pipeline, [`MAX_BATCHES`] at a time. Breaks when
    /// the run is stopping.
    async fn process(
        &self,
        find: impl FnOnce(&mut BatchBuilder) -> Result<ControlFlow<()>, Error> + Send + 'static,
    ) -> Result<ControlFlow<()>, Error> {
        let (sender, batches) = mpsc::channel(1);
        let finder = tokio::task::spawn_blocking(move || {
            let mut builder = BatchBuilder::new(sender);
            let found = find(&mut builder)?;
            Ok::<_, Error>(if builder.finish().is_break() { ControlFlow::Break(()) } else { found })
        });
        let processed = self.run_batches(batches).await;
        // It ends with the channel, and a stop ends its wait for input.
        let found = finder.await;
        processed?;
        match found {
            Ok(found) => found,
            Err(error) => Err(ports::Error::new(ErrorKind::Internal, format!("find files: {error}")).into()),
        }
    }

    /// Runs batches until the channel is closed, a stop is requested or a batch fails; batches that have started are
    /// always finished.
    async fn run_batches(&self, mut batches: mpsc::Receiver<Vec<IngestCandidate>>) -> ports::Result<()> {
        let mut running: JoinSet<ports::Result<()>> = JoinSet::new();
        let mut failed = None;
        while failed.is_none() && !self.context.is_stopping() {
            // 1. The next batch, while fewer than MAX_BATCHES run. 2. The end of a running batch. 3. The stop request.
            let batch = tokio::select! {
                batch = batches.recv(), if running.len() < MAX_BATCHES => batch,
                Some(done) = running.join_next() => { failed = batch_error(done); continue }
                _ = self.context.stop.wait() => break,
            };
            let Some(batch) = batch else { break };
            let pipeline = self.pipeline.clone();
            running.spawn(async move { pipeline.run(batch).await });
        }
        drop(batches);
        while let Some(done) = running.join_next().await {
            failed = failed.or(batch_error(done));
        }
        failed.map_or(Ok(()), Err)
    }
}

fn batch_error(done: Result<ports::Result<()>, JoinError>) -> Option<ports::Error> {
    match done {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(ports::Error::new(ErrorKind::Internal, format!("process a batch of files: {error}"))),
    }
}

/// Adds journalled files as candidates, with the metadata of their manifest rows. `retries` are files that had failed, those
/// that never existed among them; others were found by an earlier run. Returns the rows that turned out to be folders, which
/// were walked instead.
fn add_planned(
    context: &RunContext,
    rows: Vec<JournalFile>,
    retries: bool,
    builder: &mut BatchBuilder,
) -> Result<(ControlFlow<()>, Vec<SourcePath>), Error> {
    let mut folders = Vec::new();
    let seen: HashSet<PathBuf> =
        rows.iter().filter(|row| !retries || row.size_bytes.is_some()).map(|row| row.path.to_path()).collect();
    let mut planned: HashMap<PathBuf, Option<IngestCandidate>> =
        rows.into_iter().map(|row| (row.path.to_path(), None)).collect();
    if let Some(spec) = &context.rules.spec.manifest {
        let mut keep_planned = |candidate: IngestCandidate| {
            if let Some(slot) = planned.get_mut(&candidate.path) {
                *slot = Some(candidate);
            }
            ControlFlow::Continue(())
        };
        if manifest::rows(spec, &context.rules, &context.inputs, &context.stop, &mut keep_planned)?.is_break() {
            return Ok((ControlFlow::Break(()), folders));
        }
    }
    for (path, from_manifest) in planned {
        // A folder that could not be read by an earlier run, or did not exist, may be readable now. One that a row of the
        // manifest names stays what is wrong with the row.
        if from_manifest.is_none() && path.is_dir() && std::fs::read_dir(&path).is_ok() {
            let mut sink = |candidate| builder.push(candidate);
            if walk::walk_again(&path, &context.rules, &Arc::default(), &context.stop, &mut sink)?.is_break() {
                return Ok((ControlFlow::Break(()), folders));
            }
            folders.push(SourcePath::from_path(&path));
            continue;
        }
        let known = seen.contains(&path);
        let candidate = from_manifest.unwrap_or_else(|| IngestCandidate::unchecked(path));
        let mut candidate = walk::checked(candidate, &context.rules);
        if let Some(refused) =
            candidate.refused.as_mut().filter(|refused| refused.kind == RefusalKind::NotFound && known)
        {
            *refused = refusal(RefusalKind::Vanished, "it no longer exists");
        }
        if builder.push(candidate).is_break() {
            return Ok((ControlFlow::Break(()), folders));
        }
    }
    Ok((ControlFlow::Continue(()), folders))
}
