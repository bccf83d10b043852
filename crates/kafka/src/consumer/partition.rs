//! One assigned partition, and pages of records from several of them.

use std::collections::VecDeque;

use rdkafka_sys::RDKafkaErrorCode as Code;

use crate::ffi::{PartitionQueue, QueueItem};
use crate::offset_commit::{Ownership, OwnershipWatch};
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::FetchLimits;

/// A partition that is assigned to this member.
pub(super) struct BufferedPartition {
    queue: PartitionQueue,
    ownership: Ownership,
    /// Records taken from the queue and not delivered.
    buffered: VecDeque<Record>,
    /// The offset after the last delivered record: commits may go up to it.
    pub(super) delivered: Option<i64>,
    /// Whether any record was taken since the partition was assigned or rewound.
    pub(super) has_fetched: bool,
    /// Whether the group has asked for it: no more records of it are delivered.
    pub(super) is_revoking: bool,
}

impl BufferedPartition {
    pub(super) fn new(queue: PartitionQueue) -> Self {
        Self {
            queue,
            ownership: Ownership::default(),
            buffered: VecDeque::new(),
            delivered: None,
            has_fetched: false,
            is_revoking: false,
        }
    }

    /// Tells whether the partition is still owned as it is now.
    pub(super) fn watch_ownership(&self) -> OwnershipWatch {
        self.ownership.watch()
    }

    /// Another member may have owned the partition: records that were read can no longer be committed, and a commit
    /// that runs is fenced.
    pub(super) fn end_ownership(&mut self) {
        self.ownership = Ownership::default();
        self.discard();
    }

    /// Discards buffered records. Records that were delivered can no longer be committed, unless the partition is being
    /// revoked.
    pub(super) fn discard(&mut self) {
        self.buffered.clear();
        if !self.is_revoking {
            self.delivered = None;
        }
    }

    pub(super) fn has_buffered(&self) -> bool {
        !self.buffered.is_empty()
    }

    /// Buffers up to `max` records from the queue, and few at once. Returns the error that the queue reports.
    pub(super) fn refill(&mut self, at: &TopicPartition, max: usize) -> Option<Code> {
        let mut failed = None;
        let buffered = &mut self.buffered;
        let taken = self.queue.take(max, |item| match item {
            QueueItem::Record(raw) => buffered.push_back(raw.into_record(at)),
            QueueItem::End(_) => {}
            QueueItem::Failed(code) => failed = Some(code),
        });
        self.has_fetched |= taken > 0;
        failed
    }
}

/// What a poll may still return of one partition.
#[derive(Debug, Clone)]
pub(super) struct PartitionQuota {
    left: FetchLimits,
    is_untouched: bool,
}

impl PartitionQuota {
    /// A partition's first record is returned whatever its size.
    pub(super) fn new(limits: FetchLimits) -> Self {
        Self { left: FetchLimits { max_records: limits.max_records.max(1), ..limits }, is_untouched: true }
    }

    /// How many more records may be returned.
    pub(super) fn room(&self) -> usize {
        self.left.max_records
    }

    fn admits(&self, bytes: usize) -> bool {
        self.is_untouched || (self.left.max_records > 0 && bytes <= self.left.max_bytes)
    }

    fn take(&mut self, bytes: usize) {
        self.left.max_records -= 1;
        self.left.max_bytes = self.left.max_bytes.saturating_sub(bytes);
        self.is_untouched = false;
    }

    /// Its next record does not fit.
    fn end(&mut self) {
        self.left.max_records = 0;
    }
}

/// The records of one poll.
pub(super) struct PollBatch {
    limits: FetchLimits,
    pub(super) records: Vec<Record>,
    bytes: usize,
    pub(super) is_full: bool,
}

impl PollBatch {
    pub(super) fn new(limits: FetchLimits) -> Self {
        Self { limits, records: Vec::new(), bytes: 0, is_full: false }
    }

    /// Delivers a partition's buffered records until the batch or the partition's quota is full.
    pub(super) fn take(&mut self, owned: &mut BufferedPartition, quota: &mut PartitionQuota) {
        while let Some(record) = owned.buffered.pop_front() {
            let size = record.size_bytes();
            if !quota.admits(size) {
                quota.end();
                owned.buffered.push_front(record);
                return;
            }
            let bytes = self.bytes + size;
            let fits = self.records.len() < self.limits.max_records && bytes <= self.limits.max_bytes;
            if !fits && !self.records.is_empty() {
                self.is_full = true;
                owned.buffered.push_front(record);
                return;
            }
            owned.delivered = Some(record.address.offset + 1);
            self.bytes = bytes;
            quota.take(size);
            self.records.push(record);
        }
        self.is_full |= self.room() == 0;
    }

    /// How many more records fit.
    pub(super) fn room(&self) -> usize {
        match self.bytes >= self.limits.max_bytes {
            true => 0,
            false => self.limits.max_records.saturating_sub(self.records.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_admits_a_first_record_of_any_size_and_ends_with_its_records_or_bytes() {
        let mut quota = PartitionQuota::new(FetchLimits { max_records: 3, max_bytes: 100 });
        assert!(quota.admits(1000));
        quota.take(1000);
        assert!(!quota.admits(1));
        let mut quota = PartitionQuota::new(FetchLimits { max_records: 3, max_bytes: 100 });
        for room in [2, 1, 0] {
            assert!(quota.admits(10));
            quota.take(10);
            assert_eq!(quota.room(), room);
        }
        assert!(!quota.admits(10));
    }
}
