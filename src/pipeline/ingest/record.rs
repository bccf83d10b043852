//! Publishes a batch's events and writes down what became of each file.

use std::sync::atomic::Ordering;

use super::batch::Verdict;
use super::engine::Engine;
use super::retry_call;
use super::stage::{Refused, Taken};
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, Metadata};
use mfctl_core::domain::job::{FileOutcome, FileRefusal, FileStep, JobOutcome, JournalFile, RefusalKind};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetState, NewRecord, ObjectRef, Timestamp};
use mfctl_core::failpoint;
use mfctl_core::ports::{FileUpdate, Result, StagedAsset};

/// A batch whose files all have their verdict.
#[derive(Default)]
pub(super) struct Settled {
    /// Each file with the catalog's answer, the verdict, and what the asset's row said before, where there was one.
    pub(super) files: Vec<(Taken, StagedAsset, Verdict, Option<Metadata>)>,
    pub(super) refused: Vec<Refused>,
    /// Objects of this batch that no row points at.
    pub(super) unneeded: Vec<ObjectRef>,
}

impl Engine {
    pub(super) async fn record(&self, settled: Settled) -> Result<()> {
        let now = self.tools.clock.now();
        self.publish(&settled, now).await?;
        failpoint::hit("ingest_published");
        let outcomes = self.outcomes(&settled, now);
        if !outcomes.is_empty() {
            retry_call(&self.stop, || self.tools.catalog.record_outcomes(outcomes.clone())).await?;
        }
        failpoint::hit("ingest_recorded");
        self.remove(settled.unneeded.clone()).await;
        let updates: Vec<_> = finished(&settled).collect();
        if !updates.is_empty() {
            retry_call(&self.stop, || self.tools.journal.update(self.job, updates.clone(), now)).await?;
        }
        self.count(&settled);
        self.tell();
        Ok(())
    }

