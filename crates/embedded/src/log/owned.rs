//! The partitions that a member owns, with their positions; compared with the group's rows after a rebalance. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fetch::FetchPosition;
use super::membership::{AssignmentRow, AssignmentState, CommitBase, OwnedEpoch, PartitionCommit, fenced};
use super::topics::Topic;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::{CommitRequest, Result};

/// What becomes of an owned partition. It leaves any state when it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnedState {
    /// Its records are fetched. Exits: `Revoking`, when the group assigns it to another member; `Releasing`.
    Consuming,
    /// Another member waits for it; no more of its records are fetched. Exit: `Releasing`.
    Revoking,
    /// The caller has released it: neither fetched nor committed. It is removed once the group's rows say so.
    Releasing,
}

#[derive(Debug)]
struct OwnedPartition {
    at: TopicPartition,
    epoch: i64,
    /// What the next commit starts from: as assigned or rewound to, or the last commit known to have succeeded.
    base: CommitBase,
    /// The next offset to fetch.
    position: i64,
    state: OwnedState,
    /// Set by the caller, who wants no records of it for now.
    paused: bool,
}

/// What a rebalance changed for this member.
#[derive(Debug)]
pub(super) struct AssignmentChanges {
    pub(super) lost: Vec<TopicPartition>,
    pub(super) assigned: Vec<TopicPartition>,
    pub(super) revoking: Vec<TopicPartition>,
}

/// The partitions that this member owns, by row.
#[derive(Debug, Default)]
pub(super) struct OwnedPartitions {
    partitions: BTreeMap<i64, OwnedPartition>,
    /// Which partition is fetched first; moves on with each fetch, so that none is starved.
    fetch_turn: usize,
}

impl OwnedPartitions {
    /// Takes over what the group's rows say and returns what changed.
    pub(super) fn reconcile(&mut self, rows: &[AssignmentRow], topics: &[Arc<Topic>]) -> AssignmentChanges {
        let owned_rows: BTreeMap<i64, &AssignmentRow> =
            rows.iter().filter(|row| row.state.is_owned()).map(|row| (row.part_id, row)).collect();
        AssignmentChanges {
            lost: self.remove_lost(&owned_rows),
            assigned: self.add_assigned(&owned_rows, topics),
            revoking: self.mark_revoking(&owned_rows),
        }
    }

    fn remove_lost(&mut self, owned_rows: &BTreeMap<i64, &AssignmentRow>) -> Vec<TopicPartition> {
        let is_lost = |part_id: &i64, owned: &mut OwnedPartition| {
            owned_rows.get(part_id).is_none_or(|row| row.epoch != owned.epoch)
        };
        let removed = self.partitions.extract_if(.., is_lost);
        removed.filter(|(_, owned)| owned.state != OwnedState::Releasing).map(|(_, owned)| owned.at).collect()
    }

    fn add_assigned(
        &mut self,
        owned_rows: &BTreeMap<i64, &AssignmentRow>,
        topics: &[Arc<Topic>],
    ) -> Vec<TopicPartition> {
        let mut assigned = Vec::new();
        for row in owned_rows.values().filter(|row| !self.partitions.contains_key(&row.part_id)).collect::<Vec<_>>() {
            let Some(at) = partition_of(topics, row.part_id) else { continue };
            assigned.push(at.clone());
            let owned = OwnedPartition {
                at,
                epoch: row.epoch,
                base: row.base,
                position: row.base.start_offset,
                state: OwnedState::Consuming,
                paused: false,
            };
            self.partitions.insert(row.part_id, owned);
        }
        assigned
    }

    fn mark_revoking(&mut self, owned_rows: &BTreeMap<i64, &AssignmentRow>) -> Vec<TopicPartition> {
        let mut revoking = Vec::new();
        for (part_id, owned) in &mut self.partitions {
            let is_revoked = owned_rows.get(part_id).is_some_and(|row| row.state == AssignmentState::Revoked);
            if is_revoked && owned.state == OwnedState::Consuming {
                owned.state = OwnedState::Revoking;
                revoking.push(owned.at.clone());
            }
        }
        revoking
    }

