//! Topics as operators keep them: partitions, replicas and every setting that was given to the topic itself.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use crate::domain::TopicName;

/// The most bytes of a message that a topic of ours must take: a record of 1 MiB, with its headers.
pub const MAX_MESSAGE_BYTES: usize = (1 << 20) + (256 << 10);

/// A topic with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: u32,
    /// Replicas of each; 1 in a data folder.
    pub replication: u16,
    /// The settings that the topic has of its own (those of the broker are not among them), by Kafka's names
    /// (`retention.ms`, `cleanup.policy`).
    pub settings: BTreeMap<String, String>,
}

/// The administration of topics.
///
/// Contract: internal topics (`__consumer_offsets`) are not shown. Nothing is changed but what is asked for: a setting that
/// is not named keeps its value.
#[async_trait]
pub trait TopicAdmin: Send + Sync {
    /// Every topic, by name.
    async fn describe_topics(&self) -> Result<Vec<TopicState>>;

    /// Makes a topic; `Conflict` when there is one.
    async fn create_topic(&self, topic: &TopicState) -> Result<()>;

    /// Sets settings; `None` takes the topic's own value away, so that the broker's holds. `Invalid` for one that Kafka does
    /// not know or whose value it refuses.
    async fn alter_configs(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()>;

    /// Adds partitions up to this many; `Invalid` for fewer than there are.
    async fn add_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()>;

    /// Removes a topic with its records; one that is not there is none.
    async fn delete_topic(&self, topic: &TopicName) -> Result<()>;
}
