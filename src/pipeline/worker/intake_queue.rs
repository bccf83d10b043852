//! The work for the next intake batch, and whether a batch is in progress.

use std::collections::BTreeMap;

use super::fences::{ClaimFences, UnfencedPartition};
use super::intake::IntakeBatch;
use super::tracker::RecordTicket;
use mfctl_core::domain::{GroupGeneration, Record, TopicPartition};
use mfctl_core::ports::PassedRecords;

/// Whether an intake batch is under way. There is one at a time, so that each partition keeps its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IntakeState {
    /// Left for `Running` when there are records, new assignments or commits to hand over.
    Idle,
    /// A task decodes and claims a batch. Left for `Idle` with its result, or when the loop starts over.
    Running,
}

/// Collects polled records, new assignments and commits until intake is free.
#[derive(Debug)]
pub(super) struct IntakeQueue {
    state: IntakeState,
    backlog: Vec<Record>,
    assigned: Vec<UnfencedPartition>,
    passed: BTreeMap<TopicPartition, PassedRecords>,
}

impl IntakeQueue {
    pub(super) fn new() -> Self {
        Self { state: IntakeState::Idle, backlog: Vec::new(), assigned: Vec::new(), passed: BTreeMap::new() }
    }

    /// Whether nothing is being taken in, and no record waits.
    pub(super) fn is_idle(&self) -> bool {
        self.state == IntakeState::Idle && self.backlog.is_empty()
    }

    pub(super) fn push(&mut self, records: Vec<Record>) {
        self.backlog.extend(records);
    }

    /// A partition was assigned: a claim epoch is to be minted for it, and the claims below its committed offset are to
    /// be completed.
    pub(super) fn push_assigned(&mut self, partition: UnfencedPartition) {
        self.assigned.push(partition);
    }

    /// Offsets were committed: their claims are to be completed, with the next batch.
    pub(super) fn push_passed(&mut self, passed: Vec<PassedRecords>) {
        self.passed.extend(passed.into_iter().map(|passed| (passed.commit.at.clone(), passed)));
    }

    /// Drops the records that wait.
    pub(super) fn clear_backlog(&mut self) {
        self.backlog.clear();
    }

    /// Drops what belongs to partitions that are no longer this worker's.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.assigned.retain(|partition| !partitions.contains(&partition.assignment.at));
        self.backlog.retain(|record| !partitions.contains(&record.topic_partition()));
    }

    /// Idle → Running, with a batch, when there is something to take in. Commits alone are handed over only when no task
    /// runs (`tasks_idle`); otherwise they wait for records. Records of partitions without an assignment, which drain
    /// or are not assigned, are dropped.
    pub(super) fn start(
        &mut self,
        tasks_idle: bool,
        member: Option<GroupGeneration>,
        fences: &ClaimFences,
        assignment_of: impl Fn(&TopicPartition) -> Option<u64>,
    ) -> Option<IntakeBatch> {
        let hand_over_commits = tasks_idle && !self.passed.is_empty();
        let is_empty = self.backlog.is_empty() && self.assigned.is_empty() && !hand_over_commits;
        if self.state == IntakeState::Running || is_empty {
            return None;
        }
        self.state = IntakeState::Running;
        let records = std::mem::take(&mut self.backlog).into_iter().filter_map(|record| {
            let at = record.topic_partition();
            let assignment = assignment_of(&at)?;
            Some((RecordTicket { at, assignment, offset: record.address.offset }, record))
        });
        let records: Vec<(RecordTicket, Record)> = records.collect();
        Some(IntakeBatch {
            fences: fences.of(records.iter().map(|(ticket, _)| &ticket.at)),
            records,
            member,
            assigned: std::mem::take(&mut self.assigned),
            passed: std::mem::take(&mut self.passed).into_values().collect(),
        })
    }

    /// Running → Idle: the batch was taken in.
    pub(super) fn finish(&mut self) {
        debug_assert_eq!(self.state, IntakeState::Running, "only a batch that was started is finished");
        self.state = IntakeState::Idle;
    }

    /// Any state → Idle, without records: the loop starts over with these partitions.
    pub(super) fn reset(&mut self, assigned: Vec<UnfencedPartition>) {
        self.state = IntakeState::Idle;
        self.backlog.clear();
        self.assigned = assigned;
    }

    /// The commits whose claims are still to be completed.
    pub(super) fn into_passed(self) -> Vec<PassedRecords> {
        self.passed.into_values().collect()
    }
}
