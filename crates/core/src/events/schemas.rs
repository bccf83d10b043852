//! The schemas of the events that this binary writes, from `schemas/<topic>.json`.

use serde_json::Value;

use crate::domain::TopicName;
use crate::domain::compat::Compatibility;
use crate::domain::names::topics;
use crate::ports::{RegisteredSchema, Result, SchemaRegistry};

/// The schema of a topic's values as text; `None` for a topic without a schema.
#[must_use]
pub fn text_of(topic: &TopicName) -> Option<&'static str> {
    match topic.as_str() {
        "ingest.raw" => Some(include_str!("../../../../schemas/ingest.raw.json")),
        "media.ingested" => Some(include_str!("../../../../schemas/media.ingested.json")),
        "media.enriched" => Some(include_str!("../../../../schemas/media.enriched.json")),
        "media.asset_revoked" => Some(include_str!("../../../../schemas/media.asset_revoked.json")),
        _ => None,
    }
}

/// Compatibility level of the platform's schemas: readers are upgraded first.
pub const COMPATIBILITY: Compatibility = Compatibility::BackwardTransitive;

/// Every published version of a topic's schema as text, oldest first, from `schemas/history/`. The last is the one this
/// binary writes.
#[must_use]
pub fn history_of(topic: &TopicName) -> &'static [&'static str] {
    match topic.as_str() {
        "ingest.raw" => &[include_str!("../../../../schemas/history/ingest.raw/v1.json")],
        "media.ingested" => &[include_str!("../../../../schemas/history/media.ingested/v1.json")],
        "media.enriched" => &[include_str!("../../../../schemas/history/media.enriched/v1.json")],
        "media.asset_revoked" => &[include_str!("../../../../schemas/history/media.asset_revoked/v1.json")],
        _ => &[],
    }
}

/// The topics of the pipeline with this binary's schemas.
#[must_use]
pub fn written() -> Vec<(TopicName, Value)> {
    let read = |topic: TopicName| {
        // The texts are compiled in; a test checks that each of them is JSON.
        let schema = serde_json::from_str(text_of(&topic)?).ok()?;
        Some((topic, schema))
    };
    topics::PIPELINE.into_iter().filter_map(read).collect()
}

/// The topic of a subject; `None` for a subject that is not one of the platform's.
#[must_use]
pub fn topic_of(subject: &str) -> Option<TopicName> {
    let name = subject.strip_suffix("-value")?;
    topics::PIPELINE.into_iter().find(|topic| topic.as_str() == name && text_of(topic).is_some())
}

/// The subject of a topic's values: `<topic>-value`.
#[must_use]
pub fn subject(topic: &TopicName) -> String {
    format!("{topic}-value")
}

/// Registers every schema of this binary; existing versions stay.
///
/// # Errors
/// Errors of the registry.
pub async fn register_all(registry: &dyn SchemaRegistry) -> Result<Vec<RegisteredSchema>> {
    let mut registered = Vec::new();
    for (topic, schema) in written() {
        registered.push(registry.register(&subject(&topic), &schema).await?);
    }
    Ok(registered)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::domain::compat::{self, EarlierVersion};
    use crate::domain::event::{EventEnvelope, IngestRaw, MediaEnriched, MediaIngested};
    use crate::events::validator::SchemaValidator;

    #[test]
    fn every_pipeline_topic_has_a_closed_schema() {
        assert_eq!(written().len(), topics::PIPELINE.len());
        for (topic, schema) in written() {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{topic}");
            assert!(jsonschema::meta::is_valid(&schema), "{topic}");
            assert_eq!(topic_of(&subject(&topic)), Some(topic));
        }
        assert_eq!((topic_of("ingest.raw"), topic_of("ingest.raw.dlq-value")), (None, None));
    }

    fn history(topic: &TopicName) -> Vec<Value> {
        history_of(topic).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn the_written_schema_is_the_last_published_version() {
        for (topic, schema) in written() {
            assert_eq!(history(&topic).last(), Some(&schema), "{topic}: see scripts/check-schemas");
        }
    }

    #[test]
    fn each_published_version_is_compatible_with_all_before_it() {
        for topic in topics::PIPELINE {
            let versions = history(&topic);
            for (at, schema) in versions.iter().enumerate() {
                let before: Vec<_> =
                    (1..).zip(&versions[..at]).map(|(version, schema)| EarlierVersion { version, schema }).collect();
                assert_eq!(compat::check(COMPATIBILITY, schema, &before), [], "{topic} v{}", at + 1);
            }
        }
    }

    fn events(folder: &Path) -> Vec<(PathBuf, Value)> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.map(|path| (path.clone(), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())).collect()
    }

    /// After an upgrade the log and backups still contain events of older versions.
    #[test]
    fn events_of_every_published_version_are_readable() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/fixtures");
        for topic in topics::PIPELINE {
            for (version, schema) in (1..).zip(history(&topic)) {
                let validator = SchemaValidator::compile(&schema).unwrap();
                let newest = SchemaValidator::compile(history(&topic).last().unwrap()).unwrap();
                let folder = root.join(topic.as_str()).join(format!("v{version}"));
                let valid = events(&folder);
                assert!(valid.len() >= 2, "{} has no minimal and full event", folder.display());
                for (path, event) in valid {
                    assert_eq!(validator.first_violation(&event), None, "{}", path.display());
                    assert_eq!(newest.first_violation(&event), None, "{} by today's schema", path.display());
                    if let Err(error) = read(&topic, event) {
                        panic!("{}: {error}", path.display());
                    }
                }
                let invalid = events(&folder.join("invalid"));
                assert!(!invalid.is_empty(), "{}", folder.display());
                for (path, event) in invalid {
                    assert!(validator.first_violation(&event).is_some(), "{} is accepted", path.display());
                }
            }
        }
    }

    /// Decodes an event as the workers do. A field of a later version is ignored.
    fn read(topic: &TopicName, event: Value) -> serde_json::Result<()> {
        let mut later = event.clone();
        later["added_by_a_later_version"] = serde_json::json!({ "any": ["thing"] });
        match topic.as_str() {
            "ingest.raw" => both::<IngestRaw>(event, later),
            "media.ingested" => both::<MediaIngested>(event, later),
            "media.enriched" => both::<MediaEnriched>(event, later),
            _ => both::<EventEnvelope>(event, later),
        }
    }

    fn both<T: DeserializeOwned>(event: Value, later: Value) -> serde_json::Result<()> {
        serde_json::from_value::<T>(event)?;
        serde_json::from_value::<T>(later).map(drop)
    }
}
