//! The topics of this namespace: which exist, their partitions and their settings.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::{KafkaClients, REQUEST_TIMEOUT};
use super::context::RawClient;
use super::error::{LibrdkafkaError, unknown_topic};
use super::ffi::admin;
use super::topic_cache::{METADATA_LAG, TopicCache, TopicLayout, TopicLayouts};
use mfctl_core::domain::{NewRecord, TopicId, TopicName, TopicPartition};
use mfctl_core::ports::{ErrorKind, Result, TopicDescription};
use mfctl_core::wait::{Attempts, Backoff, wait_until};

/// How long a new topic may take to be in every broker's metadata.
const NEW_TOPIC_TIMEOUT: Duration = Duration::from_millis(300);
pub(super) const METADATA_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(150));

/// The deadline of an operation that begins now and may meet a broker whose metadata lags behind.
pub(super) fn metadata_deadline() -> Instant {
    Instant::now() + METADATA_LAG
}

/// A topic with its settings.
pub(super) struct DescribedTopic {
    pub(super) name: TopicName,
    pub(super) layout: TopicLayout,
    pub(super) config: ConfigResource,
}

/// See the module.
pub(super) struct TopicDirectory {
    clients: Arc<KafkaClients>,
    pub(super) cache: TopicCache,
}

impl TopicDirectory {
    pub(super) fn new(clients: Arc<KafkaClients>) -> Self {
        Self { clients, cache: TopicCache::default() }
    }

    /// How many partitions a topic has. A topic that was not known before is looked for during 300 ms at most, one that is
    /// in use until the deadline.
    ///
    /// # Errors
    /// `NotFound` names a topic that does not exist.
    pub(super) async fn partition_count(&self, name: &TopicName, deadline: Instant) -> Result<u32> {
        let new_topic_deadline = deadline.min(Instant::now() + NEW_TOPIC_TIMEOUT);
        let count = wait_until(new_topic_deadline, METADATA_BACKOFF, || async {
            if let Some(layout) = self.cache.get(name) {
                return ControlFlow::Break(Ok(layout.partitions));
            }
            match (self.refresh(deadline, REQUEST_TIMEOUT).await, self.cache.get_outdated(name)) {
                // Topics seldom change: a cluster that does not answer in time need not stop the caller.
                (Err(error), Some(layout)) if error.kind().is_dependency() => ControlFlow::Break(Ok(layout.partitions)),
                (Err(error), _) => ControlFlow::Break(Err(error)),
                (Ok(()), _) => match self.cache.get(name) {
                    Some(layout) => ControlFlow::Break(Ok(layout.partitions)),
                    None => ControlFlow::Continue(()),
                },
            }
        });
        count.await.unwrap_or_else(|()| Err(unknown_topic(name)))
    }

    /// Checks that these topics exist.
    ///
    /// # Errors
    /// `NotFound` names the first that does not.
    pub(super) async fn check_exist(&self, names: &[TopicName]) -> Result<()> {
        self.all_partitions(names).await.map(drop)
    }

    /// Checks that the topic and partition of each record exist: a producer would wait for them.
    ///
    /// # Errors
    /// `NotFound` names the first that does not.
    pub(super) async fn check_destinations(&self, records: &[NewRecord]) -> Result<()> {
        let deadline = metadata_deadline();
        let mut last: Option<(&TopicName, u32)> = None;
        for record in records {
            let partitions = match last {
                Some((name, partitions)) if *name == record.topic => partitions,
                _ => self.partition_count(&record.topic, deadline).await?,
            };
            last = Some((&record.topic, partitions));
            if let Some(partition) = record.partition.filter(|partition| *partition >= partitions) {
                return Err(unknown_topic(TopicPartition::new(record.topic.clone(), partition)));
            }
        }
        Ok(())
    }

    /// Every partition of these topics.
    pub(super) async fn all_partitions(&self, names: &[TopicName]) -> Result<Vec<TopicPartition>> {
        let deadline = metadata_deadline();
        let mut all = Vec::new();
        for name in names {
            let partitions = self.partition_count(name, deadline).await?;
            all.extend((0..partitions).map(|partition| TopicPartition::new(name.clone(), partition)));
        }
        Ok(all)
    }

