//! The contract of `SchemaRegistry`.

use futures_util::future::join_all;
use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;
use mfctl_core::ports::{ErrorKind, SchemaRegistry};
use serde_json::{Value, json};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns an empty registry.
macro_rules! registry_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::registry:
            schema_is_found_by_its_id,
            versions_count_from_one_per_subject_and_ids_are_global,
            registering_again_returns_the_existing_version,
            concurrent_registrations_leave_no_version_gaps,
            unknown_ids_and_subjects_are_reported,
            incompatible_schema_is_refused_and_can_be_checked_first,
            compatibility_is_set_per_subject,
            schema_shared_by_two_subjects_is_found_under_either,
            schemas_that_differ_only_in_key_order_are_identical,
        );
    };
}
pub(crate) use registry_suite;

type Registry = Fixture<dyn SchemaRegistry>;

fn schema(title: &str) -> Value {
    json!({ "title": title, "type": "object", "properties": { "نام": { "type": "string" } } })
}

pub async fn schema_is_found_by_its_id(f: Registry) {
    let given = f.port.register("ingest.raw-value", &schema("one")).await.unwrap();
    assert_eq!((given.subject.as_str(), given.version, &given.schema), ("ingest.raw-value", 1, &schema("one")));
    assert_eq!(f.port.by_id(given.id).await.unwrap(), given);
    assert_eq!(f.port.latest("ingest.raw-value").await.unwrap(), Some(given));
}

pub async fn versions_count_from_one_per_subject_and_ids_are_global(f: Registry) {
    let a1 = f.port.register("a-value", &schema("one")).await.unwrap();
    let b1 = f.port.register("b-value", &schema("two")).await.unwrap();
    let a2 = f.port.register("a-value", &schema("three")).await.unwrap();
    assert_eq!([a1.version, b1.version, a2.version], [1, 1, 2]);
    assert!(a1.id != b1.id && b1.id != a2.id && a1.id != a2.id);
    assert_eq!(f.port.versions("a-value").await.unwrap(), [a1, a2.clone()]);
    assert_eq!(f.port.latest("a-value").await.unwrap(), Some(a2));
    assert_eq!(f.port.subjects().await.unwrap(), ["a-value", "b-value"]);
}

pub async fn registering_again_returns_the_existing_version(f: Registry) {
    let first = f.port.register("a-value", &schema("one")).await.unwrap();
    f.port.register("a-value", &schema("two")).await.unwrap();
    assert_eq!(f.port.register("a-value", &schema("one")).await.unwrap(), first);
    assert_eq!(f.port.versions("a-value").await.unwrap().len(), 2);
}

pub async fn concurrent_registrations_leave_no_version_gaps(f: Registry) {
    let schemas: Vec<Value> = (0..20).map(|n| schema(&(n / 2).to_string())).collect();
    for given in join_all(schemas.iter().map(|schema| f.port.register("a-value", schema))).await {
        given.unwrap();
    }
    let versions: Vec<u32> = f.port.versions("a-value").await.unwrap().iter().map(|one| one.version).collect();
    assert_eq!(versions, (1..=10).collect::<Vec<_>>());
}

pub async fn unknown_ids_and_subjects_are_reported(f: Registry) {
    fails_as(f.port.by_id(SchemaId(99)).await, ErrorKind::NotFound);
    fails_as(f.port.register("", &schema("one")).await, ErrorKind::Invalid);
    assert_eq!(f.port.latest("nothing-value").await.unwrap(), None);
    assert!(f.port.versions("nothing-value").await.unwrap().is_empty());
    assert!(f.port.subjects().await.unwrap().is_empty());
}

fn closed(properties: &Value) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
        "properties": properties, "required": ["a"]
    })
}

pub async fn incompatible_schema_is_refused_and_can_be_checked_first(f: Registry) {
    let first = f.port.register("a-value", &closed(&json!({ "a": { "type": "string" } }))).await.unwrap();
    f.port.set_compatibility("a-value", Compatibility::BackwardTransitive).await.unwrap();
    let breaks = closed(&json!({ "a": { "type": "integer" } }));
    assert!(!f.port.check_compatibility("a-value", &breaks).await.unwrap().is_empty());
    let refused = f.port.register("a-value", &breaks).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{}", refused.full());
    assert!(refused.hint_text().is_some_and(|hint| hint.contains("schema check")), "{refused:?}");
    assert_eq!(f.port.versions("a-value").await.unwrap(), [first]);

    let follows = closed(&json!({ "a": { "type": "string" }, "b": { "type": "string" } }));
    assert!(f.port.check_compatibility("a-value", &follows).await.unwrap().is_empty());
    assert_eq!(f.port.register("a-value", &follows).await.unwrap().version, 2);
    // The first version of a subject is always compatible.
    assert!(f.port.check_compatibility("b-value", &breaks).await.unwrap().is_empty());
}

pub async fn compatibility_is_set_per_subject(f: Registry) {
    f.port.register("a-value", &closed(&json!({ "a": { "type": "string" } }))).await.unwrap();
    f.port.register("b-value", &closed(&json!({ "a": { "type": "null" } }))).await.unwrap();
    let default = f.port.compatibility("b-value").await.unwrap();
    for level in [Compatibility::FullTransitive, Compatibility::Forward, Compatibility::None] {
        f.port.set_compatibility("a-value", level).await.unwrap();
        assert_eq!(f.port.compatibility("a-value").await.unwrap(), level);
    }
    assert_eq!(f.port.compatibility("b-value").await.unwrap(), default);
    // NONE accepts every schema.
    f.port.register("a-value", &closed(&json!({ "a": { "type": "integer" } }))).await.unwrap();
    fails_as(f.port.set_compatibility("nothing-value", Compatibility::Full).await, ErrorKind::NotFound);
}

pub async fn schema_shared_by_two_subjects_is_found_under_either(f: Registry) {
    let a = f.port.register("a-value", &schema("shared")).await.unwrap();
    let b = f.port.register("b-value", &schema("shared")).await.unwrap();
    // A registry may give both the same id.
    assert_eq!(f.port.by_id_in(a.id, "a-value").await.unwrap(), a);
    assert_eq!(f.port.by_id_in(b.id, "b-value").await.unwrap(), b);
    assert_ne!(f.port.by_id_in(a.id, "nothing-value").await.unwrap().subject, "nothing-value");
    fails_as(f.port.by_id_in(SchemaId(u32::MAX >> 1), "a-value").await, ErrorKind::NotFound);
}

pub async fn schemas_that_differ_only_in_key_order_are_identical(f: Registry) {
    let one: Value = serde_json::from_str(r#"{ "type": "object", "properties": { "a": {}, "b": {} } }"#).unwrap();
    let other: Value = serde_json::from_str(r#"{"properties":{"b":{},"a":{}},"type":"object"}"#).unwrap();
    let first = f.port.register("a-value", &one).await.unwrap();
    assert_eq!(f.port.register("a-value", &other).await.unwrap(), first);
}
