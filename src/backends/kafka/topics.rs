//! Topics: which there are, what they are like, making them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::{CALL, Cluster};
use super::config::MAX_MESSAGE_BYTES;
use super::error::Failure;
use crate::domain::{NewRecord, TopicName, TopicPartition};
use crate::ports::{Error, ErrorKind, Result, TopicDescription, TopicSpec};

/// How long what is known of topics holds: somebody may add partitions.
const FRESH: Duration = Duration::from_secs(10);
/// A topic that was just made is not known to every broker at once.
const TRIES: u32 = 3;
pub(super) const BETWEEN_TRIES: Duration = Duration::from_millis(150);
/// How long new topics may take to get their leaders.
pub(super) const LEADERS: Duration = Duration::from_secs(15);

/// What is known of the topics of this namespace.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Option<(Instant, HashMap<TopicName, Known>)>>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) partitions: u32,
    pub(super) replication: u16,
    led: bool,
}

impl Topics {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, HashMap<TopicName, Known>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was known last, however long ago.
    fn stale(&self, name: &TopicName) -> Option<Known> {
        self.lock().as_ref().and_then(|(_, all)| all.get(name).copied())
    }

    pub(super) fn get(&self, name: &TopicName) -> Option<Known> {
        self.lock().as_ref().filter(|(at, _)| at.elapsed() < FRESH).and_then(|(_, all)| all.get(name).copied())
    }
}

/// What a missing topic or partition is called.
pub(super) fn missing(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("topic {what} does not exist"))
        .hint("`mfctl bootstrap apply` makes the topics that are missing")
}

impl Cluster {
    /// How many partitions a topic has. `NotFound` names a topic that is not there.
    pub(super) async fn partitions(self: &Arc<Self>, name: &TopicName) -> Result<u32> {
        for attempt in 0..TRIES {
            if let Some(known) = self.topics.get(name) {
                return Ok(known.partitions);
            }
            if attempt > 0 {
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            match (self.look_at_topics(CALL).await, self.topics.stale(name)) {
                // Topics seldom change: a cluster that is slow to tell is no reason to stop.
                (Err(error), Some(known)) if error.kind().is_dependency() => return Ok(known.partitions),
                (looked, _) => looked?,
            }
        }
        self.topics.get(name).map(|known| known.partitions).ok_or_else(|| missing(name))
    }

    /// Refuses what names a topic or a partition that is not there: a producer would wait for it.
    pub(super) async fn check_route(self: &Arc<Self>, records: &[NewRecord]) -> Result<()> {
        let mut last: Option<(&TopicName, u32)> = None;
        for record in records {
            let partitions = match last {
                Some((name, partitions)) if *name == record.topic => partitions,
                _ => self.partitions(&record.topic).await?,
            };
            last = Some((&record.topic, partitions));
            if let Some(fixed) = record.partition.filter(|fixed| *fixed >= partitions) {
                return Err(missing(TopicPartition::new(record.topic.clone(), fixed)));
            }
        }
        Ok(())
    }

    /// Every partition of these topics.
    pub(super) async fn all_partitions(self: &Arc<Self>, names: &[TopicName]) -> Result<Vec<TopicPartition>> {
        let mut all = Vec::new();
        for name in names {
            let partitions = self.partitions(name).await?;
            all.extend((0..partitions).map(|partition| TopicPartition::new(name.clone(), partition)));
        }
        Ok(all)
    }

    /// Learns anew which topics there are.
    pub(super) async fn look_at_topics(self: &Arc<Self>, wait: Duration) -> Result<()> {
        let names = self.names.clone();
        let look = move |client: &rdkafka::client::Client<_>| {
            let metadata = client.fetch_metadata(None, wait).map_err(Failure::from)?;
            let known = metadata.topics().iter().filter_map(|topic| {
                let name = names.topic(topic.name())?;
                let partitions = u32::try_from(topic.partitions().len()).unwrap_or(0);
                let led = partitions > 0 && topic.partitions().iter().all(|partition| partition.leader() >= 0);
                let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
                let replication = replicas.and_then(|count| u16::try_from(count).ok()).unwrap_or(0);
                (partitions > 0).then_some((name, Known { partitions, replication, led }))
            });
            Ok(known.collect::<HashMap<_, _>>())
        };
        let known = self.ask("look at Kafka's topics", look).await?;
        *self.topics.lock() = Some((Instant::now(), known));
        Ok(())
    }

    /// Makes what is missing and waits until every partition of it has a leader.
    pub(super) async fn create_topics(self: &Arc<Self>, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.look_at_topics(CALL).await?;
        let missing: Vec<&TopicSpec> = specs.iter().filter(|spec| self.topics.get(&spec.name).is_none()).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let settings: Vec<_> = missing.iter().map(|spec| self.settings_of(spec)).collect();
        let new: Vec<NewTopic<'_>> = missing.iter().zip(&settings).map(|(spec, set)| set.topic(spec, self)).collect();
        let options = AdminOptions::new().request_timeout(Some(LEADERS)).operation_timeout(Some(LEADERS));
        let made = self.admin()?.create_topics(&new, &options).await;
        let mut names = Vec::new();
        for (spec, outcome) in missing.iter().zip(made.map_err(|error| self.error("make topics", error))?) {
            match outcome {
                Ok(_) => names.push(spec.name.clone()),
                // Somebody else was faster.
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.not_made(spec, code)),
            }
        }
        let made: Vec<(&TopicName, u32)> = missing.iter().map(|spec| (&spec.name, spec.partitions)).collect();
        self.wait_for_leaders(&made).await?;
        Ok(names)
    }

