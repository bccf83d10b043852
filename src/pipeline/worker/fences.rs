//! The epochs under which this worker claims records of its partitions.

use std::collections::BTreeMap;

use super::tracker::RecordTicket;
use mfctl_core::domain::claim::MintedEpoch;
use mfctl_core::domain::{ClaimEpoch, TopicId, TopicPartition};
use mfctl_core::ports::{GroupCommit, PartitionFence, PassedRecords};

/// A partition that has no epoch yet: records of it are taken in once one is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnfencedPartition {
    /// The partition and its assignment.
    pub(super) assignment: RecordTicket,
    /// The stored epoch that refused this member, and that it may replace: its group has confirmed its membership since.
    pub(super) replaces: Option<MintedEpoch>,
}

/// The fence of each partition that has one.
#[derive(Debug, Default)]
pub(super) struct ClaimFences(BTreeMap<TopicPartition, PartitionFence>);

impl ClaimFences {
    pub(super) fn insert(&mut self, fence: PartitionFence) {
        self.0.insert(fence.at.clone(), fence);
    }

    pub(super) fn remove(&mut self, at: &TopicPartition) {
        self.0.remove(at);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fences of these partitions, each once.
    pub(super) fn of<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<PartitionFence> {
        let mut fences: BTreeMap<&TopicPartition, &PartitionFence> = BTreeMap::new();
        for at in partitions {
            if let Some(fence) = self.0.get(at) {
                fences.insert(at, fence);
            }
        }
        fences.into_values().cloned().collect()
    }

    /// The records below these offsets, once they are committed under the fences.
    pub(super) fn passed(&self, offsets: &BTreeMap<TopicPartition, i64>) -> Vec<PassedRecords> {
        let passed = |(at, offset): (&TopicPartition, &i64)| PassedRecords {
            commit: GroupCommit { at: at.clone(), offset: *offset, epoch: self.epoch(at) },
            topic_id: self.topic_id(at).cloned(),
        };
        offsets.iter().map(passed).collect()
    }

    pub(super) fn epoch(&self, at: &TopicPartition) -> Option<ClaimEpoch> {
        self.0.get(at).map(|fence| fence.epoch)
    }

    pub(super) fn topic_id(&self, at: &TopicPartition) -> Option<&TopicId> {
        self.0.get(at).and_then(|fence| fence.topic_id.as_ref())
    }
}
