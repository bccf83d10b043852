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
/// - `Seeking`: a blocking thread seeks. Exits, when it ends: `Sought`; `Due`, if it failed or `is_outdated`, because
///   a rewind was required meanwhile.
/// - `Sought`: every partition is at its commit. Exits: `NotNeeded`, once the member has noticed it; `Due`, when a
///   rewind is required before.
pub(super) enum RewindState {
    NotNeeded,
    Due,
    Seeking { task: JoinHandle<Result<()>>, is_outdated: bool },
    Sought,
}

impl RewindState {
    /// Requires a rewind. A seek that runs does not count for it: the commits may have changed since it began, and it
    /// leaves out partitions that were assigned meanwhile.
    pub(super) fn require(&mut self) {
        match self {
            Self::NotNeeded | Self::Due | Self::Sought => *self = Self::Due,
            Self::Seeking { is_outdated, .. } => *is_outdated = true,
        }
    }

    pub(super) fn start(&mut self, task: JoinHandle<Result<()>>) {
        debug_assert!(matches!(self, Self::Due), "one rewind at a time, and only one that is due");
        *self = Self::Seeking { task, is_outdated: false };
    }

    /// The task has ended, and has sought to the commits or failed.
    pub(super) fn seek_ended(&mut self, has_sought: bool) {
        debug_assert!(matches!(self, Self::Seeking { .. }), "a seek runs");
        *self = match self {
            Self::Seeking { is_outdated: false, .. } if has_sought => Self::Sought,
            _ => Self::Due,
        };
    }

    pub(super) fn complete(&mut self) {
        debug_assert!(matches!(self, Self::Due | Self::Sought), "no seek runs any more");
        *self = Self::NotNeeded;
    }

    pub(super) fn is_needed(&self) -> bool {
        !matches!(self, Self::NotNeeded)
    }

    pub(super) fn is_seeking(&self) -> bool {
        matches!(self, Self::Seeking { .. })
    }

    pub(super) fn has_sought(&self) -> bool {
        matches!(self, Self::Sought)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seeking() -> RewindState {
        let mut state = RewindState::Due;
        state.start(tokio::spawn(async { Ok(()) }));
        state
    }

    #[tokio::test]
    async fn rewind_required_during_a_seek_is_still_due_after_it() {
        let mut state = seeking();
        state.require();
        state.seek_ended(true);
        assert!(state.is_needed() && !state.has_sought());
    }

    #[tokio::test]
    async fn seek_counts_once_it_has_succeeded() {
        let mut state = seeking();
        state.seek_ended(true);
        assert!(state.has_sought());
        state.require();
        assert!(!state.has_sought(), "the commits may have changed");
        let mut failed = seeking();
        failed.seek_ended(false);
        assert!(failed.is_needed() && !failed.has_sought());
    }
}
