//! JSON Schemas of manifests, for validation by the loader and completion in editors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::API_VERSION;
use super::kinds::ResourceKind;

static VALIDATORS: LazyLock<BTreeMap<ResourceKind, Option<Validator>>> = LazyLock::new(|| {
    ResourceKind::ALL.iter().map(|kind| (*kind, jsonschema::validator_for(&document_schema(*kind)).ok())).collect()
});

/// The validator of a kind's documents; `None` if the kind's schema is invalid, which a test excludes.
pub(super) fn validator(kind: ResourceKind) -> Option<&'static Validator> {
    VALIDATORS.get(&kind).and_then(Option::as_ref)
}

/// JSON Schemas by name: one per kind, and `manifest` for a file with several kinds.
#[must_use]
pub fn json_schemas() -> Vec<(String, Value)> {
    let mut schemas: Vec<(String, Value)> =
        ResourceKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), document_schema(*kind))).collect();
    let any: Vec<Value> =
        ResourceKind::ALL.iter().map(|kind| json!({"$ref": format!("{}.json", kind.as_str())})).collect();
    schemas.push((
        "manifest".to_owned(),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mfctl manifest", "oneOf": any}),
    ));
    schemas
}

fn document_schema(kind: ResourceKind) -> Value {
    let mut spec = kind.spec_schema().to_value();
    // `$ref`s of the generated schema start at the root of the document.
    let mut definitions = spec.as_object_mut().and_then(|spec| spec.remove("$defs")).unwrap_or_else(|| json!({}));
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("$schema");
    }
    set_maxima(&mut spec);
    set_maxima(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.as_str(),
        "description": kind.description(),
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

/// Sets the largest value of each integer of a limited size.
fn set_maxima(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let max = match fields.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(u64::from(u8::MAX)),
                Some("uint16") => Some(u64::from(u16::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(max) = max {
                fields.entry("maximum").or_insert_with(|| max.into());
            }
            fields.values_mut().for_each(set_maxima);
        }
        Value::Array(parts) => parts.iter_mut().for_each(set_maxima),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_valid_schema() {
        for kind in ResourceKind::ALL {
            assert!(validator(*kind).is_some(), "{kind}: {}", document_schema(*kind));
        }
    }
}
