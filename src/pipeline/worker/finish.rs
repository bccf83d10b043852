//! A batch's last steps before its commit: what the step does in bulk, freed claims, dead-letter flags.

use std::sync::Arc;

use super::tracker::Ticket;
use super::{Halt, Station, Step, StepOutput};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::{Record, Timestamp};
use mfctl_core::ports::{self, ClaimRequest, DeadLetterFlag};
use mfctl_core::retry::{self, FailureAction};

/// What was decided of a record.
#[derive(Debug)]
pub(super) enum Decided<E> {
    /// It ran.
    Done { record: Arc<Record>, claim: ClaimRequest, output: StepOutput<E> },
    /// Another record stands for the same asset and revision.
    Skipped,
    /// The asset is taken down: nothing is emitted of it.
    Withheld,
    /// It is given up.
    Dead(DeadLetter),
}

/// A record given up, and why.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) record: Arc<Record>,
    /// The claim it holds; `None` for one that could not be read.
    pub(super) claim: Option<ClaimRequest>,
    pub(super) kind: &'static str,
    pub(super) class: FailureClass,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) first_failed_at: Timestamp,
    pub(super) last_failed_at: Timestamp,
}

impl<E> Decided<E> {
    /// What it holds beside the record, in bytes.
    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Self::Done { output, .. } => {
                output.weight_bytes
                    + output.records.iter().map(mfctl_core::domain::NewRecord::size_bytes).sum::<usize>()
            }
            Self::Dead(dead) => dead.message.len(),
            Self::Skipped | Self::Withheld => 0,
        }
    }

    fn effect(&self) -> Option<&E> {
        match self {
            Self::Done { output, .. } => Some(&output.effect),
            _ => None,
        }
    }
}

/// Records of contiguous settled prefixes.
pub(super) type Items<E> = Vec<(Ticket, Decided<E>)>;

impl<S: Step> Station<S> {
    /// Makes a batch ready to be committed. Waits for dependencies as long as it takes.
    pub(super) async fn finish(self: Arc<Self>, mut items: Items<S::Effect>) -> Result<Items<S::Effect>, Halt> {
        let effects: Vec<&S::Effect> = items.iter().filter_map(|(_, decided)| decided.effect()).collect();
        let finished = if effects.is_empty() { Ok(()) } else { self.finish_effects(&effects).await };
        if let Err(error) = finished {
            self.finish_one_by_one(&mut items, &error).await?;
        }
        self.let_go(&items).await.map_err(|error| Halt::from(&error))?;
        Ok(items)
    }

    async fn finish_effects(&self, effects: &[&S::Effect]) -> ports::Result<()> {
        let call = || self.step.finish(effects);
        self.breaker.call(CallSite::Finish, call, |error| self.down("finish", &error.full())).await
    }

    /// A batch was refused: finds the records that are refused alone, and gives those up.
    async fn finish_one_by_one(&self, items: &mut Items<S::Effect>, refusal: &ports::Error) -> Result<(), Halt> {
        if retry::action_for(refusal.kind()) == FailureAction::Stop {
            return Err(Halt::from(refusal));
        }
        for (_, decided) in items.iter_mut() {
            let Some(effect) = decided.effect() else { continue };
            let Err(error) = self.finish_effects(&[effect]).await else { continue };
            if retry::action_for(error.kind()) == FailureAction::Stop {
                return Err(Halt::from(&error));
            }
            let taken = std::mem::replace(decided, Decided::Skipped);
            if let Decided::Done { record, claim, .. } = taken {
                let now = self.ports.clock.now();
                *decided = Decided::Dead(DeadLetter {
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
        Ok(())
    }

    /// Frees the claims of dead letters, so that a redrive can claim, and flags their assets.
    async fn let_go(&self, items: &Items<S::Effect>) -> ports::Result<()> {
        let dead = items.iter().filter_map(|(_, decided)| match decided {
            Decided::Dead(dead) => dead.claim.clone().map(|claim| (claim, dead.last_failed_at)),
            _ => None,
        });
        let (claims, flags): (Vec<_>, Vec<_>) = dead
            .map(|(claim, at)| {
                let stage = self.step.stage();
                let flag = DeadLetterFlag { asset_id: claim.asset_id, revision: claim.revision, stage, at };
                (claim, flag)
            })
            .unzip();
        if claims.is_empty() {
            return Ok(());
        }
        let catalog = &self.ports.catalog;
        let failed = |error: &ports::Error| self.down("dead-letter", &error.full());
        let release = || catalog.release_claims(&self.group, claims.clone());
        self.breaker.call(CallSite::Finish, release, failed).await?;
        self.breaker.call(CallSite::Finish, || catalog.flag_dead_letters(flags.clone()), failed).await
    }
}
