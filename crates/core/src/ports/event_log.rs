//! The event log: topics, partitions, offsets, consumer groups, transactions. Kafka's meanings throughout.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::lag::PartitionSpan;
use crate::domain::{GroupName, NewRecord, Record, RecordAddress, TopicName, TopicPartition};

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: u32,
    /// How long records are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// Whether only the last record of each key is kept.
    pub compacted: bool,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: u32,
    /// How long records are kept, in seconds; `None` is for ever.
    pub retention_seconds: Option<u64>,
    /// Whether only the last record of each key is kept.
    pub compacted: bool,
}

/// Offsets of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionOffsets {
    /// The partition.
    pub at: TopicPartition,
    /// Its first and its end offset, as a read-committed reader sees them.
    pub span: PartitionSpan,
}

/// Records read without a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRecords {
    /// The records, by offset.
    pub records: Vec<Record>,
    /// Where to go on. Beyond the last record where offsets were skipped (transaction markers, compaction, retention).
    pub next_offset: i64,
    /// The partition's span when it was read.
    pub span: PartitionSpan,
}

/// How much one fetch may bring. At least one record is brought whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Records at most.
    pub max_records: usize,
    /// Bytes of keys, values and headers at most.
    pub max_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { max_records: 512, max_bytes: 4 << 20 }
    }
}

/// A wish to join a consumer group.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The group. A group's first member starts at the beginning of each partition.
    pub group: GroupName,
    /// The topics.
    pub topics: Vec<TopicName>,
    /// This member's name for people, e.g. `host/0`; also its `transactional.id`'s last part.
    pub instance: String,
    /// A member that has not polled for this long is put out of the group.
    pub session_timeout: Duration,
}

/// What a poll brings.
#[derive(Debug)]
pub enum Poll {
    /// Records, in order within each partition.
    Records(Vec<Record>),
    /// These partitions are this member's now, from their committed offsets. None: there are none for it at present.
    Assigned(Vec<TopicPartition>),
    /// These are asked for by another member: settle what is in flight, then [`GroupConsumer::release`] them. No more
    /// records of them come.
    Revoking(Vec<TopicPartition>),
    /// These were taken away: what is in flight of them is void.
    Lost(Vec<TopicPartition>),
    /// Nothing came within the wait.
    Idle,
}

/// One transaction: everything in it becomes visible together, or nothing does.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// What the step emits.
    pub outputs: Vec<NewRecord>,
    /// Records given up, made with [`crate::domain::dead_letter::dead_letter`].
    pub dead_letters: Vec<NewRecord>,
    /// The next offset to read of each partition: the contiguous settled prefix.
    pub offsets: BTreeMap<TopicPartition, i64>,
}

impl CommitRequest {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.dead_letters.is_empty() && self.offsets.is_empty()
    }
}

/// A partition of a group's topic, with how far the group has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionProgress {
    /// The partition.
    pub at: TopicPartition,
    /// The next offset the group will read; `None` before its first commit.
    pub committed: Option<i64>,
    /// The partition's span.
    pub span: PartitionSpan,
    /// Whether nothing is left: the commit is at the end (behind transaction markers too) and no transaction is open
    /// below it.
    pub at_end: bool,
}

/// A group's commit in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommittedOffset {
    /// The partition.
    pub at: TopicPartition,
    /// The next offset the group will read.
    pub offset: i64,
    /// When it was committed, where the log says.
    #[schemars(with = "Option<String>")]
    pub committed_at: Option<Timestamp>,
}

/// A group's member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    /// The log's id of it.
    pub member_id: String,
    /// Its name for people, e.g. `host/0`.
    pub instance: String,
    /// Its host and process, where known, e.g. `host pid 4711`.
    pub client: String,
    /// What it owns.
    pub partitions: Vec<TopicPartition>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupDescription {
    /// Its name.
    pub group: GroupName,
    /// Its members that are alive.
    pub members: Vec<GroupMember>,
    /// Its commits.
    pub committed: Vec<CommittedOffset>,
}

/// What a retention run removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RetentionReport {
    /// Records removed from each topic, where any were.
    pub removed: BTreeMap<String, u64>,
}

