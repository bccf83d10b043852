//! The event log: topics, partitions, offsets, consumer groups, transactions. Kafka's meanings throughout.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::lag::{PartitionSpan, lag};
use crate::domain::record_limits;
use crate::domain::{
    ClaimEpoch, GroupGeneration, GroupName, NewRecord, Record, RecordAddress, TopicId, TopicName, TopicPartition,
};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Topic name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention: Option<Duration>,
    /// `cleanup.policy=compact`: only the last record of each key is kept.
    pub compacted: bool,
}

/// An existing topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicDescription {
    /// Topic name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// Retention in seconds; `None` keeps records for ever.
    pub retention_seconds: Option<u64>,
    /// Whether only the last record of each key is kept.
    pub compacted: bool,
}

/// The low and high watermark of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionOffsets {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Low watermark and last stable offset: what a read-committed reader sees.
    pub span: PartitionSpan,
}

/// Offsets of a partition that an open transaction hides from readers: its own records, and all that follow them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HiddenRecords {
    /// Topic and partition.
    #[serde(flatten)]
    pub at: TopicPartition,
    /// First hidden offset: the last stable offset.
    pub from_offset: i64,
    /// End of the partition.
    pub end_offset: i64,
}

impl HiddenRecords {
    /// Number of hidden offsets, transaction markers included.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.end_offset - self.from_offset).unwrap_or(0)
    }
}

/// A page of records read outside a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRecords {
    /// Records in offset order.
    pub records: Vec<Record>,
    /// Offset of the next fetch. Beyond the last record where offsets were skipped (transaction markers, compaction,
    /// retention).
    pub next_offset: i64,
    /// Watermarks of the partition at the time of the fetch.
    pub span: PartitionSpan,
}

/// Upper bounds of one fetch. At least one record is returned whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Maximum number of records.
    pub max_records: usize,
    /// Maximum bytes of keys, values and headers.
    pub max_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { max_records: 512, max_bytes: 4 << 20 }
    }
}

/// A request to join a consumer group.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Group to join. A partition without a committed offset is read from its low watermark.
    pub group: GroupName,
    /// Topics to subscribe to.
    pub topics: Vec<TopicName>,
    /// Display name of this member, e.g. `host-1f0a93c4/0`; also the last part of its `transactional.id`.
    pub instance: String,
    /// A member that has not polled for this long is evicted from the group.
    pub session_timeout: Duration,
    /// How many bytes of records the log's client may fetch before a poll returns them. At least one batch of each
    /// partition is fetched whatever its size. A log that fetches nothing in advance ignores it.
    pub prefetch_bytes: usize,
}

/// The outcome of a poll.
#[derive(Debug)]
pub enum Poll {
    /// Records, in order within each partition.
    Records(Vec<Record>),
    /// Partitions assigned to this member, to be read from their committed offsets. Empty: none are assigned to it.
    Assigned(Vec<TopicPartition>),
    /// Partitions that a rebalance revokes: commit what is in flight, then [`GroupConsumer::release`] them. No more of
    /// their records are returned.
    Revoking(Vec<TopicPartition>),
    /// Partitions lost after an eviction: what is in flight of them can no longer be committed.
    Lost(Vec<TopicPartition>),
    /// No record and no rebalance within the wait.
    Idle,
}

/// What one transaction commits: all of it becomes visible together, or none of it.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Output records of the step.
    pub outputs: Vec<NewRecord>,
    /// Dead letters, made with [`crate::domain::dead_letter::dead_letter`].
    pub dead_letters: Vec<NewRecord>,
    /// Next offset to read of each partition: the end of its contiguous finished prefix.
    pub offsets: BTreeMap<TopicPartition, i64>,
    /// The claim epoch of each of these partitions, kept with the commit: see [`EventLog::committed`].
    pub epochs: BTreeMap<TopicPartition, ClaimEpoch>,
}

impl CommitRequest {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.dead_letters.is_empty() && self.offsets.is_empty()
    }
}

/// A group's progress in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionProgress {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Committed offset, the next one to be read; `None` before the first commit.
    pub committed: Option<i64>,
    /// Watermarks of the partition.
    pub span: PartitionSpan,
    /// Whether nothing is left to read: the committed offset is at the end, transaction markers aside, and no
    /// transaction is open below it.
    pub at_end: bool,
    /// Whether the committed offset is beyond everything written, records of open transactions included: the log was
    /// truncated, restored or recreated. A consumer then starts at the low watermark.
    pub beyond_end: bool,
    /// Number of offsets that open transactions hide, from the last stable offset to the end of the partition.
    pub hidden: u64,
}