    /// The ids of these topics, in their order; `None` where the broker has none. A broker may not know a new topic
    /// yet: it is looked for during 5 s at most.
    ///
    /// # Errors
    /// `NotFound` names a topic that does not exist.
    pub(super) async fn ids(&self, names: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        self.check_exist(names).await?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let ids = wait_until(metadata_deadline(), METADATA_BACKOFF, || async {
            match self.ids_once(names).await {
                Err(error) if error.kind() == ErrorKind::NotFound => ControlFlow::Continue(error),
                answer => ControlFlow::Break(answer),
            }
        });
        ids.await.unwrap_or_else(Err)
    }

    async fn ids_once(&self, names: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        let wire: Vec<String> = names.iter().map(|name| self.clients.names.wire(name.as_str())).collect();
        let described = self
            .clients
            .request("read topic ids", move |client| admin::topic_ids(client, &wire, REQUEST_TIMEOUT))
            .await?;
        let mut ids = HashMap::with_capacity(names.len());
        for (wire, id) in described {
            let Some(name) = self.clients.names.topic(&wire) else { continue };
            match id {
                Ok(id) => drop(ids.insert(name, TopicId::new(id).ok())),
                Err(LibrdkafkaError { code: Code::UnknownTopicOrPartition, .. }) => return Err(unknown_topic(name)),
                Err(error) => return Err(self.clients.error(format!("read the id of {name}"), error)),
            }
        }
        names.iter().map(|name| ids.get(name).cloned().ok_or_else(|| unknown_topic(name))).collect()
    }

    /// Fetches the topics' metadata. The broker that answers may lag behind the one that answered before: a topic in use
    /// that is missing is looked for again, until the deadline and for 5 s at most, before it counts as deleted.
    pub(super) async fn refresh(&self, deadline: Instant, request_timeout: Duration) -> Result<()> {
        let deadline = deadline.min(metadata_deadline());
        let layouts = wait_until(deadline, METADATA_BACKOFF, || async {
            match self.fetch_layouts(request_timeout).await {
                Ok(layouts) if self.cache.is_missing_from(&layouts) => ControlFlow::Continue(layouts),
                fetched => ControlFlow::Break(fetched),
            }
        });
        self.cache.replace(layouts.await.unwrap_or_else(Ok)?);
        Ok(())
    }

    /// The topics in the metadata of some broker.
    async fn fetch_layouts(&self, timeout: Duration) -> Result<TopicLayouts> {
        let names = self.clients.names.clone();
        let fetch = move |client: &RawClient| {
            let metadata = client.fetch_metadata(None, timeout).map_err(LibrdkafkaError::from)?;
            let layouts = metadata.topics().iter().filter_map(|topic| {
                let name = names.topic(topic.name())?;
                let partitions = u32::try_from(topic.partitions().len()).unwrap_or(0);
                let has_leaders = partitions > 0 && topic.partitions().iter().all(|partition| partition.leader() >= 0);
                let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
                let replication = replicas.and_then(|count| u16::try_from(count).ok()).unwrap_or(0);
                (partitions > 0).then_some((name, TopicLayout { partitions, replication, has_leaders }))
            });
            Ok(layouts.collect())
        };
        self.clients.request("read the topics' metadata", fetch).await
    }

    /// Waits until each of these topics has this many partitions at least, and every partition a leader.
    pub(super) async fn wait_for_leaders(&self, topics: &[(&TopicName, u32)], deadline: Instant) -> Result<()> {
        let has_leaders = |(name, partitions): &(&TopicName, u32)| {
            self.cache.get(name).is_some_and(|layout| layout.has_leaders && layout.partitions >= *partitions)
        };
        let led = wait_until(deadline, METADATA_BACKOFF, || async {
            match self.refresh(deadline, REQUEST_TIMEOUT).await {
                Ok(()) if !topics.iter().all(has_leaders) => ControlFlow::Continue(()),
                refreshed => ControlFlow::Break(refreshed),
            }
        });
        led.await.unwrap_or_else(|()| {
            let error = LibrdkafkaError::new(Code::LeaderNotAvailable, "new topics have no leader yet");
            Err(self.clients.error("create topics", error))
        })
    }

