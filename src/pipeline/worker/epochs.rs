//! Mints the claim epochs of newly assigned partitions.

use std::collections::BTreeMap;

use super::context::WorkerContext;
use super::fences::UnfencedPartition;
use super::step::PipelineStep;
use super::tracker::RecordTicket;
use crate::pipeline::partition_ends::see_partition_ends;
use mfctl_core::domain::claim::{EpochAnswer, MintRequest, MintedEpoch};
use mfctl_core::domain::{GroupGeneration, TopicId, TopicPartition};
use mfctl_core::ports::{self, Dependency, EpochRequest, GroupCommit, PartitionFence, PassedRecords};

/// The epochs of newly assigned partitions.
#[derive(Debug, Default)]
pub(super) struct MintedEpochs {
    /// The fence of each assignment that has an epoch now.
    pub(super) fences: Vec<(RecordTicket, PartitionFence)>,
    /// The stored epochs that refuse this member.
    pub(super) refused: BTreeMap<TopicPartition, MintedEpoch>,
    /// What the group has committed in these partitions, to complete the claims below.
    pub(super) passed: Vec<PassedRecords>,
}

/// Reads the group's commits in these partitions, and asks the catalog for their epochs.
pub(super) async fn mint_epochs<S: PipelineStep>(
    context: &WorkerContext<S>,
    member: &GroupGeneration,
    partitions: Vec<UnfencedPartition>,
) -> ports::Result<MintedEpochs> {
    if partitions.is_empty() {
        return Ok(MintedEpochs::default());
    }
    see_written_topics(context).await?;
    let topic_id = topic_id(context).await?;
    let names: Vec<TopicPartition> = partitions.iter().map(|partition| partition.assignment.at.clone()).collect();
    let committed = || context.ports.log.committed(&context.group, &names);
    let commits = context.call(&[Dependency::Log], "look at the group's offsets", committed).await?;
    let commits = without_beyond_end(context, commits).await?;
    let request = |UnfencedPartition { assignment, replaces }: &UnfencedPartition| {
        let commit = commits.iter().find(|commit| commit.at == assignment.at);
        EpochRequest {
            at: assignment.at.clone(),
            topic_id: topic_id.clone(),
            request: MintRequest {
                member: member.clone(),
                is_position_of_member: commit.is_some_and(|commit| commit.epoch.is_some()),
                replaces: replaces.clone(),
            },
        }
    };
    let requests: Vec<EpochRequest> = partitions.iter().map(request).collect();
    let mint = || context.ports.catalog.mint_epochs(&context.group, requests.clone());
    let answers = context.call(&[Dependency::Catalog], "mint claim epochs", mint).await?;
    let passed = commits.into_iter().map(|commit| PassedRecords { commit, topic_id: topic_id.clone() });
    let mut minted = MintedEpochs { passed: passed.collect(), ..MintedEpochs::default() };
    for (UnfencedPartition { assignment, .. }, answer) in partitions.into_iter().zip(answers) {
        match answer {
            EpochAnswer::Minted(epoch) => {
                let fence = PartitionFence { at: assignment.at.clone(), topic_id: topic_id.clone(), epoch };
                minted.fences.push((assignment, fence));
            }
            EpochAnswer::Refused(stored) => drop(minted.refused.insert(assignment.at, stored)),
        }
    }
    Ok(minted)
}

/// Tells the catalog where the topics that the stage writes end, before the first claim: see [`super::output_search`].
async fn see_written_topics<S: PipelineStep>(context: &WorkerContext<S>) -> ports::Result<()> {
    let topics = [context.stage().output(), context.stage().input().dead_letters()];
    let (log, catalog) = (context.ports.log.as_ref(), context.ports.catalog.as_ref());
    let see = || see_partition_ends(log, catalog, &topics);
    context.call(&[Dependency::Log, Dependency::Catalog], "look where topics end", see).await.map(drop)
}

/// The id of the stage's input.
async fn topic_id<S: PipelineStep>(context: &WorkerContext<S>) -> ports::Result<Option<TopicId>> {
    let topics = [context.stage().input()];
    let read = || context.ports.log.topic_ids(&topics);
    let ids = context.call(&[Dependency::Log], "look at the topic's id", read).await?;
    Ok(ids.into_iter().next().flatten())
}

/// Leaves out commits beyond the end of their partitions, which complete nothing. Only looked for where a commit is not of a
/// member of this release: a topic that was recreated has another id.
async fn without_beyond_end<S: PipelineStep>(
    context: &WorkerContext<S>,
    mut commits: Vec<GroupCommit>,
) -> ports::Result<Vec<GroupCommit>> {
    if commits.iter().all(|commit| commit.epoch.is_some()) {
        return Ok(commits);
    }
    let topics = [context.stage().input()];
    let progress = || context.ports.log.progress(&context.group, &topics);
    let progress = context.call(&[Dependency::Log], "look at the group's offsets", progress).await?;
    let is_beyond_end = |at: &TopicPartition| progress.iter().any(|one| one.at == *at && one.beyond_end);
    commits.retain(|commit| commit.epoch.is_some() || !is_beyond_end(&commit.at));
    Ok(commits)
}