impl PartitionProgress {
    /// The number of visible offsets that the group has not read; 0 at the end, although transaction markers may follow.
    #[must_use]
    pub fn lag(&self) -> u64 {
        if self.at_end {
            return 0;
        }
        lag(self.span, self.committed.filter(|_| !self.beyond_end))
    }
}

/// A group's committed offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommittedOffset {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Next offset the group will read.
    pub offset: i64,
    /// Time of the commit; `None` where the log does not keep it.
    #[schemars(with = "Option<String>")]
    pub committed_at: Option<Timestamp>,
}

/// A group's last commit in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCommit {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Next offset the group will read.
    pub offset: i64,
    /// The epoch under which a member made the commit; `None` for a commit of another tool, and of a release without epochs.
    pub epoch: Option<ClaimEpoch>,
}

/// A live member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    /// Member id that the log assigned.
    pub member_id: String,
    /// Display name, e.g. `host-1f0a93c4/0`.
    pub instance: String,
    /// Host and process, where known, e.g. `host pid 4711`.
    pub client: String,
    /// Partitions assigned to it.
    pub partitions: Vec<TopicPartition>,
}

/// A consumer group with its members and committed offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupDescription {
    /// Group name.
    pub group: GroupName,
    /// Live members.
    pub members: Vec<GroupMember>,
    /// Committed offsets.
    pub committed: Vec<CommittedOffset>,
}

/// Summary of a retention run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RetentionReport {
    /// Records removed per topic; topics without any are absent.
    pub removed: BTreeMap<String, u64>,
}

/// The event log.
///
/// Contract: offsets of a partition grow from 0 by at least 1. A published record is durable when the call returns. No
/// reader sees a record of a transaction that is open or aborted. Records of one key in one topic keep the order in
/// which one caller published them. An unknown topic is [`super::ErrorKind::NotFound`]; only
/// [`EventLog::create_topics`] creates one.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The log's stable identity, Kafka's cluster id; a profile pins it.
    async fn identity(&self) -> Result<String>;

    /// Creates the topics that are missing and returns their names. Existing topics are not changed.
    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>>;

    /// Every topic, sorted by name.
    async fn topics(&self) -> Result<Vec<TopicDescription>>;

    /// Watermarks of every partition of these topics. A missing topic is `NotFound`, naming it.
    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>>;

    /// Largest record that this topic is sure to take, in bytes as [`NewRecord::encoded_bytes`]: the limit of
    /// [`record_limits`], or less where the topic has a lower one.
    async fn max_message_bytes(&self, topic: &TopicName) -> Result<usize> {
        Ok(record_limits::max_message_bytes(topic))
    }

    /// Whether the log limits the compressed size of records. A [`TransactionalProducer`] then tries to send records that
    /// [`record_limits::may_compress`] to what their topic takes, although they are beyond the limits themselves.
    fn limits_compressed_records(&self) -> bool {
        false
    }

    /// Publishes records without a transaction and returns their addresses, in order. On an error some of them may have
    /// been published. A record beyond the [`record_limits`] is `Invalid`.
    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>>;

    /// Reads records from offset `from` on, outside any group. A `from` below the low watermark starts there; one at or
    /// beyond the end returns none.
    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords>;

    /// Partitions of these topics whose records behind an open transaction no reader sees yet. Empty for a log whose
    /// transactions are never open.
    async fn hidden(&self, _topics: &[TopicName]) -> Result<Vec<HiddenRecords>> {
        Ok(Vec::new())
    }

    /// The end of each partition of these topics, with the records of open transactions. What a read-committed reader has
    /// been shown is before these offsets. Its own end may be before them: while a transaction is open, and for a moment
    /// after the leader of a partition has changed.
    async fn written_ends(&self, topics: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>>;

    /// Reads hidden records from offset `from` on, outside any group: those of transactions that are open or have been
    /// aborted too, so a record that is returned may never become visible.
    async fn fetch_hidden(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        self.fetch(at, from, limits).await
    }

    /// The first offset whose record has this timestamp or a later one; the end offset if there is none.
    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64>;

    /// Joins a consumer group.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>>;

    /// Every group that has members or committed offsets, sorted by name. Never a partial list: in a cluster it is an
    /// error while a broker does not list its own groups.
    async fn groups(&self) -> Result<Vec<GroupDescription>>;

    /// Live members of a group; none if the group does not exist. In a cluster only its coordinator has to answer.
    async fn members(&self, group: &GroupName) -> Result<Vec<GroupMember>> {
        let group = self.groups().await?.into_iter().find(|described| described.group == *group);
        Ok(group.map(|described| described.members).unwrap_or_default())
    }

    /// The ids of topics, in their order. A topic that is created after one of the same name was deleted has another id.
    /// `None` where the log has no ids. A missing topic is `NotFound`.
    async fn topic_ids(&self, topics: &[TopicName]) -> Result<Vec<Option<TopicId>>>;

    /// The last commits of a group in these partitions; partitions without a commit are absent. One request of the group's
    /// coordinator: no offsets of the partitions are read.
    async fn committed(&self, group: &GroupName, partitions: &[TopicPartition]) -> Result<Vec<GroupCommit>>;

    /// A group's progress in every partition of these topics.
    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>>;

    /// Deletes a group and its committed offsets, as `kafka-consumer-groups --delete` does. `Conflict` while it has
    /// members.
    async fn delete_group(&self, group: &GroupName) -> Result<()>;

    /// A producer with this `transactional.id`; creating it fences any earlier producer with the same id.
    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>>;

    /// Removes records older than their topic's retention and, in compacted topics, those that a later record of the
    /// same key replaces. Does nothing where the log does this itself (Kafka).
    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport>;
}