    /// Every topic of the namespace, by name.
    pub(super) async fn topics(&self) -> Result<Vec<TopicDescription>> {
        let topics = self.describe_all().await?.into_iter().map(|topic| {
            let value = |key: &str| topic.config.get(key).and_then(|entry| entry.value.as_deref());
            let retention_ms = value("retention.ms").and_then(|ms| ms.parse::<i64>().ok());
            let compacted = value("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
            let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
            let retention_ms = retention_ms.filter(|_| deletes).and_then(|ms| u64::try_from(ms).ok());
            let retention_seconds = retention_ms.map(|ms| ms / 1000);
            TopicDescription { name: topic.name, partitions: topic.layout.partitions, retention_seconds, compacted }
        });
        Ok(topics.collect())
    }

    /// Every topic of the namespace, by name, with its settings.
    pub(super) async fn describe_all(&self) -> Result<Vec<DescribedTopic>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut attempts = Attempts::new(deadline, METADATA_BACKOFF);
        let mut configs = HashMap::new();
        let (mut topics, mut is_complete) = self.add_missing_configs(&mut configs, deadline).await?;
        // Topics without settings were deleted meanwhile, which the next refresh shows; or the broker that was asked for
        // settings lags behind the one that was asked for topics.
        while !is_complete && attempts.pause().await {
            (topics, is_complete) = self.add_missing_configs(&mut configs, deadline).await?;
        }
        if !is_complete {
            let missing = topics.iter().map(|(name, _)| name).filter(|name| !configs.contains_key(*name));
            let missing: Vec<&str> = missing.map(TopicName::as_str).collect();
            tracing::warn!(target: "kafka", topics = ?missing, "left out: the brokers do not agree that they exist");
        }
        let topics = topics.into_iter();
        let described = topics
            .filter_map(|(name, layout)| configs.remove(&name).map(|config| DescribedTopic { name, layout, config }));
        Ok(described.collect())
    }

    /// Fetches the settings of topics that have none in `configs`. Returns the topics, and whether all have settings now.
    async fn add_missing_configs(
        &self,
        configs: &mut HashMap<TopicName, ConfigResource>,
        deadline: Instant,
    ) -> Result<(Vec<(TopicName, TopicLayout)>, bool)> {
        self.refresh(deadline, REQUEST_TIMEOUT).await?;
        let topics = self.cache.all();
        let missing: Vec<&TopicName> =
            topics.iter().map(|(name, _)| name).filter(|name| !configs.contains_key(*name)).collect();
        let mut fetched = self.configs(&missing).await?;
        fetched.retain(|name, shown| !self.cache.is_outdated(name, shown));
        let is_complete = fetched.len() == missing.len();
        configs.extend(fetched);
        Ok((topics, is_complete))
    }

    /// The settings of these topics, as far as the broker that answers knows them.
    pub(super) async fn configs(&self, names: &[&TopicName]) -> Result<HashMap<TopicName, ConfigResource>> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let wire: Vec<String> = names.iter().map(|name| self.clients.names.wire(name.as_str())).collect();
        let resources: Vec<_> = wire.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let resources = &resources;
        let options = &options;
        let (answer, _) =
            self.clients.administer(|admin| async move { admin.describe_configs(resources, options).await }).await?;
        let answer = answer.map_err(|error| self.clients.error("read the settings of topics", error))?;
        let mut configs = HashMap::new();
        for resource in answer {
            match resource {
                Ok(resource) => {
                    if let OwnedResourceSpecifier::Topic(name) = &resource.specifier
                        && let Some(name) = self.clients.names.topic(name)
                    {
                        configs.insert(name, resource);
                    }
                }
                Err(Code::UnknownTopicOrPartition) => {}
                Err(code) => return Err(self.clients.error("read the settings of topics", LibrdkafkaError::of(code))),
            }
        }
        Ok(configs)
    }
}
