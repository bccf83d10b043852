//! What this member may commit.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use super::{Assignment, BufferedPartition};
use crate::offset_commit::{OffsetCommit, OwnershipWatch};
use mfctl_core::domain::{ClaimEpoch, TopicPartition};
use mfctl_core::ports::{CommitRequest, Error, ErrorKind, Result};

impl Assignment {
    /// The commit of a request's offsets; `None` when it has none.
    ///
    /// # Errors
    /// `Fenced` for a partition that this member does not own or has not read since it was assigned or rewound;
    /// `Invalid` for an offset past the delivered records.
    pub(in crate::consumer) fn commit_of(&self, request: &CommitRequest) -> Result<Option<OffsetCommit>> {
        let member_id = self.member_id()?;
        let mut offsets = TopicPartitionList::with_capacity(request.offsets.len());
        let mut ownership = Vec::with_capacity(request.offsets.len());
        for (at, offset) in &request.offsets {
            ownership.push(self.check_offset(at, *offset)?.watch_ownership());
            self.add_offset(&mut offsets, at, *offset, request.epochs.get(at).copied())?;
        }
        match request.offsets.is_empty() {
            true => Ok(None),
            false => Ok(Some(self.offset_commit(member_id, offsets, ownership))),
        }
    }

    /// Offsets that the coordinator takes only from a member of the group, to be aborted: those of a partition of this
    /// member or, if it owns none, of `fallback`.
    ///
    /// # Errors
    /// `Fenced` for a member that is not in its group.
    pub(in crate::consumer) fn offsets_to_try(&self, fallback: &TopicPartition) -> Result<OffsetCommit> {
        let member_id = self.member_id()?;
        let mut offsets = TopicPartitionList::with_capacity(1);
        let owned = self.owned.iter().next();
        self.add_offset(&mut offsets, owned.map_or(fallback, |(at, _)| at), 0, None)?;
        let ownership = owned.map(|(_, owned)| owned.watch_ownership()).into_iter().collect();
        Ok(self.offset_commit(member_id, offsets, ownership))
    }

    fn member_id(&self) -> Result<String> {
        let member = self
            .generation()
            .ok_or_else(|| Error::new(ErrorKind::Fenced, "commit: this member is not in its group"))?;
        Ok(member.member_id)
    }

    fn add_offset(
        &self,
        offsets: &mut TopicPartitionList,
        at: &TopicPartition,
        offset: i64,
        epoch: Option<ClaimEpoch>,
    ) -> Result<()> {
        let (topic, partition) = self.clients.names.wire_partition(at);
        let mut element = offsets.add_partition(&topic, partition);
        let added = element.set_offset(Offset::Offset(offset));
        added.map_err(|error| self.clients.error(format!("commit {at}"), error))?;
        if let Some(epoch) = epoch {
            element.set_metadata(epoch.to_metadata());
        }
        Ok(())
    }

    fn offset_commit(
        &self,
        member_id: String,
        offsets: TopicPartitionList,
        ownership: Vec<OwnershipWatch>,
    ) -> OffsetCommit {
        OffsetCommit { consumer: Arc::clone(&self.consumer), member_id, offsets, ownership }
    }

    /// The owned partition, if it may be committed up to this offset.
    fn check_offset(&self, at: &TopicPartition, offset: i64) -> Result<&BufferedPartition> {
        let fenced = |why: &str| Error::new(ErrorKind::Fenced, format!("commit {at}: {why}"));
        let owned = self.owned.get(at).ok_or_else(|| fenced("this member does not own it"))?;
        match owned.delivered {
            Some(delivered) if offset <= delivered => Ok(owned),
            None => Err(fenced("no record of it was read since it was assigned or rewound")),
            // A broker would accept it, and the records in between would never be read.
            Some(_) => {
                Err(Error::new(ErrorKind::Invalid, format!("commit {at} up to {offset}: it was not read up to there")))
            }
        }
    }
}
