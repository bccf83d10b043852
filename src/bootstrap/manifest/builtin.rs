//! The built-in declarations of an environment, used without a manifest folder: the contract's resources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ResourceDeclaration;
use super::kinds::{BucketSpec, DatabaseSpec, KafkaTopicSpec, ResourceSpec, SchemaSpec};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::record_limits::max_message_bytes;
use mfctl_core::events::schemas;
use mfctl_core::events::topics::{Retention, contract};
use mfctl_core::ports::TopicSpec;

/// Days for which noncurrent versions of originals are kept.
const NONCURRENT_DAYS: u32 = 180;
/// Days after which an unfinished multipart upload is aborted. Until then, a killed ingest can resume it.
const ABORT_UPLOADS_DAYS: u32 = 7;

/// The values of the built-in declarations that a profile sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltinDefaults {
    /// Partitions of each topic.
    pub partitions: u32,
    /// Replication factor and `min.insync.replicas`; `None` in a data folder.
    pub replicas: Option<(u16, u16)>,
    /// Retention of each group of topics.
    pub retention: Retention,
    /// Days after which a staged object expires.
    pub staging_days: u32,
}

/// The contract's tables, topics, buckets and schemas, sorted by kind and name.
#[must_use]
pub fn builtin_declarations(defaults: &BuiltinDefaults) -> Vec<ResourceDeclaration> {
    let database = declaration("media", ResourceSpec::Database(DatabaseSpec::default()));
    let topics = contract(defaults.partitions, defaults.retention).into_iter();
    let topics =
        topics.map(|spec| declaration(spec.name.as_str(), ResourceSpec::KafkaTopic(topic_spec(&spec, defaults))));
    let schemas = topics::PIPELINE.map(|topic| {
        let spec = SchemaSpec { file: None, compatibility: schemas::COMPATIBILITY };
        declaration(&schemas::subject(&topic), ResourceSpec::Schema(spec))
    });
    let mut declarations: Vec<ResourceDeclaration> =
        [database].into_iter().chain(topics).chain(buckets(defaults)).chain(schemas).collect();
    declarations.sort_by(|a, b| (a.kind(), &a.name).cmp(&(b.kind(), &b.name)));
    declarations
}

fn declaration(name: &str, spec: ResourceSpec) -> ResourceDeclaration {
    ResourceDeclaration { name: name.to_owned(), spec, schema: None, location: None, key_locations: BTreeMap::new() }
}

fn topic_spec(spec: &TopicSpec, defaults: &BuiltinDefaults) -> KafkaTopicSpec {
    let retention_ms = spec.retention.map_or("-1".to_owned(), |retention| retention.as_millis().to_string());
    let policy = if spec.compacted { "compact" } else { "delete" };
    let mut settings: Vec<(&str, Value)> =
        vec![("retention.ms", json!(retention_ms)), ("cleanup.policy", json!(policy))];
    if let Some((_, in_sync)) = defaults.replicas {
        settings.push(("min.insync.replicas", json!(in_sync.to_string())));
        settings.push(("max.message.bytes", json!(max_message_bytes(&spec.name).to_string())));
    }
    KafkaTopicSpec {
        partitions: spec.partitions,
        replication: defaults.replicas.map(|(replicas, _)| replicas),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

fn buckets(defaults: &BuiltinDefaults) -> [ResourceDeclaration; 3] {
    let plain = BucketSpec { abort_uploads_after_days: Some(ABORT_UPLOADS_DAYS), ..BucketSpec::default() };
    let staging = BucketSpec { expire_after_days: Some(defaults.staging_days), ..plain.clone() };
    let originals =
        BucketSpec { versioned: true, expire_noncurrent_after_days: Some(NONCURRENT_DAYS), ..plain.clone() };
    [("media-staging", staging), ("media-originals", originals), ("media-derived", plain)]
        .map(|(name, spec)| declaration(name, ResourceSpec::Bucket(spec)))
}
