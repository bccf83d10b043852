//! Administration of topics: partitions, replicas and topic-level configuration.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use crate::domain::TopicName;

/// A topic with its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Topic name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: u32,
    /// Replication factor; 1 in a data folder.
    pub replication: u16,
    /// Topic-level overrides by Kafka's names (`retention.ms`, `cleanup.policy`); the broker's defaults are not among
    /// them.
    pub settings: BTreeMap<String, String>,
}

/// Administration of topics.
///
/// Contract: internal topics (`__consumer_offsets`) are not returned. A configuration that a call does not name keeps its
/// value.
#[async_trait]
pub trait TopicAdmin: Send + Sync {
    /// Every topic, sorted by name.
    async fn describe_topics(&self) -> Result<Vec<TopicState>>;

    /// Creates a topic; `Conflict` when it exists.
    async fn create_topic(&self, topic: &TopicState) -> Result<()>;

    /// Sets topic-level configurations; `None` deletes the override, so that the broker's default applies. `Invalid` for
    /// an unknown name or a value that Kafka refuses.
    async fn alter_configs(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()>;

    /// Increases the number of partitions to `partitions`; `Invalid` for fewer than there are.
    async fn add_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()>;

    /// Deletes a topic with its records; a missing topic is no error.
    async fn delete_topic(&self, topic: &TopicName) -> Result<()>;
}
