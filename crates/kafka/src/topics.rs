//! Topics: which there are, what they are like, making them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminOptions, ConfigResource, ConfigSource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::{CALL, Cluster};
use super::config::MAX_MESSAGE_BYTES;
use super::error::Failure;
use mfctl_core::domain::{NewRecord, TopicName, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, Result, TopicDescription, TopicSpec};

/// How long what is known of topics holds: somebody may add partitions.
const FRESH: Duration = Duration::from_secs(10);
/// A topic that was just made is not known to every broker at once.
const UNKNOWN: Duration = Duration::from_millis(300);
/// How long a broker may be behind the others before it is believed that a topic of ours is gone.
pub(super) const BEHIND: Duration = Duration::from_secs(5);
pub(super) const BETWEEN_TRIES: Duration = Duration::from_millis(150);
/// How long new topics may take to get their leaders.
pub(super) const LEADERS: Duration = Duration::from_secs(15);

/// The topics of this namespace, as a broker sees them.
type View = HashMap<TopicName, Known>;

/// What is known of the topics of this namespace.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    view: View,
    /// Those that somebody here made or asked for: that they are gone is not believed at once.
    used: View,
    /// Settings that Kafka took from here, and when: a broker that does not show them yet is behind.
    told: HashMap<TopicName, (Instant, BTreeMap<String, Option<String>>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub(super) partitions: u32,
    pub(super) replication: u16,
    led: bool,
}

impl Topics {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was known last, however long ago.
    fn stale(&self, name: &TopicName) -> Option<Known> {
        self.lock().view.get(name).copied()
    }

    pub(super) fn get(&self, name: &TopicName) -> Option<Known> {
        let mut seen = self.lock();
        let known = seen.at.filter(|at| at.elapsed() < FRESH).and_then(|_| seen.view.get(name).copied())?;
        if seen.used.get(name) != Some(&known) {
            seen.used.insert(name.clone(), known);
        }
        Some(known)
    }

    /// Expects a topic to be gone.
    pub(super) fn forget(&self, name: &TopicName) {
        let mut seen = self.lock();
        seen.view.remove(name);
        seen.used.remove(name);
        seen.told.remove(name);
    }

    /// Remembers settings that Kafka took; `None` for one that became the broker's own.
    pub(super) fn tell(&self, name: &TopicName, settings: impl Iterator<Item = (String, Option<String>)>) {
        let mut seen = self.lock();
        seen.told.retain(|_, (at, _)| at.elapsed() < BEHIND);
        let told = seen.told.entry(name.clone()).or_insert_with(|| (Instant::now(), BTreeMap::new()));
        told.0 = Instant::now();
        told.1.extend(settings);
    }

    /// Whether a broker shows other settings than Kafka took just now.
    pub(super) fn is_behind(&self, name: &TopicName, shown: &ConfigResource) -> bool {
        let seen = self.lock();
        let told = seen.told.get(name).filter(|(at, _)| at.elapsed() < BEHIND);
        told.is_some_and(|(_, told)| told.iter().any(|(setting, value)| own(shown, setting) != value.as_deref()))
    }

    /// Whether a view lacks a topic that is used here, or a partition of one.
    fn lost_in(&self, view: &View) -> bool {
        let lacks = |(name, had): (&TopicName, &Known)| !has(view, name, had);
        self.lock().used.iter().any(lacks)
    }

    fn set(&self, view: View) {
        let mut seen = self.lock();
        seen.used.retain(|name, had| has(&view, name, had));
        (seen.at, seen.view) = (Some(Instant::now()), view);
    }

    /// Every topic, by name.
    fn all(&self) -> Vec<(TopicName, Known)> {
        let mut all: Vec<(TopicName, Known)> =
            self.lock().view.iter().map(|(name, known)| (name.clone(), *known)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A topic's own value of a setting.
fn own<'a>(shown: &'a ConfigResource, setting: &str) -> Option<&'a str> {
    let entry = shown.entries.iter().find(|entry| entry.name == setting);
    entry.filter(|entry| entry.source == ConfigSource::DynamicTopic).and_then(|entry| entry.value.as_deref())
}

fn has(view: &View, name: &TopicName, had: &Known) -> bool {
    view.get(name).is_some_and(|now| now.partitions >= had.partitions)
}

/// The options of a change, which waits until new topics could have their leaders.
pub(super) fn patient() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LEADERS)).operation_timeout(Some(LEADERS))
}

/// What a missing topic or partition is called.
pub(super) fn missing(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("topic {what} does not exist"))
        .hint("`mfctl bootstrap apply` makes the topics that are missing")
}

