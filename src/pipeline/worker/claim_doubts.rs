//! Claims that are refused and not done: by a record in progress, or by one that its group will never process again.
//!
//! The group passed such a record when another tool moved the offset, when the record expired before a member read it, or when
//! its topic was recreated. Then the log tells what came of it. Only if neither its output nor its dead letter is there, and
//! nothing is hidden, does the waiting record take the claim.

use std::collections::{BTreeMap, BTreeSet};

use super::context::WorkerContext;
use super::output_search::{DoubtfulClaim, OutputEvidence, OutputSearch};
use super::step::PipelineStep;
use mfctl_core::domain::claim::StoredClaim;
use mfctl_core::domain::{ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, TopicPartition};
use mfctl_core::ports::{self, ClaimAnswer, ClaimBatch, ClaimEnd, ClaimRequest, Dependency, HeldClaim, PartitionFence};

/// How a doubtful claim was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DoubtOutcome {
    /// What the catalog answered in the end.
    Answered(ClaimAnswer),
    /// The log does not show whether the record that holds the claim was processed: the holder, and why.
    InDoubt { holder: ClaimOwner, reason: String },
}

/// A request that was refused for a claim that is not done.
struct DoubtfulRequest {
    /// Its place among the requests of the batch.
    index: usize,
    request: ClaimRequest,
    held: HeldClaim,
}

/// Decides refused claims.
pub(super) struct ClaimDoubts<'a, S> {
    context: &'a WorkerContext<S>,
    fences: &'a [PartitionFence],
}

impl<'a, S: PipelineStep> ClaimDoubts<'a, S> {
    pub(super) fn new(context: &'a WorkerContext<S>, fences: &'a [PartitionFence]) -> Self {
        Self { context, fences }
    }

    /// Decides each refused claim of a batch that is not done and whose record the group has passed. Returns the outcomes by
    /// place; for other places the answer stands.
    pub(super) async fn decide(
        &self,
        requests: &[ClaimRequest],
        answers: &[ClaimAnswer],
    ) -> ports::Result<BTreeMap<usize, DoubtOutcome>> {
        let mut doubtful = Vec::new();
        let mut elsewhere = Vec::new();
        for (index, (request, answer)) in requests.iter().zip(answers).enumerate() {
            let ClaimAnswer::Refused(held) = answer else { continue };
            if held.claim.state.is_done() {
                continue;
            }
            let one = || DoubtfulRequest { index, request: request.clone(), held: held.clone() };
            match self.is_passed_here(request, held) {
                Some(true) => doubtful.push(one()),
                Some(false) => {}
                None => elsewhere.push(one()),
            }
        }
        doubtful.extend(self.passed_elsewhere(elsewhere).await?);
        if doubtful.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.decide_by_log(doubtful).await
    }

    /// Whether the group has passed the record that holds a claim, without an end that the catalog knows. `None`: that
    /// depends on the group's commit in another partition.
    fn is_passed_here(&self, request: &ClaimRequest, held: &HeldClaim) -> Option<bool> {
        let holder = &held.claim.owner;
        let at = request.owner.topic_partition();
        let Some(fence) = self.fences.iter().find(|fence| fence.at == at) else { return Some(false) };
        if holder.topic_id.is_some() && fence.topic_id.is_some() && holder.topic_id != fence.topic_id {
            return Some(true);
        }
        if holder.record.topic != request.owner.topic {
            return Some(true);
        }
        // What was claimed under this epoch is in progress here, and what comes later will be. An earlier record would
        // have been claimed again under this epoch, had it been delivered.
        let is_earlier = held.claim.epoch != Some(fence.epoch) && holder.record.offset <= request.owner.offset;
        (holder.record.topic_partition() == at).then_some(is_earlier)
    }

    /// Those of these claims whose record the group has passed in another partition of the topic, as after partitions
    /// were added.
    async fn passed_elsewhere(&self, mut claims: Vec<DoubtfulRequest>) -> ports::Result<Vec<DoubtfulRequest>> {
        let context = self.context;
        let partition_of = |claim: &DoubtfulRequest| claim.held.claim.owner.record.topic_partition();
        let partitions: Vec<TopicPartition> =
            claims.iter().map(partition_of).collect::<BTreeSet<_>>().into_iter().collect();
        if partitions.is_empty() {
            return Ok(claims);
        }
        let committed = || context.ports.log.committed(&context.group, &partitions);
        let commits = context.call(&[Dependency::Log], "look at the group's offsets", committed).await?;
        claims.retain(|claim| {
            let StoredClaim { owner, epoch, .. } = &claim.held.claim;
            let commit = commits.iter().find(|commit| commit.at == partition_of(claim));
            // A commit of the same epoch is completed by whoever is assigned the partition next.
            commit.is_some_and(|commit| owner.record.offset < commit.offset && commit.epoch != *epoch)
        });
        Ok(claims)
    }

