//! The last operations of a batch before its commit: the step's bulk writes, released claims, dead-letter flags.

use std::sync::Arc;

use super::context::WorkerContext;
use super::outcome::FatalFailure;
use super::record::{CommitBatch, FailedRecord, RecordOutcome};
use super::step::PipelineStep;
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::ports::{self, ClaimRequest, DeadLetterFlag};
use mfctl_core::retry::{self, FailureAction};

/// Makes batches ready to be committed.
pub(super) struct BatchFinisher<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
}

impl<S: PipelineStep> BatchFinisher<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>) -> Self {
        Self { context }
    }

    /// Does what has to be durable before the commit. Waits out outages.
    pub(super) async fn finish(
        self,
        mut batch: CommitBatch<S::Effect>,
    ) -> Result<CommitBatch<S::Effect>, FatalFailure> {
        let effects: Vec<&S::Effect> = batch.iter().filter_map(|(_, outcome)| outcome.effect()).collect();
        let finished = if effects.is_empty() { Ok(()) } else { self.finish_effects(&effects).await };
        if let Err(error) = finished {
            self.finish_one_by_one(&mut batch, &error).await?;
        }
        self.release_dead_letters(&batch).await.map_err(|error| FatalFailure::from(&error))?;
        Ok(batch)
    }

    async fn finish_effects(&self, effects: &[&S::Effect]) -> ports::Result<()> {
        self.context.call(CallSite::Finish, "finish", || self.context.step.finish(effects)).await
    }

    /// The bulk operation was refused: repeats it record by record, and dead-letters those refused on their own.
    async fn finish_one_by_one(
        &self,
        batch: &mut CommitBatch<S::Effect>,
        bulk_error: &ports::Error,
    ) -> Result<(), FatalFailure> {
        if retry::action_for(bulk_error.kind()) == FailureAction::Stop {
            return Err(FatalFailure::from(bulk_error));
        }
        for (_, outcome) in batch.iter_mut() {
            let Some(effect) = outcome.effect() else { continue };
            let Err(error) = self.finish_effects(&[effect]).await else { continue };
            if retry::action_for(error.kind()) == FailureAction::Stop {
                return Err(FatalFailure::from(&error));
            }
            self.dead_letter(outcome, &error);
        }
        Ok(())
    }

    /// Turns a processed record, refused alone and in its batch, into a dead letter.
    fn dead_letter(&self, outcome: &mut RecordOutcome<S::Effect>, error: &ports::Error) {
        let processed = std::mem::replace(outcome, RecordOutcome::Duplicate);
        if let RecordOutcome::Processed { record, claim, .. } = processed {
            let now = self.context.ports.clock.now();
            *outcome = RecordOutcome::DeadLetter(FailedRecord {
                record,
                claim: Some(claim),
                kind: error.kind().as_str(),
                class: FailureClass::Permanent,
                message: error.full(),
                attempts: 2,
                first_failed_at: now,
                last_failed_at: now,
            });
        }
    }

    /// Releases the claims of dead letters, so that a redrive can claim, and flags their assets.
    async fn release_dead_letters(&self, batch: &CommitBatch<S::Effect>) -> ports::Result<()> {
        let stage = self.context.stage();
        let mut claims: Vec<ClaimRequest> = Vec::new();
        let mut flags = Vec::new();
        for (_, outcome) in batch {
            let RecordOutcome::DeadLetter(FailedRecord { claim: Some(claim), last_failed_at, .. }) = outcome else {
                continue;
            };
            let ClaimRequest { asset_id, revision, .. } = *claim;
            flags.push(DeadLetterFlag { asset_id, revision, stage, at: *last_failed_at });
            claims.push(claim.clone());
        }
        if claims.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        let release = || context.ports.catalog.release_claims(&context.group, claims.clone());
        context.call(CallSite::Finish, "dead-letter", release).await?;
        let flag = || context.ports.catalog.flag_dead_letters(flags.clone());
        context.call(CallSite::Finish, "dead-letter", flag).await
    }
}
