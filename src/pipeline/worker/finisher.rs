//! The last operations of a batch before its commit: the step's bulk writes, and what the catalog is told of dead letters.

use std::sync::Arc;

use super::context::WorkerContext;
use super::dead_letter_ratio::RatioExceeded;
use super::dead_letter_writer::{DeadLetterWriter, OUTPUT_REFUSED};
use super::outcome::FatalFailure;
use super::record::{CommitBatch, FailedRecord, RecordOutcome};
use super::step::PipelineStep;
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::{ClaimOwner, ClaimState, TopicId, TopicPartition};
use mfctl_core::ports::{self, ClaimEnd, ClaimRequest, DeadLetterFlag, Dependency, PartitionFence};
use mfctl_core::retry::{self, FailureAction};

/// The dependencies of a step's bulk writes. The catalog is taken for the one that failed where an error names none.
const USES: &[Dependency] = &[Dependency::Catalog, Dependency::Search, Dependency::Objects];

/// So many records of a batch without an answer are an outage: the others are not tried, each until its time-out.
const PROBES: usize = 3;

/// Makes batches ready to be committed.
pub(super) struct BatchFinisher<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
}

/// Why a batch is not committed.
#[derive(Debug)]
pub(super) enum FinishFailure {
    /// A failure that ends the worker.
    Fatal(FatalFailure),
    /// The batch exceeds the dead-letter ratio.
    DeadLetters(RatioExceeded),
    /// The claims of these partitions are fenced: another member was assigned them.
    Fenced(Vec<TopicPartition>),
}

impl From<&ports::Error> for FinishFailure {
    fn from(error: &ports::Error) -> Self {
        Self::Fatal(FatalFailure::from(error))
    }
}

