//! The schemas this binary writes, as `schemas/<topic>.json` has them.

use serde_json::Value;

use crate::domain::TopicName;
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
    for topic in topics::PIPELINE {
        if let Some(text) = text_of(&topic) {
            // The texts are compiled in; a test holds that each of them is JSON.
            let schema: Value = serde_json::from_str(text).unwrap_or_default();
            registered.push(registry.register(&subject(&topic), &schema).await?);
        }
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
