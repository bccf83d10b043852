//! Offsets of many partitions at once: spans, times, and how far a group has come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::{CALL, Cluster};
use super::error::Failure;
use super::ffi::admin::{self, PartitionOffset};
use super::topics::missing;
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{GroupName, TopicName, TopicPartition};
use mfctl_core::ports::{ErrorKind, FetchLimits, PartitionOffsets, PartitionProgress, Result};

/// ListOffsets' words for the beginning and the end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// How long a group's offsets may be held up by a transaction that is being committed.
const UNSTABLE: Duration = Duration::from_secs(20);

/// How long a broker may not know a topic yet that another knows.
const NEW_TOPIC: Duration = Duration::from_secs(5);
/// How long a partition may be between two leaders. A cluster that does not answer at all takes longer to say so.
const NEW_LEADER: Duration = Duration::from_secs(3);
/// How long to wait before such a question is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// What a reader may see of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// What is committed.
    Committed,
    /// Everything, open transactions too.
    Everything,
}

/// A partition's offsets with the end that open transactions hide.
#[derive(Debug, Clone, Copy)]
struct Ends {
    span: PartitionSpan,
    written: i64,
}

impl Cluster {
    /// Spans of every partition of these topics.
    pub(super) async fn spans(self: &Arc<Self>, names: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        let partitions = self.all_partitions(names).await?;
        let low = self.offsets_at(&partitions, EARLIEST, View::Committed).await?;
        let high = self.offsets_at(&partitions, LATEST, View::Committed).await?;
        let spans = low.into_iter().zip(high).map(|(low, high)| PartitionSpan { low, high: high.max(low) });
        Ok(partitions.into_iter().zip(spans).map(|(at, span)| PartitionOffsets { at, span }).collect())
    }

    /// The span of one partition.
    pub(super) async fn span(self: &Arc<Self>, at: &TopicPartition) -> Result<PartitionSpan> {
        self.check_partition(at).await?;
        let one = std::slice::from_ref(at);
        let low = self.offsets_at(one, EARLIEST, View::Committed).await?[0];
        let high = self.offsets_at(one, LATEST, View::Committed).await?[0];
        Ok(PartitionSpan { low, high: high.max(low) })
    }

    async fn check_partition(self: &Arc<Self>, at: &TopicPartition) -> Result<()> {
        match at.partition < self.partitions(&at.topic).await? {
            true => Ok(()),
            false => Err(missing(at)),
        }
    }

    /// The first offset with this time or a later one, else the end.
    pub(super) async fn offset_for_time(self: &Arc<Self>, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.check_partition(at).await?;
        let one = std::slice::from_ref(at);
        let found = self.offsets_at(one, time.as_millisecond().max(0), View::Committed).await?[0];
        match found >= 0 {
            true => Ok(found),
            false => Ok(self.offsets_at(one, LATEST, View::Committed).await?[0]),
        }
    }

