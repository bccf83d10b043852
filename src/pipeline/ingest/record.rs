//! Publishes a batch's events and records each file's outcome in the catalog and in the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::RunContext;
use super::files::{AcceptedFile, RefusedFile};
use super::read::refusal;
use super::register::{RegisteredBatch, RegisteredFile, StagingDecision};
use super::stage::Stager;
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, Metadata};
use mfctl_core::domain::job::{FileOutcome, FileRefusal, FileStep, JobOutcome, JournalFile, RefusalKind};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, AssetState, NewRecord, Timestamp};
use mfctl_core::failpoint;
use mfctl_core::ports::{ErrorKind, FileUpdate, Result, StagedAsset};

/// Publishes events and records outcomes.
pub(super) struct OutcomeRecorder {
    context: Arc<RunContext>,
    stager: Stager,
}

impl OutcomeRecorder {
    pub(super) fn new(context: Arc<RunContext>, stager: Stager) -> Self {
        Self { context, stager }
    }

    /// Publishes, records in the catalog, deletes unreferenced objects, and records in the journal, in this order.
    pub(super) async fn record(&self, mut batch: RegisteredBatch) -> Result<()> {
        let ports = &self.context.ports;
        let now = ports.clock.now();
        let events = self.events(&mut batch, now).await?;
        self.context.require_lease().await?;
        self.publish(&batch, events, now).await?;
        failpoint::hit("ingest_published");
        let outcomes = self.outcomes(&batch, now);
        if !outcomes.is_empty() {
            let fence = Some(self.context.lease.fence());
            self.context.retry(|| ports.catalog.record_outcomes(fence, outcomes.clone())).await?;
        }
        failpoint::hit("ingest_recorded");
        self.stager.delete_unreferenced(batch.unreferenced.clone()).await;
        let updates: Vec<_> = final_updates(&batch).collect();
        if !updates.is_empty() {
            self.context.retry(|| ports.journal.update(self.context.job, updates.clone(), now)).await?;
        }
        self.count(&batch);
        self.context.progress.report();
        Ok(())
    }

    /// The events that the decisions ask for. A file whose event cannot be written is refused, with those of the same bytes
    /// that rely on it: it is that file's outcome, and no reason to interrupt the job.
    async fn events(&self, batch: &mut RegisteredBatch, now: Timestamp) -> Result<Vec<NewRecord>> {
        let mut records: Vec<NewRecord> = Vec::new();
        let mut invalid: HashMap<AssetId, String> = HashMap::new();
        for registered in batch.files.iter().filter(|registered| needs_event(registered)) {
            match self.event(registered, now).await {
                Ok(record) => records.push(record),
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    invalid.insert(registered.file.asset, error.full());
                }
                Err(error) => return Err(error),
            }
        }
        let relies_on_it = |registered: &mut RegisteredFile| {
            registered.answer.state == AssetState::Staged && invalid.contains_key(&registered.file.asset)
        };
        for RegisteredFile { file, .. } in batch.files.extract_if(.., relies_on_it) {
            let reason = invalid.get(&file.asset).cloned().unwrap_or_default();
            batch.refused.push(RefusedFile {
                refusal: refusal(RefusalKind::BadMetadata, reason),
                version: Some(file.version),
                row: file.row,
            });
        }
        Ok(records)
    }

    /// Publishes the events, and marks them published once the broker has acknowledged them.
    async fn publish(&self, batch: &RegisteredBatch, records: Vec<NewRecord>, now: Timestamp) -> Result<()> {
        let ports = &self.context.ports;
        let mut assets = Vec::new();
        let mut staged = Vec::new();
        for registered in batch.files.iter().filter(|registered| needs_event(registered)) {
            assets.push((registered.file.asset, registered.answer.revision));
            if !matches!(registered.decision, StagingDecision::Duplicate { .. }) {
                let update = read_update(&registered.file, &registered.answer);
                staged.push(FileUpdate { step: FileStep::Staged, ..update });
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let journalled = async {
            if staged.is_empty() {
                return Ok(());
            }
            self.context.retry(|| ports.journal.update(self.context.job, staged.clone(), now)).await
        };
        let acknowledged = self.context.retry(|| ports.log.publish(records.clone()));
        tokio::try_join!(journalled, acknowledged)?;
        self.context.retry(|| ports.catalog.mark_published(&assets, now)).await
    }

    /// The event of a file's asset. An event that another file caused keeps that file's metadata, if it can be written with
    /// it: an earlier version recorded metadata that no event can carry.
    async fn event(&self, registered: &RegisteredFile, now: Timestamp) -> Result<NewRecord> {
        let is_own = registered.answer.event_id == registered.file.row.event_id;
        if let Some(prior) = registered.prior_metadata.as_ref().filter(|_| !is_own) {
            match self.event_with(registered, prior, now).await {
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    tracing::warn!(%error, "skipped the metadata of an asset's row");
                }
                written => return written,
            }
        }
        self.event_with(registered, &registered.file.metadata.metadata, now).await
    }

    async fn event_with(&self, registered: &RegisteredFile, metadata: &Metadata, now: Timestamp) -> Result<NewRecord> {
        let RegisteredFile { file, answer, .. } = registered;
        let envelope = EventEnvelope {
            event_id: answer.event_id,
            occurred_at: answer.staged_at,
            asset_id: file.asset,
            sha256: file.sha256,
            tenant: self.context.scope.tenant.clone(),
            locale: file.metadata.locale.clone(),
            job_id: answer.job_id,
            actor: self.context.scope.actor.clone(),
            staged_at: answer.staged_at,
            revision: answer.revision,
        };
        let event = IngestRaw {
            staging: answer.staging.clone(),
            size_bytes: file.version.size_bytes,
            media_type: file.content_type.media_type.to_owned(),
            declared_media_type: file.content_type.declared.map(str::to_owned),
            source_path: file.row.path.clone(),
            metadata: metadata.clone(),
            envelope,
        };
        let topic = topics::INGEST_RAW;
        let codec = &self.context.ports.codec;
        self.context.retry(|| codec.encode(&topic, &event, &event.envelope, event.envelope.event_id, now)).await
    }

    /// The catalog's row of each file's outcome.
    fn outcomes(&self, batch: &RegisteredBatch, at: Timestamp) -> Vec<JobOutcome> {
        let registered = batch.files.iter().map(|registered| {
            let blank = self.blank_outcome(&registered.file.row, at);
            let size_bytes = Some(registered.file.version.size_bytes);
            match registered.decision {
                StagingDecision::Revoked => {
                    JobOutcome { outcome: FileOutcome::Rejected, size_bytes, refusal: Some(revoked()), ..blank }
                }
                _ => JobOutcome {
                    asset_id: Some(registered.file.asset),
                    event_id: Some(registered.answer.event_id),
                    size_bytes,
                    ..blank
                },
            }
        });
        let refused = batch.refused.iter().map(|file| JobOutcome {
            outcome: file.refusal.kind.outcome(),
            size_bytes: file.version.map(|version| version.size_bytes),
            refusal: Some(file.refusal.clone()),
            ..self.blank_outcome(&file.row, at)
        });
        registered.chain(refused).collect()
    }

    fn blank_outcome(&self, row: &JournalFile, at: Timestamp) -> JobOutcome {
        JobOutcome {
            job_id: self.context.job,
            tenant: self.context.scope.tenant.clone(),
            path: row.path.clone(),
            outcome: FileOutcome::Accepted,
            asset_id: None,
            event_id: None,
            size_bytes: None,
            refusal: None,
            at,
        }
    }

    fn count(&self, batch: &RegisteredBatch) {
        let decided = |decision| batch.files.iter().filter(|file| file.decision == decision).count() as u64;
        let refused = batch.refused.len() as u64;
        let all = batch.files.len() as u64 + refused;
        let progress = &self.context.progress;
        progress.files.fetch_add(all, Ordering::Relaxed);
        progress.settled.fetch_add(all, Ordering::Relaxed);
        progress.refused.fetch_add(refused + decided(StagingDecision::Revoked), Ordering::Relaxed);
        progress.republished.fetch_add(decided(StagingDecision::Duplicate { publish: true }), Ordering::Relaxed);
    }
}

