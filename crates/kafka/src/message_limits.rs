//! The `max.message.bytes` of topics, as their brokers have it now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blocking::lock;
use super::topics::TopicDirectory;
use mfctl_core::domain::TopicName;
use mfctl_core::domain::record_limits;
use mfctl_core::ports::Result;

/// How long a limit that was read is taken for the present one. An operator may change it.
const VALID_FOR: Duration = Duration::from_secs(30);

/// Reads limits, and keeps them for a while.
pub(super) struct MessageLimits {
    topics: Arc<TopicDirectory>,
    read: Mutex<HashMap<TopicName, (Instant, usize)>>,
}

impl MessageLimits {
    pub(super) fn new(topics: Arc<TopicDirectory>) -> Self {
        Self { topics, read: Mutex::default() }
    }

    /// The largest record that the topic is sure to take, however badly it compresses: the limit of the contract, or the
    /// topic's if that is lower. A topic that the broker does not describe has that of the contract.
    pub(super) async fn max_message_bytes(&self, topic: &TopicName) -> Result<usize> {
        let known = lock(&self.read).get(topic).filter(|(at, _)| at.elapsed() < VALID_FOR).map(|(_, limit)| *limit);
        if let Some(limit) = known {
            return Ok(limit);
        }
        let configs = self.topics.configs(&[topic]).await?;
        let setting = configs.get(topic).and_then(|config| config.get("max.message.bytes"));
        let live = setting.and_then(|entry| entry.value.as_deref()).and_then(|text| text.parse().ok());
        let contract = record_limits::max_message_bytes(topic);
        let limit = live.map_or(contract, |live: usize| live.min(contract));
        lock(&self.read).insert(topic.clone(), (Instant::now(), limit));
        Ok(limit)
    }
}