    /// What to fetch, in this turn's order.
    pub(super) fn fetch_positions(&self) -> Vec<FetchPosition> {
        let is_open = |owned: &OwnedPartition| owned.state == OwnedState::Consuming && !owned.paused;
        let mut positions: Vec<_> = self
            .partitions
            .iter()
            .filter(|(_, owned)| is_open(owned))
            .map(|(part_id, owned)| FetchPosition { part_id: *part_id, at: owned.at.clone(), offset: owned.position })
            .collect();
        if !positions.is_empty() {
            let first = self.fetch_turn % positions.len();
            positions.rotate_left(first);
        }
        positions
    }

    /// Moves on to the positions after a fetch.
    pub(super) fn advance(&mut self, positions: Vec<FetchPosition>) {
        for FetchPosition { part_id, offset, .. } in positions {
            if let Some(owned) = self.partitions.get_mut(&part_id) {
                owned.position = offset;
            }
        }
        self.fetch_turn = self.fetch_turn.wrapping_add(1);
    }

    /// Takes over the group's commits: fetches from there, and commits from there.
    pub(super) fn rewind(&mut self, rows: &[AssignmentRow]) {
        for row in rows {
            if let Some(owned) = self.in_epoch(OwnedEpoch { part_id: row.part_id, epoch: row.epoch }) {
                owned.base = row.base;
                owned.position = row.base.start_offset;
            }
        }
    }

    /// Commits that succeeded: the next ones start from them.
    pub(super) fn confirm(&mut self, commits: &[PartitionCommit]) {
        for commit in commits {
            if let Some(owned) = self.in_epoch(commit.owned) {
                owned.base = CommitBase::committed(commit.offset);
            }
        }
    }

    fn in_epoch(&mut self, at: OwnedEpoch) -> Option<&mut OwnedPartition> {
        self.partitions.get_mut(&at.part_id).filter(|owned| owned.epoch == at.epoch)
    }

    /// Pauses or resumes the owned ones of these partitions.
    pub(super) fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for owned in self.partitions.values_mut().filter(|owned| partitions.contains(&owned.at)) {
            owned.paused = paused;
        }
    }

    /// The commits of a settlement. `Fenced` if it names a partition that is not owned, or if its records are below the
    /// group's commit: they were read before a rewind.
    pub(super) fn commits(&self, settlement: &CommitRequest) -> Result<Vec<PartitionCommit>> {
        let has_records = !settlement.outputs.is_empty() || !settlement.dead_letters.is_empty();
        let commit = |(at, offset): (&TopicPartition, &i64)| {
            let is_of = |owned: &OwnedPartition| owned.at == *at && owned.state != OwnedState::Releasing;
            let owned = self.partitions.iter().find(|(_, owned)| is_of(owned));
            let (part_id, owned) = owned.ok_or_else(|| fenced(&format!("settle {at}: this member does not own it")))?;
            let start = owned.base.start_offset;
            if *offset < start || (*offset == start && has_records) {
                return Err(fenced(&format!("settle {at} to offset {offset}: the group has committed {start}")));
            }
            let epoch = OwnedEpoch { part_id: *part_id, epoch: owned.epoch };
            let claim_epoch = settlement.epochs.get(at).copied();
            Ok(PartitionCommit { owned: epoch, base: owned.base, offset: *offset, claim_epoch })
        };
        settlement.offsets.iter().map(commit).collect()
    }

    /// Begins to release the owned ones of these partitions.
    pub(super) fn begin_release(&mut self, partitions: &[TopicPartition]) {
        for owned in self.partitions.values_mut().filter(|owned| partitions.contains(&owned.at)) {
            owned.state = OwnedState::Releasing;
        }
    }

    /// The partitions that are released, but are not known to be free.
    pub(super) fn releasing(&self) -> Vec<OwnedEpoch> {
        let releasing = self.partitions.iter().filter(|(_, owned)| owned.state == OwnedState::Releasing);
        releasing.map(|(part_id, owned)| OwnedEpoch { part_id: *part_id, epoch: owned.epoch }).collect()
    }

    /// Forgets partitions that are free.
    pub(super) fn remove(&mut self, released: &[OwnedEpoch]) {
        for at in released {
            if self.in_epoch(*at).is_some() {
                self.partitions.remove(&at.part_id);
            }
        }
    }

    /// Forgets all partitions and returns them.
    pub(super) fn clear(&mut self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.partitions).into_values().map(|owned| owned.at).collect()
    }
}

fn partition_of(topics: &[Arc<Topic>], part_id: i64) -> Option<TopicPartition> {
    topics.iter().flat_map(|topic| topic.partitions()).find(|(id, _)| *id == part_id).map(|(_, at)| at)
}