impl<S: PipelineStep> BatchFinisher<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>) -> Self {
        Self { context }
    }

    /// Does what has to be durable before the commit. Waits out outages.
    pub(super) async fn finish(
        self,
        mut batch: CommitBatch<S::Effect>,
        fences: Vec<PartitionFence>,
    ) -> Result<CommitBatch<S::Effect>, FinishFailure> {
        self.dead_letter_refused_outputs(&mut batch);
        if let Err(error) = self.finish_all(&batch).await {
            self.finish_one_by_one(&mut batch, &error).await?;
        }
        // Before any of them is announced: a batch that exceeds the ratio leaves no dead letter.
        if let Some(exceeded) = self.context.dead_letter_ratio_exceeded(&batch) {
            return Err(FinishFailure::DeadLetters(exceeded));
        }
        DeadLetterWriter::new(&self.context, &fences).write_all(&mut batch).await.map_err(FinishFailure::Fatal)?;
        self.end_dead_letters(&batch, fences).await?;
        Ok(batch)
    }

    /// The bulk operations of a batch. A dependency's error means that it works, but not for this batch.
    async fn finish_all(&self, batch: &CommitBatch<S::Effect>) -> ports::Result<()> {
        let effects: Vec<&S::Effect> = batch.iter().filter_map(|(_, outcome)| outcome.effect()).collect();
        match effects.as_slice() {
            [] => Ok(()),
            effects => self.finish_for(batch.iter().find_map(|(_, outcome)| processed(outcome)), effects).await,
        }
    }

    /// The bulk operations of these effects: a failure of a dependency is an outage, however long it lasts.
    async fn finish_through_outages(&self, effects: &[&S::Effect]) -> ports::Result<()> {
        self.context.call(USES, "finish", || self.context.step.finish(effects)).await
    }

    /// The bulk operations of these effects, as calls for the record of the claim: they fail when they fail alone.
    async fn finish_for(&self, claim: Option<&ClaimRequest>, effects: &[&S::Effect]) -> ports::Result<()> {
        let context = &self.context;
        let site = CallSite { uses: USES, record: claim.map(|claim| &claim.owner) };
        let failed = |error: &ports::Error| context.dependency_failed("finish", &error.full());
        context.breaker.call(site, || context.step.finish(effects), failed).await
    }

    /// The bulk operation was refused: repeats it record by record, and dead-letters those refused on their own.
    async fn finish_one_by_one(
        &self,
        batch: &mut CommitBatch<S::Effect>,
        bulk_error: &ports::Error,
    ) -> Result<(), FinishFailure> {
        if retry::action_for(bulk_error.kind()) == FailureAction::Stop {
            return Err(FinishFailure::from(bulk_error));
        }
        let is_single = batch.iter().filter(|(_, outcome)| outcome.effect().is_some()).count() == 1;
        let mut succeeded = 0;
        let mut unanswered: Vec<&mut RecordOutcome<S::Effect>> = Vec::new();
        for (_, outcome) in batch.iter_mut() {
            let Some(effect) = outcome.effect() else { continue };
            if succeeded == 0 && unanswered.len() >= PROBES {
                unanswered.push(outcome);
                continue;
            }
            match self.context.step.finish(&[effect]).await {
                Ok(()) => succeeded += 1,
                Err(error) => match retry::action_for(error.kind()) {
                    FailureAction::Stop => return Err(FinishFailure::from(&error)),
                    FailureAction::RetryDependency => unanswered.push(outcome),
                    FailureAction::RetryRecord | FailureAction::DeadLetter => self.dead_letter(outcome, &error),
                },
            }
        }
        for outcome in unanswered {
            let Some(effect) = outcome.effect() else { continue };
            let finished = match succeeded {
                // The dependency works for no record of the batch: this is an outage, whatever its canary says. A single record
                // tells nothing; if it is an outage, the catalog does not take its dead letter's claim and flag either.
                0 if !is_single => self.finish_through_outages(&[effect]).await,
                _ => self.finish_for(processed(outcome), &[effect]).await,
            };
            match finished {
                Ok(()) => succeeded += 1,
                Err(error) if retry::action_for(error.kind()) == FailureAction::Stop => {
                    return Err(FinishFailure::from(&error));
                }
                Err(error) => self.dead_letter(outcome, &error),
            }
        }
        Ok(())
    }

    /// Turns processed records of which the log refused the outputs into dead letters.
    fn dead_letter_refused_outputs(&self, batch: &mut CommitBatch<S::Effect>) {
        for (ticket, outcome) in batch.iter_mut() {
            if outcome.effect().is_some()
                && let Some(refusals) = self.context.refused.get(ticket)
            {
                self.dead_letter_as(outcome, OUTPUT_REFUSED, FailureClass::Permanent, refusals.error);
            }
        }
    }

    /// Turns a processed record, refused alone and in its batch, into a dead letter.
    fn dead_letter(&self, outcome: &mut RecordOutcome<S::Effect>, error: &ports::Error) {
        let class = match retry::action_for(error.kind()) {
            FailureAction::RetryDependency => FailureClass::Transient,
            _ => FailureClass::Permanent,
        };
        self.dead_letter_as(outcome, error.kind().as_str(), class, error.full());
    }

    fn dead_letter_as(
        &self,
        outcome: &mut RecordOutcome<S::Effect>,
        kind: &'static str,
        class: FailureClass,
        message: String,
    ) {
        let processed = std::mem::replace(outcome, RecordOutcome::Duplicate);
        if let RecordOutcome::Processed { record, claim, tenant, .. } = processed {
            let now = self.context.ports.clock.now();
            *outcome = RecordOutcome::DeadLetter(FailedRecord {
                record,
                claim: Some(claim),
                tenant: Some(tenant),
                kind,
                class,
                message,
                attempts: 2,
                first_failed_at: now,
                last_failed_at: now,
                letter: None,
                claim_holder: None,
            });
        }
    }

    /// Marks the claims of records whose dead letters are about to be committed, and flags their assets.
    async fn end_dead_letters(
        &self,
        batch: &CommitBatch<S::Effect>,
        fences: Vec<PartitionFence>,
    ) -> Result<(), FinishFailure> {
        let stage = self.context.stage();
        let mut ends: Vec<ClaimEnd> = Vec::new();
        let mut flags = Vec::new();
        for (_, outcome) in batch {
            let RecordOutcome::DeadLetter(FailedRecord { claim: Some(claim), last_failed_at, .. }) = outcome else {
                continue;
            };
            let ClaimRequest { asset_id, revision, owner, .. } = claim;
            let (asset_id, revision, fence) = (*asset_id, *revision, owner.topic_partition());
            flags.push(DeadLetterFlag { asset_id, revision, stage, at: *last_failed_at });
            let known = fences.iter().find(|known| known.at == fence);
            let topic_id = known.and_then(|known| known.topic_id.clone());
            let epoch = known.map(|known| known.epoch);
            let owner = ClaimOwner { record: owner.clone(), topic_id };
            let state = ClaimState::DeadLetterPending;
            ends.push(ClaimEnd { asset_id, revision, owner, epoch, fence, state });
        }
        if ends.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        let end = || context.ports.catalog.end_claims(&context.group, fences.clone(), ends.clone());
        let fenced = context.call(&[Dependency::Catalog], "dead-letter", end).await;
        let fenced = fenced.map_err(|error| FinishFailure::from(&error))?;
        if !fenced.is_empty() {
            return Err(FinishFailure::Fenced(fenced));
        }
        let flag = || context.ports.catalog.flag_dead_letters(flags.clone());
        let flagged = context.call(&[Dependency::Catalog], "dead-letter", flag).await;
        flagged.map_err(|error| FinishFailure::from(&error))
    }
}

/// The id of a partition's topic, from its fence.
pub(super) fn topic_id_of<'a>(fences: &'a [PartitionFence], at: &TopicPartition) -> Option<&'a TopicId> {
    fences.iter().find(|fence| fence.at == *at).and_then(|fence| fence.topic_id.as_ref())
}

/// The claim of a processed record.
fn processed<E>(outcome: &RecordOutcome<E>) -> Option<&ClaimRequest> {
    match outcome {
        RecordOutcome::Processed { claim, .. } => Some(claim),
        _ => None,
    }
}
