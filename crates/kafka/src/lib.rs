//! The event log on Kafka, through librdkafka.
//!
//! `cluster` has the clients that are shared; `topics`, `offsets`, `groups` ask questions; `publish` writes; `reader`
//! reads without a group; `consumer` is a group's member; `transaction` makes settling whole. `ffi` is the only unsafe
//! code. Kafka's meanings are the port's, so that little is left to translate: names (`names`), errors (`error`), and that
//! librdkafka blocks where the port does not.

mod cluster;
mod config;
mod consumer;
mod context;
mod delivery;
mod error;
mod exclusive;
mod ffi;
mod groups;
mod names;
mod offsets;
mod publish;
mod reader;
mod statistics;
mod topic_admin;
mod topics;
mod transaction;
mod transactor;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

pub use config::{KafkaConfig, Mechanism, Sasl, Security};

use cluster::Cluster;
use mfctl_core::domain::{GroupName, NewRecord, RecordAddress, TopicName, TopicPartition};
use mfctl_core::ports::{
    EventLog, ExclusiveProducer, FetchLimits, Fetched, GroupConsumer, GroupDescription, GroupMember, PartitionOffsets,
    PartitionProgress, Result, RetentionReport, Subscription, TopicDescription, TopicSpec,
};

/// The log of a Kafka cluster.
#[derive(Clone)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.cluster.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// The log of this cluster. Opens no connection.
    ///
    /// # Errors
    /// `Invalid` when the settings contradict themselves.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { cluster: Cluster::new(config) })
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn identity(&self) -> Result<String> {
        self.cluster.cluster_id().await
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.cluster.create_topics(specs).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.cluster.list_topics().await
    }

    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        self.cluster.spans(topics).await
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.cluster.publish(records).await
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<Fetched> {
        self.cluster.fetch_page(at, from, limits).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.cluster.offset_for_time(at, time).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        Ok(Box::new(consumer::Handle::join(Arc::clone(&self.cluster), subscription).await?))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        self.cluster.list_groups().await
    }

    async fn members(&self, group: &GroupName) -> Result<Vec<GroupMember>> {
        self.cluster.members_of(group).await
    }

    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        self.cluster.progress_of(group, topics).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        self.cluster.forget_group(group).await
    }

    async fn exclusive(&self, transactional_id: &str) -> Result<Box<dyn ExclusiveProducer>> {
        Ok(Box::new(exclusive::Exclusive::make(Arc::clone(&self.cluster), transactional_id).await?))
    }

    /// Kafka does it by itself.
    async fn run_retention(&self, _: Timestamp) -> Result<RetentionReport> {
        Ok(RetentionReport::default())
    }
}