    fn not_made(&self, spec: &TopicSpec, code: Code) -> Error {
        let error = self.error(format!("make topic {}", spec.name), Failure::of(code));
        match code {
            Code::InvalidReplicationFactor => error.hint(format!(
                "there are fewer brokers than `{}.replication` asks for ({})",
                self.config.settings, self.config.replication
            )),
            _ => error,
        }
    }

    fn settings_of(&self, spec: &TopicSpec) -> Settings {
        Settings {
            name: self.names.wire(spec.name.as_str()),
            retention_ms: spec.retention.map_or("-1".to_owned(), |kept| kept.as_millis().to_string()),
            policy: if spec.compacted { "compact" } else { "delete" },
            in_sync: self.config.min_insync_replicas.min(self.config.replication).to_string(),
            max_bytes: MAX_MESSAGE_BYTES.to_string(),
        }
    }

    /// Waits until these topics have this many partitions at least, each with a leader.
    pub(super) async fn wait_for_leaders(self: &Arc<Self>, topics: &[(&TopicName, u32)]) -> Result<()> {
        let end = Instant::now() + LEADERS;
        loop {
            self.look_at_topics(CALL).await?;
            let led = |known: Known, partitions: u32| known.led && known.partitions >= partitions;
            if topics.iter().all(|(name, count)| self.topics.get(name).is_some_and(|known| led(known, *count))) {
                return Ok(());
            }
            if Instant::now() >= end {
                let failure = Failure::new(Code::LeaderNotAvailable, "new topics have no leader yet");
                return Err(self.error("make topics", failure));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Every topic of the namespace, by name, with its settings as Kafka has them.
    pub(super) async fn described(self: &Arc<Self>) -> Result<Vec<(TopicName, Known, ConfigResource)>> {
        self.look_at_topics(CALL).await?;
        let mut known: Vec<(TopicName, Known)> = self
            .topics
            .lock()
            .iter()
            .flat_map(|(_, all)| all.iter().map(|(name, known)| (name.clone(), *known)))
            .collect();
        known.sort_by(|a, b| a.0.cmp(&b.0));
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let wire: Vec<String> = known.iter().map(|(name, _)| self.names.wire(name.as_str())).collect();
        let resources: Vec<_> = wire.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(CALL));
        let read = self.admin()?.describe_configs(&resources, &options).await;
        let read = read.map_err(|error| self.error("read the settings of topics", error))?;
        let mut settings: HashMap<String, ConfigResource> = HashMap::new();
        for resource in read {
            match resource {
                Ok(resource) => {
                    if let OwnedResourceSpecifier::Topic(name) = &resource.specifier {
                        settings.insert(name.clone(), resource);
                    }
                }
                // It was deleted meanwhile.
                Err(Code::UnknownTopicOrPartition) => {}
                Err(code) => return Err(self.error("read the settings of topics", Failure::of(code))),
            }
        }
        let all = known.into_iter().zip(&wire);
        Ok(all.filter_map(|((name, known), wire)| Some((name, known, settings.remove(wire)?))).collect())
    }

    /// Every topic of the namespace, by name.
    pub(super) async fn list_topics(self: &Arc<Self>) -> Result<Vec<TopicDescription>> {
        let described = self.described().await?.into_iter().map(|(name, known, set)| {
            let value = |key: &str| set.get(key).and_then(|entry| entry.value.as_deref());
            let retention_ms = value("retention.ms").and_then(|ms| ms.parse::<i64>().ok());
            let compacted = value("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
            let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
            let kept = retention_ms.filter(|_| deletes).and_then(|ms| u64::try_from(ms).ok());
            let retention_seconds = kept.map(|ms| ms / 1000);
            TopicDescription { name, partitions: known.partitions, retention_seconds, compacted }
        });
        Ok(described.collect())
    }
}

/// A new topic's settings, as Kafka takes them.
struct Settings {
    name: String,
    retention_ms: String,
    policy: &'static str,
    in_sync: String,
    max_bytes: String,
}

impl Settings {
    fn topic<'a>(&'a self, spec: &TopicSpec, cluster: &Cluster) -> NewTopic<'a> {
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        NewTopic::new(&self.name, partitions, TopicReplication::Fixed(i32::from(cluster.config.replication)))
            .set("retention.ms", &self.retention_ms)
            .set("cleanup.policy", self.policy)
            .set("min.insync.replicas", &self.in_sync)
            .set("max.message.bytes", &self.max_bytes)
    }
}
