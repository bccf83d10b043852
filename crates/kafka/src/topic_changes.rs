//! Creating, changing and deleting topics. Every change waits until the cluster shows it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigSource, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::error::KafkaResult;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::{KafkaClients, REQUEST_TIMEOUT};
use super::context::RawClient;
use super::error::{LibrdkafkaError, unknown_topic};
use super::ffi;
use super::topics::{METADATA_BACKOFF, TopicDirectory, metadata_deadline};
use mfctl_core::domain::TopicName;
use mfctl_core::domain::record_limits::max_message_bytes;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicSpec, TopicState};
use mfctl_core::wait::wait_until;

/// How long new partitions may take to get their leaders, and deleted topics to vanish.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct TopicChanges {
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
}

impl TopicChanges {
    pub(super) fn new(clients: Arc<KafkaClients>, topics: Arc<TopicDirectory>) -> Self {
        Self { clients, topics }
    }

    /// Creates the topics that are missing and waits until every partition of them has a leader. Returns their names.
    pub(super) async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.topics.refresh(metadata_deadline(), REQUEST_TIMEOUT).await?;
        let missing: Vec<&TopicSpec> =
            specs.iter().filter(|spec| self.topics.cache.get(&spec.name).is_none()).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let settings: Vec<_> = missing.iter().map(|spec| self.settings_of(spec)).collect();
        let new_topics: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|(spec, settings)| settings.new_topic(spec, self.replication()))
            .collect();
        let new_topics = &new_topics;
        let (answer, is_repeated) = self
            .clients
            .administer(|admin| async move { admin.create_topics(new_topics, &change_options()).await })
            .await?;
        let mut created = Vec::new();
        let mut expected = Vec::new();
        let results = answer.map_err(|error| self.clients.error("create topics", error))?;
        for ((spec, settings), result) in missing.iter().zip(&settings).zip(results) {
            let is_created = match result {
                Ok(_) => {
                    expected.push((&spec.name, spec.partitions));
                    self.topics.cache.record_change(&spec.name, settings.changes());
                    true
                }
                // Most likely created by the first of two calls. Otherwise by another process, or before, and the broker that
                // was asked lags behind: it stays as it is.
                Err((_, Code::TopicAlreadyExists)) => {
                    expected.push((&spec.name, 1));
                    is_repeated
                }
                Err((_, code)) => return Err(self.not_created(spec, code)),
            };
            if is_created {
                created.push(spec.name.clone());
            }
        }
        self.topics.wait_for_leaders(&expected, Instant::now() + CHANGE_TIMEOUT).await?;
        Ok(created)
    }

    fn not_created(&self, spec: &TopicSpec, code: Code) -> Error {
        let error = self.clients.error(format!("create topic {}", spec.name), LibrdkafkaError::of(code));
        match code {
            Code::InvalidReplicationFactor => error.hint(format!(
                "there are fewer brokers than `{}.replication` asks for ({})",
                self.clients.config.settings,
                self.replication()
            )),
            _ => error,
        }
    }

    fn replication(&self) -> u16 {
        self.clients.config.replication
    }

    fn settings_of(&self, spec: &TopicSpec) -> NewTopicSettings {
        NewTopicSettings {
            name: self.clients.names.wire(spec.name.as_str()),
            retention_ms: spec.retention.map_or("-1".to_owned(), |retention| retention.as_millis().to_string()),
            cleanup_policy: if spec.compacted { "compact" } else { "delete" },
            min_insync_replicas: self.clients.config.min_insync_replicas.min(self.replication()).to_string(),
            max_message_bytes: max_message_bytes(&spec.name).to_string(),
        }
    }

    /// See [`mfctl_core::ports::TopicAdmin::describe_topics`].
    pub(super) async fn describe_topics(&self) -> Result<Vec<TopicState>> {
        let topics = self.topics.describe_all().await?.into_iter();
        let states = topics.map(|topic| {
            let entries = topic.config.entries.into_iter();
            let own = entries.filter(|entry| entry.source == ConfigSource::DynamicTopic && !entry.is_sensitive);
            let settings = own.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            let layout = topic.layout;
            TopicState { name: topic.name, partitions: layout.partitions, replication: layout.replication, settings }
        });
        Ok(states.collect())
    }

    /// See [`mfctl_core::ports::TopicAdmin::create_topic`].
    pub(super) async fn create_topic(&self, topic: &TopicState) -> Result<()> {
        let what = || format!("create topic {}", topic.name);
        let replication = match topic.replication {
            0 => self.replication(),
            replication => replication,
        };
        let wire = self.clients.names.wire(topic.name.as_str());
        let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
        let bare = NewTopic::new(&wire, partitions, TopicReplication::Fixed(i32::from(replication)));
        let new_topic = topic.settings.iter().fold(bare, |new, (name, value)| new.set(name, value));
        let new_topic = &new_topic;
        let (answer, is_repeated) = self
            .clients
            .administer(|admin| async move { admin.create_topics([new_topic], &change_options()).await })
            .await?;
        let created = match self.result_of(answer, what) {
            // Most likely created by the first of two calls.
            Err((Code::TopicAlreadyExists, _)) if is_repeated => Ok(()),
            created => created,
        };
        created.map_err(|(code, error)| match code {
            Code::TopicAlreadyExists => {
                Error::new(ErrorKind::Conflict, format!("there is a topic {} already", topic.name))
            }
            Code::InvalidReplicationFactor => {
                error.hint(format!("there are fewer brokers than the {replication} replicas that are asked for"))
            }
            Code::InvalidConfig | Code::InvalidPartitions | Code::PolicyViolation => rejected_setting(what(), &error),
            _ => error,
        })?;
        let settings = topic.settings.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        self.topics.cache.record_change(&topic.name, settings);
        self.topics.wait_for_leaders(&[(&topic.name, topic.partitions)], Instant::now() + CHANGE_TIMEOUT).await
    }

    /// See [`mfctl_core::ports::TopicAdmin::alter_configs`].
    pub(super) async fn alter_configs(
        &self,
        topic: &TopicName,
        settings: &BTreeMap<String, Option<String>>,
    ) -> Result<()> {
        self.topics.partition_count(topic, metadata_deadline()).await?;
        let wire = self.clients.names.wire(topic.as_str());
        let what = format!("change the settings of topic {topic}");
        let wanted: Vec<(String, Option<String>)> = settings.clone().into_iter().collect();
        let alter = move |client: &RawClient| Ok(ffi::admin::alter_topic(client, &wire, &wanted, REQUEST_TIMEOUT));
        match self.clients.request("change the settings of a topic", alter).await? {
            Ok(()) => {
                self.topics.cache.record_change(topic, settings.clone().into_iter());
                self.wait_for_settings(topic).await;
                Ok(())
            }
            Err(error) if matches!(error.code, Code::InvalidConfig | Code::InvalidRequest | Code::PolicyViolation) => {
                Err(rejected_setting(what.clone(), &self.clients.error(what, error)))
            }
            Err(error) => Err(self.clients.error(what, error)),
        }
    }

    /// Waits until a broker shows settings that Kafka has accepted. They are valid whether it does or not.
    async fn wait_for_settings(&self, topic: &TopicName) {
        let is_shown = wait_until(metadata_deadline(), METADATA_BACKOFF, || async {
            match self.topics.configs(&[topic]).await {
                Ok(shown) if shown.get(topic).is_some_and(|shown| !self.topics.cache.is_outdated(topic, shown)) => {
                    ControlFlow::Break(())
                }
                Ok(_) => ControlFlow::Continue(None),
                Err(error) => ControlFlow::Continue(Some(error)),
            }
        });
        if let Err(Some(error)) = is_shown.await {
            tracing::debug!(target: "kafka", error = error.full(), "could not read changed settings");
        }
    }

    /// See [`mfctl_core::ports::TopicAdmin::add_partitions`].
    pub(super) async fn add_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let present = self.topics.partition_count(topic, metadata_deadline()).await?;
        if partitions <= present {
            let what = format!("topic {topic} has {present} partitions, and none can be taken away");
            return if partitions == present { Ok(()) } else { Err(Error::new(ErrorKind::Invalid, what)) };
        }
        let wire = self.clients.names.wire(topic.as_str());
        let new_partitions = NewPartitions::new(&wire, usize::try_from(partitions).unwrap_or(usize::MAX));
        let new_partitions = &new_partitions;
        let (answer, _) = self
            .clients
            .administer(|admin| async move { admin.create_partitions([new_partitions], &change_options()).await })
            .await?;
        match self.result_of(answer, || format!("add partitions to topic {topic}")) {
            Ok(()) => {}
            // Another process may have added them.
            Err((Code::InvalidPartitions, error)) => {
                self.topics.refresh(metadata_deadline(), REQUEST_TIMEOUT).await?;
                self.topics.cache.get(topic).filter(|layout| layout.partitions >= partitions).ok_or(error)?;
            }
            Err((_, error)) => return Err(error),
        }
        self.topics.wait_for_leaders(&[(topic, partitions)], Instant::now() + CHANGE_TIMEOUT).await
    }

    /// See [`mfctl_core::ports::TopicAdmin::delete_topic`].
    pub(super) async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        let wire = self.clients.names.wire(topic.as_str());
        let wire = wire.as_str();
        let (answer, _) = self
            .clients
            .administer(|admin| async move { admin.delete_topics(&[wire], &change_options()).await })
            .await?;
        match self.result_of(answer, || format!("remove topic {topic}")) {
            Ok(()) | Err((Code::UnknownTopicOrPartition | Code::UnknownTopic, _)) => {}
            Err((_, error)) => return Err(error),
        }
        self.topics.cache.remove(topic);
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let deleted = wait_until(deadline, METADATA_BACKOFF, || async {
            if let Err(error) = self.topics.refresh(deadline, REQUEST_TIMEOUT).await {
                return ControlFlow::Break(Err(error));
            }
            if self.topics.cache.get(topic).is_none() {
                return ControlFlow::Break(Ok(()));
            }
            // Looking it up has marked it as used.
            self.topics.cache.remove(topic);
            ControlFlow::Continue(())
        });
        deleted.await.unwrap_or_else(|()| {
            // Kafka has accepted the deletion: it is done when all brokers with a replica are up.
            tracing::warn!(target: "kafka", %topic, "deleted, but a broker still lists it");
            Ok(())
        })
    }

    /// The result of a call about one topic; its error with Kafka's code.
    fn result_of(
        &self,
        answer: KafkaResult<Vec<TopicResult>>,
        what: impl Fn() -> String,
    ) -> std::result::Result<(), (Code, Error)> {
        let results = answer.map_err(|error| {
            let error = LibrdkafkaError::from(error);
            (error.code, self.clients.error(what(), error))
        })?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err((code, self.clients.error(what(), LibrdkafkaError::of(code)))),
            None => Err((Code::Fail, unknown_topic(what()))),
        }
    }
}

