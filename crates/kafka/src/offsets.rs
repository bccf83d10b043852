//! Offsets of partitions: their first and end offsets, and those of a time.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::{KafkaClients, REQUEST_TIMEOUT};
use super::error::{LibrdkafkaError, unknown_topic};
use super::ffi::admin::{self, ListedOffset};
use super::topics::{TopicDirectory, metadata_deadline};
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{TopicName, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, HiddenRecords, PartitionOffsets, Result};
use mfctl_core::wait::{Backoff, wait_until};

/// ListOffsets' timestamp for the first offset.
pub(super) const EARLIEST: i64 = -2;
/// ListOffsets' timestamp for the end offset.
pub(super) const LATEST: i64 = -1;
pub(super) const OFFSETS_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(20));

/// What a reader sees of the end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsolationLevel {
    ReadCommitted,
    /// Records of open transactions too.
    ReadUncommitted,
}

/// See the module.
pub(super) struct OffsetQueries {
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
}

impl OffsetQueries {
    pub(super) fn new(clients: Arc<KafkaClients>, topics: Arc<TopicDirectory>) -> Self {
        Self { clients, topics }
    }

    /// The first and the end offset of every partition of these topics.
    pub(super) async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        let partitions = self.topics.all_partitions(topics).await?;
        let spans = self.spans(&partitions, metadata_deadline()).await?;
        Ok(partitions.into_iter().zip(spans).map(|(at, span)| PartitionOffsets { at, span }).collect())
    }

    /// The first and the end offset of one partition.
    pub(super) async fn span(&self, at: &TopicPartition) -> Result<PartitionSpan> {
        self.check_partition(at, metadata_deadline()).await?;
        let deadline = metadata_deadline();
        Ok(self.spans(std::slice::from_ref(at), deadline).await?[0])
    }

    /// The first and the end offsets of these partitions, in their order.
    pub(super) async fn spans(&self, partitions: &[TopicPartition], deadline: Instant) -> Result<Vec<PartitionSpan>> {
        let low = self.list(partitions, EARLIEST, IsolationLevel::ReadCommitted, deadline).await?;
        let high = self.list(partitions, LATEST, IsolationLevel::ReadCommitted, deadline).await?;
        Ok(low.into_iter().zip(high).map(|(low, high)| PartitionSpan { low, high: high.max(low) }).collect())
    }

    /// The partitions of these topics in which a transaction is open, from their last stable offset to their end.
    pub(super) async fn hidden(&self, topics: &[TopicName]) -> Result<Vec<HiddenRecords>> {
        let partitions = self.topics.all_partitions(topics).await?;
        let deadline = metadata_deadline();
        let stable = self.list(&partitions, LATEST, IsolationLevel::ReadCommitted, deadline).await?;
        let written = self.list(&partitions, LATEST, IsolationLevel::ReadUncommitted, deadline).await?;
        let hidden = partitions.into_iter().zip(stable.into_iter().zip(written));
        let hidden = hidden.map(|(at, (from_offset, end_offset))| HiddenRecords { at, from_offset, end_offset });
        Ok(hidden.filter(|hidden| hidden.end_offset > hidden.from_offset).collect())
    }

    /// The end of each partition of these topics, whatever transactions are open.
    pub(super) async fn written_ends(&self, topics: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>> {
        let partitions = self.topics.all_partitions(topics).await?;
        let ends = self.list(&partitions, LATEST, IsolationLevel::ReadUncommitted, metadata_deadline()).await?;
        Ok(partitions.into_iter().zip(ends).collect())
    }

    /// The offsets of one partition up to its end, whatever transactions are open.
    pub(super) async fn written_span(&self, at: &TopicPartition) -> Result<PartitionSpan> {
        self.check_partition(at, metadata_deadline()).await?;
        let deadline = metadata_deadline();
        let one = std::slice::from_ref(at);
        let low = self.list(one, EARLIEST, IsolationLevel::ReadUncommitted, deadline).await?[0];
        let high = self.list(one, LATEST, IsolationLevel::ReadUncommitted, deadline).await?[0];
        Ok(PartitionSpan { low, high: high.max(low) })
    }

    async fn check_partition(&self, at: &TopicPartition, deadline: Instant) -> Result<()> {
        match at.partition < self.topics.partition_count(&at.topic, deadline).await? {
            true => Ok(()),
            false => Err(unknown_topic(at)),
        }
    }

    /// The first offset with this time or a later one, else the end.
    pub(super) async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.check_partition(at, metadata_deadline()).await?;
        let deadline = metadata_deadline();
        let one = std::slice::from_ref(at);
        let level = IsolationLevel::ReadCommitted;
        let found = self.list(one, time.as_millisecond().max(0), level, deadline).await?[0];
        match found >= 0 {
            true => Ok(found),
            false => Ok(self.list(one, LATEST, level, deadline).await?[0]),
        }
    }

    /// ListOffsets for these partitions, in their order. `timestamp` is in milliseconds, or [`EARLIEST`] or [`LATEST`].
    /// Retried until the deadline while a broker does not know a new topic, or a partition has no leader.
    pub(super) async fn list(
        &self,
        partitions: &[TopicPartition],
        timestamp: i64,
        level: IsolationLevel,
        deadline: Instant,
    ) -> Result<Vec<i64>> {
        let listed = wait_until(deadline, OFFSETS_BACKOFF, || async {
            match self.list_once(partitions, timestamp, level).await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unreachable) => {
                    ControlFlow::Continue(error)
                }
                answer => ControlFlow::Break(answer),
            }
        });
        listed.await.unwrap_or_else(Err)
    }

    async fn list_once(
        &self,
        partitions: &[TopicPartition],
        timestamp: i64,
        level: IsolationLevel,
    ) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = self.clients.names.partition_offsets(partitions, timestamp);
        let read_committed = level == IsolationLevel::ReadCommitted;
        let listed = self
            .clients
            .request("read offsets", move |client| {
                admin::list_offsets(client, &wanted, read_committed, REQUEST_TIMEOUT)
            })
            .await?;
        let mut offsets = offsets_by_partition(&self.clients, listed)?;
        let of = |at: &TopicPartition| {
            let offset = offsets.remove(at).ok_or_else(|| unknown_topic(at))?.offset;
            // A time may have no offset; a partition always has a first one and an end.
            match offset < 0 && matches!(timestamp, EARLIEST | LATEST) {
                true => Err(Error::new(ErrorKind::Unreachable, format!("read the offsets of {at}: none was returned"))),
                false => Ok(offset),
            }
        };
        partitions.iter().map(of).collect()
    }
}

/// The offsets of the partitions of this namespace.
///
/// # Errors
/// That of the first partition that has one; `NotFound` for a partition that the broker does not know.
pub(super) fn offsets_by_partition(
    clients: &KafkaClients,
    listed: Vec<ListedOffset>,
) -> Result<HashMap<TopicPartition, ListedOffset>> {
    let mut offsets = HashMap::with_capacity(listed.len());
    for one in listed {
        let Some(at) = clients.names.partition(&one.topic, one.partition) else { continue };
        match one.error {
            None => drop(offsets.insert(at, one)),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                return Err(unknown_topic(at));
            }
            Some(code) => {
                return Err(clients.error(format!("read the offsets of {at}"), LibrdkafkaError::of(code)));
            }
        }
    }
    Ok(offsets)
}