    /// The offset that `wanted` stands for in each of these partitions.
    async fn offsets_at(self: &Arc<Self>, partitions: &[TopicPartition], wanted: i64, view: View) -> Result<Vec<i64>> {
        let began = Instant::now();
        loop {
            match self.offsets_once(partitions, wanted, view).await {
                Err(error) if error.kind() == ErrorKind::NotFound && began.elapsed() < NEW_TOPIC => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) if error.kind() == ErrorKind::Unreachable && began.elapsed() < NEW_LEADER => {
                    tokio::time::sleep(AGAIN).await;
                }
                answered => return answered,
            }
        }
    }

    async fn offsets_once(
        self: &Arc<Self>,
        partitions: &[TopicPartition],
        wanted: i64,
        view: View,
    ) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.list(partitions, wanted);
        let listed = self
            .ask("read offsets", move |client| admin::list_offsets(client, &list, view == View::Committed, CALL))
            .await?;
        let mut offsets = self.by_partition(listed)?;
        let of = |at: &TopicPartition| offsets.remove(at).ok_or_else(|| missing(at));
        partitions.iter().map(of).collect()
    }

    fn list(&self, partitions: &[TopicPartition], offset: i64) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            let wire = self.names.wire(at.topic.as_str());
            let mut element = list.add_partition(&wire, number(at.partition));
            // Any number is an offset to librdkafka here; the suite would show one that is not.
            let _ = element.set_offset(Offset::from_raw(offset));
        }
        list
    }

    fn by_partition(&self, listed: Vec<PartitionOffset>) -> Result<HashMap<TopicPartition, i64>> {
        let mut offsets = HashMap::with_capacity(listed.len());
        for one in listed {
            let Some(at) = self.named(&one.topic, one.partition) else { continue };
            match one.error {
                None => drop(offsets.insert(at, one.offset)),
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                    return Err(missing(at));
                }
                Some(code) => return Err(self.error(format!("read the offsets of {at}"), Failure::of(code))),
            }
        }
        Ok(offsets)
    }

    /// A partition of ours by its name on the wire.
    pub(super) fn named(&self, topic: &str, partition: i32) -> Option<TopicPartition> {
        Some(TopicPartition::new(self.names.topic(topic)?, u32::try_from(partition).ok()?))
    }

    /// A group's commits: in these partitions, or wherever it has one. Waits while a transaction that holds some of them
    /// is being committed.
    pub(super) async fn committed(
        self: &Arc<Self>,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<HashMap<TopicPartition, i64>> {
        let (began, unstable_end) = (Instant::now(), Instant::now() + UNSTABLE);
        loop {
            let name = group.to_owned();
            let wanted = partitions.map(|partitions| self.list(partitions, LATEST));
            let question = move |asker: &_| admin::group_offsets(asker, &name, wanted.as_ref(), CALL);
            let listed = self.ask_coordinator("read a group's commits", question).await?;
            let unstable = listed.iter().any(|one| one.error == Some(Code::UnstableOffsetCommit));
            if unstable && Instant::now() < unstable_end {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let mut offsets = match self.by_partition(listed) {
                Err(error) if error.kind() == ErrorKind::NotFound && began.elapsed() < NEW_TOPIC => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                offsets => offsets?,
            };
            offsets.retain(|_, offset| *offset >= 0);
            return Ok(offsets);
        }
    }

    /// How far a group has come in every partition of these topics.
    pub(super) async fn progress_of(
        self: &Arc<Self>,
        group: &GroupName,
        names: &[TopicName],
    ) -> Result<Vec<PartitionProgress>> {
        // Commits first: what is committed is then never beyond what is known to be there.
        let partitions = self.all_partitions(names).await?;
        let committed = self.committed(&self.names.wire(group.as_str()), Some(&partitions)).await?;
        let low = self.offsets_at(&partitions, EARLIEST, View::Committed).await?;
        let high = self.offsets_at(&partitions, LATEST, View::Committed).await?;
        let written = self.offsets_at(&partitions, LATEST, View::Everything).await?;
        let mut progress = Vec::with_capacity(partitions.len());
        for (((at, low), high), written) in partitions.into_iter().zip(low).zip(high).zip(written) {
            let ends = Ends { span: PartitionSpan { low, high: high.max(low) }, written };
            let committed = committed.get(&at).copied();
            let at_end = self.is_at_end(&at, committed, ends).await?;
            progress.push(PartitionProgress { at, committed, span: ends.span, at_end });
        }
        Ok(progress)
    }

    /// Whether nothing is left: no transaction is open, and between the commit and the end there are markers at most.
    async fn is_at_end(self: &Arc<Self>, at: &TopicPartition, committed: Option<i64>, ends: Ends) -> Result<bool> {
        if ends.written > ends.span.high {
            return Ok(false);
        }
        let from = committed.unwrap_or(ends.span.low).max(ends.span.low);
        if from >= ends.span.high {
            return Ok(true);
        }
        if self.readers.has_seen_record_at(at, from) {
            return Ok(false);
        }
        // Markers cannot be told from records but by reading.
        let one = FetchLimits { max_records: 1, max_bytes: 1 };
        let fetched = self.read(at, from, one, ends.span).await?;
        Ok(fetched.records.is_empty() && fetched.next_offset >= ends.span.high)
    }
}

/// A partition's number as librdkafka takes it.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