/// Whether a file's event is published. An asset that a worker ingested meanwhile needs no event, but its row may lack the
/// acknowledgement.
fn needs_event(registered: &RegisteredFile) -> bool {
    registered.answer.state == AssetState::Staged && registered.decision.publishes()
}

fn revoked() -> FileRefusal {
    FileRefusal {
        kind: RefusalKind::TakenDown,
        reason: "its asset was taken down; only a lifted takedown brings it back".into(),
    }
}

/// A journal update with what was read of a file; its step is still `Planned`.
fn read_update(file: &AcceptedFile, answer: &StagedAsset) -> FileUpdate {
    FileUpdate {
        path: file.row.path.clone(),
        step: FileStep::Planned,
        size_bytes: Some(file.version.size_bytes),
        modified_ns: Some(file.version.modified_ns),
        changed_ns: Some(file.version.changed_ns).filter(|_| file.version.settled),
        device: Some(file.version.device),
        inode: Some(file.version.inode),
        sha256: Some(file.sha256),
        media_type: Some(file.content_type.media_type.to_owned()),
        asset_id: Some(file.asset),
        refusal: None,
        staged_at: Some(answer.staged_at),
    }
}

/// The journal's final step of each file.
fn final_updates(batch: &RegisteredBatch) -> impl Iterator<Item = FileUpdate> {
    let registered = batch.files.iter().map(|registered| {
        let (step, refusal) = match registered.decision {
            StagingDecision::Own | StagingDecision::Restaged => (FileStep::Published, None),
            StagingDecision::Duplicate { .. } => (FileStep::Deduplicated, None),
            StagingDecision::Revoked => (FileStep::Rejected, Some(revoked())),
        };
        FileUpdate { step, refusal, ..read_update(&registered.file, &registered.answer) }
    });
    registered.chain(batch.refused.iter().map(refused_update))
}

fn refused_update(file: &RefusedFile) -> FileUpdate {
    FileUpdate {
        path: file.row.path.clone(),
        step: match file.refusal.kind.outcome() {
            FileOutcome::Failed => FileStep::Failed,
            _ => FileStep::Rejected,
        },
        size_bytes: file.version.map(|version| version.size_bytes),
        modified_ns: file.version.map(|version| version.modified_ns),
        changed_ns: file.version.filter(|version| version.settled).map(|version| version.changed_ns),
        device: file.version.map(|version| version.device),
        inode: file.version.map(|version| version.inode),
        sha256: None,
        media_type: None,
        asset_id: None,
        refusal: Some(file.refusal.clone()),
        staged_at: None,
    }
}