/// The options of a change: long enough for new topics to get their leaders.
fn change_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CHANGE_TIMEOUT)).operation_timeout(Some(CHANGE_TIMEOUT))
}

/// The error for a setting that Kafka rejects, with Kafka's text.
fn rejected_setting(what: String, error: &Error) -> Error {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Error::new(ErrorKind::Invalid, what).because(reason).hint("Kafka does not accept one of the settings, or its value")
}

/// The settings of a new topic, as Kafka's text values.
struct NewTopicSettings {
    /// The topic's name on the wire.
    name: String,
    retention_ms: String,
    cleanup_policy: &'static str,
    min_insync_replicas: String,
    max_message_bytes: String,
}

impl NewTopicSettings {
    fn all(&self) -> [(&'static str, &str); 4] {
        [
            ("retention.ms", &self.retention_ms),
            ("cleanup.policy", self.cleanup_policy),
            ("min.insync.replicas", &self.min_insync_replicas),
            ("max.message.bytes", &self.max_message_bytes),
        ]
    }

    fn changes(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.all().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into_iter()
    }

    fn new_topic<'a>(&'a self, spec: &TopicSpec, replication: u16) -> NewTopic<'a> {
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let bare = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(i32::from(replication)));
        self.all().into_iter().fold(bare, |new, (name, value)| new.set(name, value))
    }
}
