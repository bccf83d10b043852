//! The partitions that a member owns, with their positions; compared with the group's rows after a rebalance. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fetch::FetchPosition;
use super::membership::{AssignmentRow, AssignmentState, OwnedOffset, fenced};
use super::topics::Topic;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::{CommitRequest, Result};

/// What becomes of an owned partition. It leaves either state when it is released or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnedState {
    /// Its records are fetched. Exit: `Revoking`, when the group assigns it to another member.
    Consuming,
    /// Another member waits for it; no more of its records are fetched.
    Revoking,
}

#[derive(Debug)]
struct OwnedPartition {
    at: TopicPartition,
    epoch: i64,
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
        self.partitions.extract_if(.., is_lost).map(|(_, owned)| owned.at).collect()
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
                position: row.start_offset,
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
            self.seek(part_id, offset);
        }
        self.fetch_turn = self.fetch_turn.wrapping_add(1);
    }

    /// Sets the next offset to fetch of a partition, if it is owned.
    pub(super) fn seek(&mut self, part_id: i64, offset: i64) {
        if let Some(owned) = self.partitions.get_mut(&part_id) {
            owned.position = offset;
        }
    }

    /// Pauses or resumes the owned ones of these partitions.
    pub(super) fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for owned in self.partitions.values_mut().filter(|owned| partitions.contains(&owned.at)) {
            owned.paused = paused;
        }
    }

    /// The rows of the owned ones of these partitions.
    pub(super) fn part_ids(&self, partitions: &[TopicPartition]) -> Vec<i64> {
        let wanted: BTreeSet<&TopicPartition> = partitions.iter().collect();
        self.partitions.iter().filter(|(_, owned)| wanted.contains(&owned.at)).map(|(id, _)| *id).collect()
    }

    /// The commits of a settlement. `Fenced` if it names a partition that is not owned.
    pub(super) fn owned_offsets(&self, settlement: &CommitRequest) -> Result<Vec<OwnedOffset>> {
        let commit = |(at, offset): (&TopicPartition, &i64)| {
            let owned = self.partitions.iter().find(|(_, owned)| owned.at == *at);
            let (part_id, owned) = owned.ok_or_else(|| fenced(&format!("settle {at}: this member does not own it")))?;
            let claim_epoch = settlement.epochs.get(at).copied();
            Ok(OwnedOffset { part_id: *part_id, epoch: owned.epoch, offset: *offset, claim_epoch })
        };
        settlement.offsets.iter().map(commit).collect()
    }

    /// Forgets released partitions.
    pub(super) fn remove(&mut self, part_ids: &[i64]) {
        for part_id in part_ids {
            self.partitions.remove(part_id);
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