impl Cluster {
    /// How many partitions a topic has. `NotFound` names a topic that is not there.
    pub(super) async fn partitions(self: &Arc<Self>, name: &TopicName) -> Result<u32> {
        let end = Instant::now() + UNKNOWN;
        loop {
            if let Some(known) = self.topics.get(name) {
                return Ok(known.partitions);
            }
            match (self.look_at_topics(CALL).await, self.topics.stale(name)) {
                // Topics seldom change: a cluster that is slow to tell is no reason to stop.
                (Err(error), Some(known)) if error.kind().is_dependency() => return Ok(known.partitions),
                (Ok(()), None) if Instant::now() >= end => return Err(missing(name)),
                (Ok(()), None) => tokio::time::sleep(BETWEEN_TRIES).await,
                (looked, _) => looked?,
            }
        }
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

    /// Learns anew which topics there are. The broker that is asked may be behind the one that was asked before: what is gone
    /// from its view is looked for again before it is believed to be gone.
    pub(super) async fn look_at_topics(self: &Arc<Self>, wait: Duration) -> Result<()> {
        let end = Instant::now() + BEHIND;
        let mut view = self.view_of_topics(wait).await?;
        while self.topics.lost_in(&view) && Instant::now() < end {
            tokio::time::sleep(BETWEEN_TRIES).await;
            view = self.view_of_topics(wait).await?;
        }
        self.topics.set(view);
        Ok(())
    }

    /// The topics as some broker sees them.
    async fn view_of_topics(self: &Arc<Self>, wait: Duration) -> Result<View> {
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
            Ok(known.collect())
        };
        self.ask("look at Kafka's topics", look).await
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
        let new = &new;
        let (made, again) = self.administer(|admin| async move { admin.create_topics(new, &patient()).await }).await?;
        let (mut names, mut expected) = (Vec::new(), Vec::new());
        let made = made.map_err(|error| self.error("make topics", error))?;
        for ((spec, set), outcome) in missing.iter().zip(&settings).zip(made) {
            let is_made = match outcome {
                Ok(_) => {
                    expected.push((&spec.name, spec.partitions));
                    self.topics.tell(&spec.name, set.told());
                    true
                }
                // By the call before, as far as one can tell; else somebody was faster, or the broker that was looked at is
                // behind. It stays as it is.
                Err((_, Code::TopicAlreadyExists)) => {
                    expected.push((&spec.name, 1));
                    again
                }
                Err((_, code)) => return Err(self.not_made(spec, code)),
            };
            if is_made {
                names.push(spec.name.clone());
            }
        }
        self.wait_for_leaders(&expected).await?;
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
        let end = Instant::now() + CALL;
        let (mut known, mut settings) = (self.topics.all(), HashMap::new());
        loop {
            let open: Vec<&TopicName> =
                known.iter().map(|(name, _)| name).filter(|name| !settings.contains_key(*name)).collect();
            let mut found = self.settings_of_topics(&open).await?;
            found.retain(|name, shown| !self.topics.is_behind(name, shown));
            let is_whole = found.len() == open.len();
            settings.extend(found);
            if is_whole {
                break;
            }
            // What is left was deleted meanwhile, which another look shows; or the broker that was asked for its settings is
            // behind the one that was asked which topics there are.
            if Instant::now() >= end {
                let left = known.iter().map(|(name, _)| name).filter(|name| !settings.contains_key(*name));
                let left: Vec<&str> = left.map(TopicName::as_str).collect();
                tracing::warn!(target: "kafka", topics = ?left, "left out: the brokers do not agree that they exist");
                break;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            self.look_at_topics(CALL).await?;
            known = self.topics.all();
        }
        let all = known.into_iter();
        Ok(all.filter_map(|(name, known)| settings.remove(&name).map(|set| (name, known, set))).collect())
    }

    /// The settings of those of the topics that the broker which is asked knows.
    pub(super) async fn settings_of_topics(&self, names: &[&TopicName]) -> Result<HashMap<TopicName, ConfigResource>> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let wire: Vec<String> = names.iter().map(|name| self.names.wire(name.as_str())).collect();
        let resources: Vec<_> = wire.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(CALL));
        let (resources, options) = (&resources, &options);
        let (read, _) =
            self.administer(|admin| async move { admin.describe_configs(resources, options).await }).await?;
        let read = read.map_err(|error| self.error("read the settings of topics", error))?;
        let mut settings = HashMap::new();
        for resource in read {
            match resource {
                Ok(resource) => {
                    if let OwnedResourceSpecifier::Topic(name) = &resource.specifier
                        && let Some(name) = self.names.topic(name)
                    {
                        settings.insert(name, resource);
                    }
                }
                Err(Code::UnknownTopicOrPartition) => {}
                Err(code) => return Err(self.error("read the settings of topics", Failure::of(code))),
            }
        }
        Ok(settings)
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
    fn each(&self) -> [(&'static str, &str); 4] {
        [
            ("retention.ms", &self.retention_ms),
            ("cleanup.policy", self.policy),
            ("min.insync.replicas", &self.in_sync),
            ("max.message.bytes", &self.max_bytes),
        ]
    }

    fn told(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.each().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into_iter()
    }

    fn topic<'a>(&'a self, spec: &TopicSpec, cluster: &Cluster) -> NewTopic<'a> {
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(i32::from(cluster.config.replication));
        let bare = NewTopic::new(&self.name, partitions, replication);
        self.each().into_iter().fold(bare, |new, (name, value)| new.set(name, value))
    }
}
