//! Seeking back to the committed offsets.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::task::JoinHandle;

use crate::clients::REQUEST_TIMEOUT;
use crate::context::RawConsumer;
use crate::error::LibrdkafkaError;
use crate::names::{WirePartition, partition_list};
use mfctl_core::ports::Result;

const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the member has to go back to its committed offsets before it delivers records.
///
/// - `NotNeeded`: exit: `Due`, when the caller asks for a rewind or partitions are reassigned after an eviction.
/// - `Due`: exits: `Seeking`; `NotNeeded`, when no partition has fetched anything.
/// - `Seeking`: a blocking thread seeks. Exit: `Due`, when it ends: it counts only once the member has noticed it.
pub(super) enum RewindState {
    NotNeeded,
    Due,
    Seeking(JoinHandle<Result<()>>),
}

impl RewindState {
    /// Requires a rewind. Changes nothing while a seek runs: a seek whose caller was cancelled is repeated anyway, and one that
    /// is awaited counts for this request, too.
    pub(super) fn require(&mut self) {
        if matches!(self, Self::NotNeeded) {
            *self = Self::Due;
        }
    }

    pub(super) fn start(&mut self, task: JoinHandle<Result<()>>) {
        debug_assert!(matches!(self, Self::Due), "one rewind at a time, and only one that is due");
        *self = Self::Seeking(task);
    }

    /// The task has ended, well or not.
    pub(super) fn seek_ended(&mut self) {
        debug_assert!(matches!(self, Self::Seeking(_)), "a seek runs");
        *self = Self::Due;
    }

    pub(super) fn complete(&mut self) {
        debug_assert!(matches!(self, Self::Due), "no seek runs any more");
        *self = Self::NotNeeded;
    }

    pub(super) fn is_needed(&self) -> bool {
        !matches!(self, Self::NotNeeded)
    }

    pub(super) fn is_seeking(&self) -> bool {
        matches!(self, Self::Seeking(_))
    }
}

/// Seeks to the committed offsets of these partitions, or to their beginnings. Blocks.
pub(super) fn seek_to_commits(
    consumer: &RawConsumer,
    partitions: &[WirePartition],
) -> std::result::Result<(), LibrdkafkaError> {
    let committed = consumer.committed_offsets(partition_list(partitions), REQUEST_TIMEOUT)?;
    let mut wanted = TopicPartitionList::with_capacity(partitions.len());
    for at in committed.elements() {
        at.error()?;
        let offset = match at.offset() {
            Offset::Offset(offset) => Offset::Offset(offset),
            _ => Offset::Beginning,
        };
        wanted.add_partition_offset(at.topic(), at.partition(), offset)?;
    }
    let sought = consumer.seek_partitions(wanted, SEEK_TIMEOUT)?;
    for at in sought.elements() {
        // For example because the partition is being revoked.
        at.error().map_err(|error| LibrdkafkaError::new(Code::Retry, error.to_string()))?;
    }
    Ok(())
}
