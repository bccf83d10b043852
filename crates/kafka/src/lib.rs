//! The event log on Kafka, through librdkafka.
//!
//! Each part has one type, which takes the parts that it needs: `clients` shares connections; `topics`, `topic_changes`,
//! `offsets`, `groups` and `readers` query and administer; `publish` writes; `consumer` is a member of a group, and
//! `transaction` commits its outputs with its offsets. `names` adds and removes the namespace, `error` maps librdkafka's
//! errors, and `ffi` is the only unsafe code. Kafka's semantics are the port's; librdkafka blocks where the port does not
//! (`blocking`).

mod blocking;
mod clients;
mod config;
mod connection_status;
mod consumer;
mod context;
mod delivery;
mod enqueue;
mod error;
mod exclusive;
mod ffi;
mod groups;
mod heartbeat;
mod message_limits;
mod names;
mod offset_commit;
mod offsets;
mod prefetch;
mod producer_state;
mod publish;
mod readers;
mod statistics;
mod topic_cache;
mod topic_changes;
mod topics;
mod transaction;
mod transaction_runner;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

pub use config::{KafkaConfig, Mechanism, SaslCredentials, SecurityProtocol};

use clients::KafkaClients;
use consumer::KafkaConsumer;
use exclusive::KafkaExclusiveProducer;
use groups::GroupQueries;
use message_limits::MessageLimits;
use mfctl_core::domain::{GroupName, NewRecord, RecordAddress, TopicId, TopicName, TopicPartition};
use mfctl_core::ports::{
    EventLog, FetchLimits, FetchedRecords, GroupCommit, GroupConsumer, GroupDescription, GroupMember, HiddenRecords,
    PartitionOffsets, PartitionProgress, Result, RetentionReport, Subscription, TopicAdmin, TopicDescription,
    TopicSpec, TopicState, TransactionalProducer,
};
use offsets::{IsolationLevel, OffsetQueries};
use publish::RecordPublisher;
use readers::PartitionReaders;
use topic_changes::TopicChanges;
use topics::TopicDirectory;

/// The event log of a Kafka cluster. Clones share its connections.
#[derive(Clone)]
pub struct KafkaLog {
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
    topic_changes: Arc<TopicChanges>,
    offsets: Arc<OffsetQueries>,
    readers: Arc<PartitionReaders>,
    /// For records behind an open transaction.
    hidden_readers: Arc<PartitionReaders>,
    groups: Arc<GroupQueries>,
    publisher: Arc<RecordPublisher>,
    message_limits: Arc<MessageLimits>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.clients.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// The log of this cluster. Opens no connection.
    ///
    /// # Errors
    /// `Invalid` when the settings contradict each other.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        config.check()?;
        let clients = KafkaClients::new(config);
        let topics = Arc::new(TopicDirectory::new(Arc::clone(&clients)));
        let topic_changes = Arc::new(TopicChanges::new(Arc::clone(&clients), Arc::clone(&topics)));
        let offsets = Arc::new(OffsetQueries::new(Arc::clone(&clients), Arc::clone(&topics)));
        let readers =
            Arc::new(PartitionReaders::new(Arc::clone(&clients), Arc::clone(&offsets), IsolationLevel::ReadCommitted));
        let hidden_readers = Arc::new(PartitionReaders::new(
            Arc::clone(&clients),
            Arc::clone(&offsets),
            IsolationLevel::ReadUncommitted,
        ));
        let groups = Arc::new(GroupQueries::new(
            Arc::clone(&clients),
            Arc::clone(&topics),
            Arc::clone(&offsets),
            Arc::clone(&readers),
        ));
        let publisher = Arc::new(RecordPublisher::new(Arc::clone(&clients), Arc::clone(&topics)));
        let message_limits = Arc::new(MessageLimits::new(Arc::clone(&topics)));
        Ok(Self { clients, topics, topic_changes, offsets, readers, hidden_readers, groups, publisher, message_limits })
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn identity(&self) -> Result<String> {
        self.clients.cluster_id().await
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.topic_changes.create_topics(specs).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.topics.topics().await
    }

    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        self.offsets.offsets(topics).await
    }

    async fn max_message_bytes(&self, topic: &TopicName) -> Result<usize> {
        self.message_limits.max_message_bytes(topic).await
    }

    fn limits_compressed_records(&self) -> bool {
        true
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.publisher.publish(records).await
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        self.readers.fetch(at, from, limits).await
    }

    async fn hidden(&self, topics: &[TopicName]) -> Result<Vec<HiddenRecords>> {
        self.offsets.hidden(topics).await
    }

    async fn written_ends(&self, topics: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>> {
        self.offsets.written_ends(topics).await
    }

    async fn fetch_hidden(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        self.hidden_readers.fetch(at, from, limits).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.offsets.offset_for_time(at, time).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        let clients = Arc::clone(&self.clients);
        let topics = Arc::clone(&self.topics);
        Ok(Box::new(KafkaConsumer::join(clients, topics, subscription).await?))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        self.groups.groups().await
    }

    async fn members(&self, group: &GroupName) -> Result<Vec<GroupMember>> {
        self.groups.members(group).await
    }

    async fn topic_ids(&self, topics: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        self.topics.ids(topics).await
    }

    async fn committed(&self, group: &GroupName, partitions: &[TopicPartition]) -> Result<Vec<GroupCommit>> {
        self.groups.commits_in(group, partitions).await
    }

    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        self.groups.progress(group, topics).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        self.groups.delete_group(group).await
    }

    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        let clients = Arc::clone(&self.clients);
        let topics = Arc::clone(&self.topics);
        Ok(Box::new(KafkaExclusiveProducer::open(clients, topics, transactional_id).await?))
    }

    /// Does nothing: brokers delete expired records by themselves.
    async fn run_retention(&self, _: Timestamp) -> Result<RetentionReport> {
        Ok(RetentionReport::default())
    }
}

#[async_trait]
impl TopicAdmin for KafkaLog {
    async fn describe_topics(&self) -> Result<Vec<TopicState>> {
        self.topic_changes.describe_topics().await
    }

    async fn create_topic(&self, topic: &TopicState) -> Result<()> {
        self.topic_changes.create_topic(topic).await
    }

    async fn alter_configs(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()> {
        self.topic_changes.alter_configs(topic, settings).await
    }

    async fn add_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        self.topic_changes.add_partitions(topic, partitions).await
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        self.topic_changes.delete_topic(topic).await
    }
}
