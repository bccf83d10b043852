//! The schemas this binary writes, as `schemas/<topic>.json` has them.

use serde_json::Value;

use crate::domain::TopicName;
use crate::domain::compat::Compatibility;
use crate::domain::names::topics;
use crate::ports::{RegisteredSchema, Result, SchemaRegistry};

/// The schema of a topic's values, as text; `None` for a topic whose values have none.
#[must_use]
pub fn text_of(topic: &TopicName) -> Option<&'static str> {
    match topic.as_str() {
        "ingest.raw" => Some(include_str!("../../schemas/ingest.raw.json")),
        "media.ingested" => Some(include_str!("../../schemas/media.ingested.json")),
        "media.enriched" => Some(include_str!("../../schemas/media.enriched.json")),
        "media.asset_revoked" => Some(include_str!("../../schemas/media.asset_revoked.json")),
        _ => None,
    }
}

/// What every version of the platform's schemas keeps to: readers are upgraded first.
pub const COMPATIBILITY: Compatibility = Compatibility::BackwardTransitive;

/// Every version that was ever published of a topic's schema, first to last, as text. `schemas/history/` has them for
/// ever; the last is the one this binary writes.
#[must_use]
pub fn history_of(topic: &TopicName) -> &'static [&'static str] {
    match topic.as_str() {
        "ingest.raw" => &[include_str!("../../schemas/history/ingest.raw/v1.json")],
        "media.ingested" => &[include_str!("../../schemas/history/media.ingested/v1.json")],
        "media.enriched" => &[include_str!("../../schemas/history/media.enriched/v1.json")],
        "media.asset_revoked" => &[include_str!("../../schemas/history/media.asset_revoked/v1.json")],
        _ => &[],
    }
}

/// The topics whose schemas this binary has, with the schemas.
#[must_use]
pub fn written() -> Vec<(TopicName, Value)> {
    let read = |topic: TopicName| {
        // The texts are compiled in; a test holds that each of them is JSON.
        let schema = serde_json::from_str(text_of(&topic)?).ok()?;
        Some((topic, schema))
    };
    topics::PIPELINE.into_iter().filter_map(read).collect()
}

/// The topic whose values this subject is for; `None` for a subject that is none of the platform's.
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

/// Registers every schema this binary writes; what is there already stays.
///
/// # Errors
/// Those of the registry.
pub async fn register_all(registry: &dyn SchemaRegistry) -> Result<Vec<RegisteredSchema>> {
    let mut registered = Vec::new();
    for (topic, schema) in written() {
        registered.push(registry.register(&subject(&topic), &schema).await?);
    }
    Ok(registered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pipeline_topic_has_a_closed_schema() {
        for topic in topics::PIPELINE {
            let schema: Value = serde_json::from_str(text_of(&topic).unwrap()).unwrap();
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{topic}");
            assert!(jsonschema::meta::is_valid(&schema), "{topic}");
        }
    }
}