    async fn publish(&self, settled: &Settled, now: Timestamp) -> Result<()> {
        let mut records: Vec<NewRecord> = Vec::new();
        let mut assets = Vec::new();
        let mut staged = Vec::new();
        for (taken, answer, verdict, first) in &settled.files {
            // One that a worker ingested meanwhile needs no event, but its row may lack the acknowledgement.
            if answer.state != AssetState::Staged || !verdict.publishes() {
                continue;
            }
            records.push(self.event(taken, answer, first.as_ref(), now).await?);
            assets.push(taken.asset);
            if !matches!(verdict, Verdict::Duplicate { .. }) {
                staged.push(FileUpdate { step: FileStep::Staged, ..read_update(taken, answer) });
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let journalled = async {
            if staged.is_empty() {
                return Ok(());
            }
            retry_call(&self.stop, || self.tools.journal.update(self.job, staged.clone(), now)).await
        };
        let acknowledged = retry_call(&self.stop, || self.tools.log.publish(records.clone()));
        tokio::try_join!(journalled, acknowledged)?;
        retry_call(&self.stop, || self.tools.catalog.mark_published(&assets, now)).await
    }

    async fn event(
        &self,
        taken: &Taken,
        answer: &StagedAsset,
        first: Option<&Metadata>,
        now: Timestamp,
    ) -> Result<NewRecord> {
        let own = answer.event_id == taken.row.event_id;
        let envelope = EventEnvelope {
            event_id: answer.event_id,
            occurred_at: answer.staged_at,
            asset_id: taken.asset,
            sha256: taken.sha256,
            tenant: self.place.tenant.clone(),
            locale: taken.known.locale.clone(),
            job_id: answer.job_id,
            actor: self.place.actor.clone(),
            staged_at: answer.staged_at,
            revision: answer.revision,
        };
        let event = IngestRaw {
            staging: answer.staging.clone(),
            size_bytes: taken.stat.size_bytes,
            media_type: taken.kind.media_type.to_owned(),
            declared_media_type: taken.kind.declared.map(str::to_owned),
            source_path: taken.row.path.clone(),
            metadata: first.filter(|_| !own).unwrap_or(&taken.known.metadata).clone(),
            envelope,
        };
        let topic = topics::INGEST_RAW;
        let encode = || self.tools.codec.encode(&topic, &event, &event.envelope, event.envelope.event_id, now);
        retry_call(&self.stop, encode).await
    }

    fn outcomes(&self, settled: &Settled, at: Timestamp) -> Vec<JobOutcome> {
        let blank = |row: &JournalFile| JobOutcome {
            job_id: self.job,
            tenant: self.place.tenant.clone(),
            path: row.path.clone(),
            outcome: FileOutcome::Accepted,
            asset_id: None,
            event_id: None,
            size_bytes: None,
            refusal: None,
            at,
        };
        let taken = settled.files.iter().map(|(taken, answer, verdict, _)| match verdict {
            Verdict::Revoked => JobOutcome {
                outcome: FileOutcome::Rejected,
                size_bytes: Some(taken.stat.size_bytes),
                refusal: Some(revoked()),
                ..blank(&taken.row)
            },
            _ => JobOutcome {
                asset_id: Some(taken.asset),
                event_id: Some(answer.event_id),
                size_bytes: Some(taken.stat.size_bytes),
                ..blank(&taken.row)
            },
        });
        let refused = settled.refused.iter().map(|refused| JobOutcome {
            outcome: refused.refusal.kind.outcome(),
            size_bytes: refused.stat.map(|stat| stat.size_bytes),
            refusal: Some(refused.refusal.clone()),
            ..blank(&refused.row)
        });
        taken.chain(refused).collect()
    }

    fn count(&self, settled: &Settled) {
        let republished =
            settled.files.iter().filter(|(_, _, verdict, _)| *verdict == Verdict::Duplicate { publish: true }).count();
        let revoked = settled.files.iter().filter(|(_, _, verdict, _)| *verdict == Verdict::Revoked).count();
        let all = (settled.files.len() + settled.refused.len()) as u64;
        let done = &self.done;
        done.files.fetch_add(all, Ordering::Relaxed);
        done.settled.fetch_add(all, Ordering::Relaxed);
        done.refused.fetch_add((settled.refused.len() + revoked) as u64, Ordering::Relaxed);
        done.republished.fetch_add(republished as u64, Ordering::Relaxed);
    }
}

fn revoked() -> FileRefusal {
    FileRefusal {
        kind: RefusalKind::Revoked,
        reason: "its asset was taken down; only a lifted takedown brings it back".into(),
    }
}

fn read_update(taken: &Taken, answer: &StagedAsset) -> FileUpdate {
    FileUpdate {
        path: taken.row.path.clone(),
        step: FileStep::Planned,
        size_bytes: Some(taken.stat.size_bytes),
        modified_ns: Some(taken.stat.modified_ns),
        sha256: Some(taken.sha256),
        media_type: Some(taken.kind.media_type.to_owned()),
        asset_id: Some(taken.asset),
        refusal: None,
        staged_at: Some(answer.staged_at),
    }
}

/// The journal's last word on each file.
fn finished(settled: &Settled) -> impl Iterator<Item = FileUpdate> {
    let taken = settled.files.iter().map(|(taken, answer, verdict, _)| {
        let (step, refusal) = match verdict {
            Verdict::Own | Verdict::Restaged => (FileStep::Published, None),
            Verdict::Duplicate { .. } => (FileStep::Deduplicated, None),
            Verdict::Revoked => (FileStep::Rejected, Some(revoked())),
        };
        FileUpdate { step, refusal, ..read_update(taken, answer) }
    });
    let refused = settled.refused.iter().map(|refused| FileUpdate {
        path: refused.row.path.clone(),
        step: match refused.refusal.kind.outcome() {
            FileOutcome::Failed => FileStep::Failed,
            _ => FileStep::Rejected,
        },
        size_bytes: refused.stat.map(|stat| stat.size_bytes),
        modified_ns: refused.stat.map(|stat| stat.modified_ns),
        sha256: None,
        media_type: None,
        asset_id: None,
        refusal: Some(refused.refusal.clone()),
        staged_at: None,
    });
    taken.chain(refused)
}