/// The log.
///
/// Contract: offsets of a partition grow from 0 by at least 1. A published record is durable when the call returns. No
/// reader sees a record of a transaction that is open or aborted. Records of one key in one topic keep the order in
/// which one caller published them. Unknown topics are [`super::ErrorKind::NotFound`]; nothing makes a topic but
/// [`EventLog::create_topics`].
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The log's own identity (a cluster id), for pinning.
    async fn identity(&self) -> Result<String>;

    /// Makes the topics that are missing and returns their names. Existing ones are left as they are.
    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>>;

    /// Every topic, by name.
    async fn topics(&self) -> Result<Vec<TopicDescription>>;

    /// Spans of every partition of these topics. A missing topic is `NotFound`, naming it.
    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>>;

    /// Publishes outside any group, all or (on an error) possibly some; returns where each record stands. A record over
    /// 1 MiB is `Invalid`.
    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>>;

    /// Reads records from `from` on, without a group. A `from` below the low watermark starts there; one at or beyond
    /// the end brings none.
    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords>;

    /// The first offset whose record has this time or a later one; the end offset if there is none.
    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64>;

    /// Joins a group.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>>;

    /// Every group that has members or commits, by name. Never only some of them: in a cluster, an error while a broker
    /// does not list its own.
    async fn groups(&self) -> Result<Vec<GroupDescription>>;

    /// The members of a group that are alive; none of one that is not there. In a cluster its coordinator alone has to
    /// answer.
    async fn members(&self, group: &GroupName) -> Result<Vec<GroupMember>> {
        let group = self.groups().await?.into_iter().find(|described| described.group == *group);
        Ok(group.map(|described| described.members).unwrap_or_default())
    }

    /// How far a group has come in every partition of these topics.
    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>>;

    /// Forgets a group's commits, as `kafka-consumer-groups --delete` does. `Conflict` while it has members.
    async fn delete_group(&self, group: &GroupName) -> Result<()>;

    /// A producer of which there is one per `transactional_id`: making it fences the one before.
    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>>;

    /// Removes what is older than its topic's retention and, in compacted topics, what a later record of the same key
    /// replaces. A log that does this by itself (Kafka) does nothing.
    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport>;
}

/// A member of a group.
///
/// Contract: each partition has one owner at a time. A settlement that names a partition this member does not own, or
/// comes from a member that was put out, is [`super::ErrorKind::Fenced`] and leaves nothing behind. Where a log has one
/// producer per instance, a settlement of one whose name another member took since is [`super::ErrorKind::Locked`]. Dropping a consumer
/// without [`GroupConsumer::leave`] is like its process dying: its partitions are free as soon as the log notices.
#[async_trait]
pub trait GroupConsumer: Send {
    /// Waits up to `wait` for records or a change of the assignment. Must be called at least once a session timeout.
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll>;

    /// No records of these until [`GroupConsumer::resume`]. Unknown partitions are ignored.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Records of these come again.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Begins to commit outputs, dead letters and offsets in one transaction, which goes on by itself. Polling goes on
    /// beside it. There is one at a time: one that is still under way is waited for, and what became of it is lost.
    async fn begin_commit(&mut self, settlement: CommitRequest) -> Result<()>;

    /// Waits for the end of what was begun, and may be cut off and called again. `Ok`: it is durable, or nothing was begun.
    /// In a cluster readers see it all a moment later. An error that is a dependency's leaves it open whether it was
    /// committed: a rewind knows.
    async fn finish_commit(&mut self) -> Result<()>;

    /// Both.
    async fn commit(&mut self, settlement: CommitRequest) -> Result<()> {
        self.begin_commit(settlement).await?;
        self.finish_commit().await
    }

    /// Gives up partitions that were asked for, after what is being settled.
    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Reads again from the committed offsets of every owned partition.
    async fn rewind(&mut self) -> Result<()>;

    /// Leaves the group, freeing its partitions at once.
    async fn leave(self: Box<Self>) -> Result<()>;
}

/// A transactional producer without a group.
#[async_trait]
pub trait TransactionalProducer: Send {
    /// Sends all records in one transaction. [`super::ErrorKind::Fenced`] when a later producer has this one's id.
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>>;
}
