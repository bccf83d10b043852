//! One batch from its candidates to its outcomes. A killed run relies on the order of the writes:
//!
//! 1. the journal has each file's event id and staging key;
//! 2. the bytes are durable in staging;
//! 3. the catalog has the asset's row (or answers with the row that exists already);
//! 4. the event is published;
//! 5. the catalog has the acknowledgement and the file's outcome;
//! 6. the journal has the file's final step.
//!
//! After a kill at any point, the next run repeats the unfinished steps with the same ids. Each step is idempotent except
//! publishing, which is at least once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::candidate::IngestCandidate;
use super::context::RunContext;
use super::reader::FileReader;
use super::record::OutcomeRecorder;
use super::register::Registrar;
use super::stage::Stager;
use mfctl_core::domain::job::JournalFile;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{EventId, SourcePath};
use mfctl_core::failpoint;
use mfctl_core::ports::{PlannedFile, Result};

/// The steps that each batch of a run goes through.
pub(super) struct BatchPipeline {
    context: Arc<RunContext>,
    reader: FileReader,
    stager: Stager,
    registrar: Registrar,
    recorder: OutcomeRecorder,
}

impl BatchPipeline {
    /// `concurrency` files are read at the same time over all batches; in each batch, `put_concurrency` small objects are
    /// put at the same time.
    pub(super) fn new(context: &Arc<RunContext>, concurrency: usize, put_concurrency: usize) -> Self {
        let stager = Stager::new(context.clone(), put_concurrency);
        Self {
            context: context.clone(),
            reader: FileReader::new(context.clone(), stager.clone(), concurrency),
            registrar: Registrar::new(context.clone(), stager.clone()),
            recorder: OutcomeRecorder::new(context.clone(), stager.clone()),
            stager,
        }
    }

    /// Takes a batch through all steps.
    pub(super) async fn run(&self, batch: Vec<IngestCandidate>) -> Result<()> {
        self.context.require_lease().await?;
        let files = self.plan(batch).await?;
        failpoint::hit("ingest_planned");
        let mut read = self.reader.read_all(files).await?;
        let known = self.registrar.known_assets(&read.accepted).await?;
        self.stager.stage_new(&mut read, &known).await?;
        failpoint::hit("ingest_durable");
        self.context.require_lease().await?;
        let registered = self.registrar.register(read, &known).await?;
        failpoint::hit("ingest_staged");
        self.recorder.record(registered).await
    }

    /// Reserves event ids and staging keys in the journal. Files with an outcome from an earlier run are left out.
    async fn plan(&self, batch: Vec<IngestCandidate>) -> Result<Vec<(JournalFile, IngestCandidate)>> {
        let context = &self.context;
        let mut paths = HashSet::new();
        let mut candidates = Vec::with_capacity(batch.len());
        let mut planned = Vec::with_capacity(batch.len());
        for candidate in batch {
            let path = SourcePath::from_path(&candidate.path);
            if !paths.insert(path.clone()) {
                continue;
            }
            let event_id = EventId::fresh();
            let staging_key = object_keys::staging(&context.scope.tenant, context.job, event_id);
            planned.push(PlannedFile { path, event_id, staging_key });
            candidates.push(candidate);
        }
        let rows = context.retry(|| context.ports.journal.plan(context.job, planned.clone())).await?;
        let (open, done): (Vec<_>, Vec<_>) =
            rows.into_iter().zip(candidates).partition(|(row, _)| !row.step.is_final());
        context.progress.files.fetch_add(done.len() as u64, Ordering::Relaxed);
        Ok(open)
    }
}
