//! Offsets that a group member commits, and whether it still owns their partitions.

use std::sync::{Arc, Weak};

use rdkafka::TopicPartitionList;

use super::context::RawConsumer;
use super::ffi::GroupMetadata;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// One ownership of a partition by this member. Ends when it is dropped: when the partition is released, lost or
/// assigned again.
#[derive(Debug, Default)]
pub(super) struct Ownership(Arc<()>);

/// Tells the thread that runs a transaction whether an [`Ownership`] has ended.
#[derive(Debug, Clone)]
pub(super) struct OwnershipWatch(Weak<()>);

impl Ownership {
    pub(super) fn watch(&self) -> OwnershipWatch {
        OwnershipWatch(Arc::downgrade(&self.0))
    }
}

impl OwnershipWatch {
    pub(super) fn is_current(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Offsets to commit, and the group member that commits them.
pub(super) struct OffsetCommit {
    pub(super) consumer: Arc<RawConsumer>,
    /// The member id under which the partitions were assigned. Under another one they are no longer ours.
    pub(super) member_id: String,
    pub(super) offsets: TopicPartitionList,
    /// The ownership of each of these partitions when the commit was made.
    pub(super) ownership: Vec<OwnershipWatch>,
}

impl OffsetCommit {
    /// The member's group metadata, if it still owns the partitions under the same member id. Brokers check member and
    /// generation, not the partitions, and accept a commit without either.
    ///
    /// The ownership is checked after the metadata is read. A member gives up lost partitions before it rejoins, so
    /// with the metadata of a later generation either the partitions were never given up or the check fails.
    ///
    /// # Errors
    /// `Fenced` for a member that was evicted or has given up one of the partitions since.
    pub(super) fn group_metadata(&self) -> Result<GroupMetadata> {
        let metadata = GroupMetadata::of(&self.consumer);
        let is_same_member =
            |metadata: &GroupMetadata| metadata.generation().is_some_and(|member| member.member_id == self.member_id);
        metadata
            .filter(|metadata| is_same_member(metadata) && self.is_owned())
            .ok_or_else(|| Error::new(ErrorKind::Fenced, "commit: this member was evicted from its group"))
    }

    /// Whether the member has owned the partitions without interruption since the commit was made.
    pub(super) fn is_owned(&self) -> bool {
        self.ownership.iter().all(OwnershipWatch::is_current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_ends_when_its_partition_is_assigned_again() {
        let mut ownership = Ownership::default();
        let watch = ownership.watch();
        assert!(watch.is_current());
        ownership = Ownership::default();
        assert!(!watch.is_current() && ownership.watch().is_current());
    }
}
