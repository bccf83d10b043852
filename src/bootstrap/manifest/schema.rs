//! JSON Schemas of manifests: what the loader checks with, and what editors complete from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::API_VERSION;
use super::kinds::Kind;

static VALIDATORS: LazyLock<BTreeMap<Kind, Option<Validator>>> = LazyLock::new(|| {
    Kind::ALL.iter().map(|kind| (*kind, jsonschema::validator_for(&document_schema(*kind)).ok())).collect()
});

/// The validator of a kind's documents.
pub(super) fn validator(kind: Kind) -> Option<&'static Validator> {
    VALIDATORS.get(&kind).and_then(Option::as_ref)
}

/// The schema of each kind's documents, and one of all of them for a file with several kinds.
#[must_use]
pub fn json_schemas() -> Vec<(String, Value)> {
    let mut schemas: Vec<(String, Value)> =
        Kind::ALL.iter().map(|kind| (kind.as_str().to_owned(), document_schema(*kind))).collect();
    let any: Vec<Value> = Kind::ALL.iter().map(|kind| json!({"$ref": format!("{}.json", kind.as_str())})).collect();
    schemas.push((
        "manifest".to_owned(),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mfctl manifest", "oneOf": any}),
    ));
    schemas
}

fn document_schema(kind: Kind) -> Value {
    let mut spec = kind.spec_schema().to_value();
    // Definitions are looked for at the top.
    let definitions = spec.as_object_mut().and_then(|spec| spec.remove("$defs")).unwrap_or_else(|| json!({}));
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("$schema");
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.as_str(),
        "description": kind.about(),
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.as_str()},
            "metadata": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 249}},
            },
            "spec": spec,
        },
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_is_one() {
        for kind in Kind::ALL {
            assert!(validator(*kind).is_some(), "{kind}: {}", document_schema(*kind));
        }
    }
}
