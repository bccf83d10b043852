//! Cached knowledge of the topics of this namespace.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{ConfigResource, ConfigSource};

use super::blocking::lock;
use mfctl_core::domain::TopicName;

/// How long the cache is valid: an operator may add partitions.
const VALID_FOR: Duration = Duration::from_secs(10);
/// How long a broker's metadata may lag behind that of the others.
pub(super) const METADATA_LAG: Duration = Duration::from_secs(5);

/// The topics of this namespace in the metadata of one broker.
pub(super) type TopicLayouts = HashMap<TopicName, TopicLayout>;

/// A topic's partitions and replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TopicLayout {
    pub(super) partitions: u32,
    pub(super) replication: u16,
    /// Whether every partition has a leader.
    pub(super) has_leaders: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TopicCache(Mutex<CachedTopics>);

#[derive(Debug, Default)]
struct CachedTopics {
    refreshed_at: Option<Instant>,
    layouts: TopicLayouts,
    /// Topics that this process created or used: a broker that does not list one may only lag behind.
    in_use: TopicLayouts,
    /// Settings that Kafka accepted from this process: a broker that shows others may only lag behind.
    changes: HashMap<TopicName, SettingsChange>,
}

#[derive(Debug)]
struct SettingsChange {
    at: Instant,
    /// `None` for a setting that was removed from the topic.
    settings: BTreeMap<String, Option<String>>,
}

impl TopicCache {
    /// A topic's layout, unless it is outdated. Marks the topic as used.
    pub(super) fn get(&self, name: &TopicName) -> Option<TopicLayout> {
        let mut cached = lock(&self.0);
        let refreshed = cached.refreshed_at.filter(|at| at.elapsed() < VALID_FOR);
        let layout = refreshed.and_then(|_| cached.layouts.get(name).copied())?;
        if cached.in_use.get(name) != Some(&layout) {
            cached.in_use.insert(name.clone(), layout);
        }
        Some(layout)
    }

    /// A topic's last known layout, however old.
    pub(super) fn get_outdated(&self, name: &TopicName) -> Option<TopicLayout> {
        lock(&self.0).layouts.get(name).copied()
    }

    /// Every topic, by name.
    pub(super) fn all(&self) -> Vec<(TopicName, TopicLayout)> {
        let mut all: Vec<(TopicName, TopicLayout)> =
            lock(&self.0).layouts.iter().map(|(name, layout)| (name.clone(), *layout)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Removes a topic that was deleted.
    pub(super) fn remove(&self, name: &TopicName) {
        let mut cached = lock(&self.0);
        cached.layouts.remove(name);
        cached.in_use.remove(name);
        cached.changes.remove(name);
    }

    /// Replaces the layouts by those of a broker's metadata.
    pub(super) fn replace(&self, layouts: TopicLayouts) {
        let mut cached = lock(&self.0);
        cached.in_use.retain(|name, known| covers(&layouts, name, known));
        cached.refreshed_at = Some(Instant::now());
        cached.layouts = layouts;
    }

    /// Whether a broker's metadata lacks a topic that is in use here, or a partition of one.
    pub(super) fn is_missing_from(&self, layouts: &TopicLayouts) -> bool {
        lock(&self.0).in_use.iter().any(|(name, known)| !covers(layouts, name, known))
    }

    /// Records settings that Kafka accepted; `None` for one that was removed from the topic.
    pub(super) fn record_change(&self, name: &TopicName, settings: impl Iterator<Item = (String, Option<String>)>) {
        let mut cached = lock(&self.0);
        let now = Instant::now();
        cached.changes.retain(|_, change| change.at.elapsed() < METADATA_LAG);
        let change =
            cached.changes.entry(name.clone()).or_insert_with(|| SettingsChange { at: now, settings: BTreeMap::new() });
        change.at = now;
        change.settings.extend(settings);
    }

    /// Whether a broker shows other settings than Kafka accepted in the last five seconds.
    pub(super) fn is_outdated(&self, name: &TopicName, shown: &ConfigResource) -> bool {
        let cached = lock(&self.0);
        let change = cached.changes.get(name).filter(|change| change.at.elapsed() < METADATA_LAG);
        change.is_some_and(|change| {
            change.settings.iter().any(|(setting, value)| own_value(shown, setting) != value.as_deref())
        })
    }
}

/// The value that a setting has in the topic itself, rather than in its broker.
fn own_value<'a>(shown: &'a ConfigResource, setting: &str) -> Option<&'a str> {
    let entry = shown.entries.iter().find(|entry| entry.name == setting);
    entry.filter(|entry| entry.source == ConfigSource::DynamicTopic).and_then(|entry| entry.value.as_deref())
}

fn covers(layouts: &TopicLayouts, name: &TopicName, known: &TopicLayout) -> bool {
    layouts.get(name).is_some_and(|layout| layout.partitions >= known.partitions)
}
