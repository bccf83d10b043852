//! What an environment is by default, where no folder says otherwise: the contract.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Item;
use super::kinds::{BucketSpec, DatabaseSpec, KafkaTopicSpec, SchemaSpec, Spec};
use mfctl_core::domain::names::topics;
use mfctl_core::events::schemas;
use mfctl_core::events::topics::{Retention, contract};
use mfctl_core::ports::{MAX_MESSAGE_BYTES, TopicSpec};

/// Days that older versions of originals are kept.
const NONCURRENT_DAYS: u32 = 180;
/// Days after which an upload that was never finished is given up. A killed ingest goes on with it before that.
const ABANDONED_DAYS: u32 = 7;

/// What a profile decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Partitions of a topic.
    pub partitions: u32,
    /// Replicas of each, and how many of them must have a record before it counts; none in a data folder.
    pub replicas: Option<(u16, u16)>,
    /// How long records are kept.
    pub retention: Retention,
    /// Days that a staged object is kept.
    pub staging_days: u32,
}

/// The contract's tables, topics, buckets and schemas.
#[must_use]
pub fn builtin(defaults: &Defaults) -> Vec<Item> {
    let database = item("media", Spec::Database(DatabaseSpec::default()));
    let topics = contract(defaults.partitions, defaults.retention).into_iter();
    let topics = topics.map(|spec| item(spec.name.as_str(), Spec::KafkaTopic(topic(&spec, defaults))));
    let schemas = topics::PIPELINE.map(|topic| {
        let spec = SchemaSpec { file: None, compatibility: schemas::COMPATIBILITY };
        item(&schemas::subject(&topic), Spec::Schema(spec))
    });
    let mut items: Vec<Item> = [database].into_iter().chain(topics).chain(buckets(defaults)).chain(schemas).collect();
    items.sort_by(|a, b| (a.kind(), &a.name).cmp(&(b.kind(), &b.name)));
    items
}

fn item(name: &str, spec: Spec) -> Item {
    Item { name: name.to_owned(), spec, schema: None, origin: None, places: BTreeMap::new() }
}

fn topic(spec: &TopicSpec, defaults: &Defaults) -> KafkaTopicSpec {
    let retention_ms = spec.retention.map_or("-1".to_owned(), |kept| kept.as_millis().to_string());
    let policy = if spec.compacted { "compact" } else { "delete" };
    let mut settings: Vec<(&str, Value)> =
        vec![("retention.ms", json!(retention_ms)), ("cleanup.policy", json!(policy))];
    if let Some((_, in_sync)) = defaults.replicas {
        settings.push(("min.insync.replicas", json!(in_sync.to_string())));
        settings.push(("max.message.bytes", json!(MAX_MESSAGE_BYTES.to_string())));
    }
    KafkaTopicSpec {
        partitions: spec.partitions,
        replication: defaults.replicas.map(|(replicas, _)| replicas),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

fn buckets(defaults: &Defaults) -> [Item; 3] {
    let plain = BucketSpec { abort_uploads_after_days: Some(ABANDONED_DAYS), ..BucketSpec::default() };
    let staging = BucketSpec { expire_after_days: Some(defaults.staging_days), ..plain.clone() };
    let originals =
        BucketSpec { versioned: true, expire_noncurrent_after_days: Some(NONCURRENT_DAYS), ..plain.clone() };
    [("media-staging", staging), ("media-originals", originals), ("media-derived", plain)]
        .map(|(name, spec)| item(name, Spec::Bucket(spec)))
}