/// A member of a consumer group.
///
/// Contract: each partition has one owner at a time. A commit is [`super::ErrorKind::Fenced`], with no effect, if the
/// member was evicted, does not own a partition that it names, or where the log shows that the group has committed its
/// records already. Where the log has one producer per instance, a commit of an instance name that another member has
/// taken since is [`super::ErrorKind::Locked`]. Dropping a consumer without [`GroupConsumer::leave`] is like its
/// process dying: its partitions become free when the log notices.
#[async_trait]
pub trait GroupConsumer: Send {
    /// Waits up to `wait` for records or a rebalance. Must be called at least once per session timeout.
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll>;

    /// Stops returning records of these partitions until [`GroupConsumer::resume`]. Unknown partitions are ignored.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Resumes these partitions.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Sets upper bounds of what one poll returns of each partition, within the limits of the poll; until then there are
    /// none. A partition's first record of a poll is returned whatever its size.
    fn limit_each_partition(&mut self, limits: FetchLimits);

    /// The member's generation and id, as of the last poll; `None` while it is not in its group. Whoever is assigned a
    /// partition later has a higher generation, unless the group was deleted or expired in between.
    fn generation(&self) -> Option<GroupGeneration>;

    /// Asks the log whether the member is in its group at [`GroupConsumer::generation`]. [`super::ErrorKind::Fenced`] if not.
    /// Changes no committed offset.
    async fn confirm(&mut self) -> Result<()>;

    /// Begins to commit outputs, dead letters and offsets in one transaction, which proceeds in the background while the
    /// member goes on polling. One commit is in flight at a time: a second call waits for the first, whose outcome is
    /// then lost. Here or in [`GroupConsumer::finish_commit`], `Invalid` means that the log refuses one of the records, for
    /// its size or otherwise, and that nothing was committed.
    async fn begin_commit(&mut self, request: CommitRequest) -> Result<()>;

    /// Waits for the commit in flight. Cancel-safe: it can be dropped and called again. `Ok` means that the commit is
    /// durable, or that none was in flight; in a cluster readers see all of it a moment later. After a dependency's
    /// error it is unknown whether the commit was applied: [`GroupConsumer::rewind`] finds out.
    async fn finish_commit(&mut self) -> Result<()>;

    /// [`GroupConsumer::begin_commit`] and [`GroupConsumer::finish_commit`] in one call.
    async fn commit(&mut self, request: CommitRequest) -> Result<()> {
        self.begin_commit(request).await?;
        self.finish_commit().await
    }

    /// Releases revoked partitions once the commit in flight has ended. They count as released from the call on: after
    /// an error or a cancellation a later poll releases them.
    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Seeks every owned partition to its committed offset.
    async fn rewind(&mut self) -> Result<()>;

    /// Leaves the group, which frees its partitions at once.
    async fn leave(self: Box<Self>) -> Result<()>;
}

/// A transactional producer outside any consumer group.
#[async_trait]
pub trait TransactionalProducer: Send {
    /// Sends all records in one transaction and returns their addresses. [`super::ErrorKind::Fenced`] when a later
    /// producer has taken this `transactional.id`; `Invalid` when the log refuses one of the records, with no effect.
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>>;
}