    async fn decide_by_log(&self, doubtful: Vec<DoubtfulRequest>) -> ports::Result<BTreeMap<usize, DoubtOutcome>> {
        let context = self.context;
        let claims: Vec<DoubtfulClaim> = doubtful
            .iter()
            .map(|DoubtfulRequest { request, held, .. }| DoubtfulClaim {
                asset_id: request.asset_id,
                revision: request.revision,
                owner: held.claim.owner.clone(),
                claimed_at: held.claimed_at,
                may_be_dead_letter: held.claim.state == ClaimState::DeadLetterPending,
            })
            .collect();
        tracing::info!(stage = %context.stage(), claims = claims.len(), first = %claims[0].owner,
            "looking in the log for what came of records that the group passed");
        let (log, catalog) = (context.ports.log.as_ref(), context.ports.catalog.as_ref());
        let (stage, group) = (context.stage(), &context.group);
        let search = || async { OutputSearch { log, catalog, stage, group }.find(&claims).await };
        let uses = &[Dependency::Log, Dependency::Catalog];
        let evidence = context.call(uses, "look for outputs", search).await?;
        let mut outcomes = BTreeMap::new();
        let mut ends = Vec::new();
        let mut again: Vec<(usize, ClaimRequest)> = Vec::new();
        for (DoubtfulRequest { index, mut request, held }, evidence) in doubtful.into_iter().zip(evidence) {
            let holder = held.claim.owner;
            let state = match evidence {
                OutputEvidence::Output => ClaimState::Processed,
                OutputEvidence::DeadLetter => ClaimState::DeadLettered,
                OutputEvidence::Absent => {
                    tracing::warn!(%stage, record = %request.owner, asset = %request.asset_id, %holder,
                        "took the claim of a record that the group passed without an output");
                    request.ground = ClaimGround::Abandoned { holder, epoch: held.claim.epoch };
                    again.push((index, request));
                    continue;
                }
                OutputEvidence::NotVisible(reason) => {
                    if holder.record == request.owner {
                        // Its own claim ends as a dead letter.
                        ends.push(end_of(&request, holder.clone(), held.claim.epoch, ClaimState::DeadLetterPending));
                    }
                    outcomes.insert(index, DoubtOutcome::InDoubt { holder, reason });
                    continue;
                }
            };
            ends.push(end_of(&request, holder, held.claim.epoch, state));
            again.push((index, request));
        }
        self.ask_again(ends, again, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// Tells the catalog what the log has shown, and asks for the claims again.
    async fn ask_again(
        &self,
        ends: Vec<ClaimEnd>,
        again: Vec<(usize, ClaimRequest)>,
        outcomes: &mut BTreeMap<usize, DoubtOutcome>,
    ) -> ports::Result<()> {
        let context = self.context;
        let uses = &[Dependency::Catalog];
        if !ends.is_empty() {
            let end = || context.ports.catalog.end_claims(&context.group, self.fences.to_vec(), ends.clone());
            context.call(uses, "end claims", end).await?;
        }
        if again.is_empty() {
            return Ok(());
        }
        let (indexes, requests): (Vec<usize>, Vec<ClaimRequest>) = again.into_iter().unzip();
        let batch = ClaimBatch { passed: Vec::new(), fences: self.fences.to_vec(), requests };
        let claim = || context.ports.catalog.claim(&context.group, batch.clone());
        let claimed = context.call(uses, "claim", claim).await?;
        outcomes.extend(indexes.into_iter().zip(claimed.answers.into_iter().map(DoubtOutcome::Answered)));
        Ok(())
    }
}

/// The end of a claim that a request was refused for.
fn end_of(request: &ClaimRequest, owner: ClaimOwner, epoch: Option<ClaimEpoch>, state: ClaimState) -> ClaimEnd {
    let ClaimRequest { asset_id, revision, .. } = *request;
    ClaimEnd { asset_id, revision, owner, epoch, fence: request.owner.topic_partition(), state }
}
