//! The contract of `SchemaRegistry`.

use futures_util::future::join_all;
use mfctl::domain::event::SchemaId;
use mfctl::ports::{ErrorKind, SchemaRegistry};
use serde_json::{Value, json};

use crate::{Fixture, fails_as};

/// Every case of this suite, for a harness that answers a registry with nothing in it.
macro_rules! registry_suite {
    ($harness:path) => {
        cases!($harness, crate::registry:
            a_schema_is_found_by_the_number_it_was_given,
            versions_count_from_one_and_numbers_are_shared_by_all_subjects,
            registering_again_answers_what_is_there,
            many_that_register_at_once_leave_no_gap,
            what_is_unknown_is_said_so,
        );
    };
}
pub(crate) use registry_suite;

type Registry = Fixture<dyn SchemaRegistry>;

fn schema(title: &str) -> Value {
    json!({ "title": title, "type": "object", "properties": { "نام": { "type": "string" } } })
}

pub async fn a_schema_is_found_by_the_number_it_was_given(f: Registry) {
    let given = f.port.register("ingest.raw-value", &schema("one")).await.unwrap();
    assert_eq!((given.subject.as_str(), given.version, &given.schema), ("ingest.raw-value", 1, &schema("one")));
    assert_eq!(f.port.by_id(given.id).await.unwrap(), given);
    assert_eq!(f.port.latest("ingest.raw-value").await.unwrap(), Some(given));
}

pub async fn versions_count_from_one_and_numbers_are_shared_by_all_subjects(f: Registry) {
    let a1 = f.port.register("a-value", &schema("one")).await.unwrap();
    let b1 = f.port.register("b-value", &schema("two")).await.unwrap();
    let a2 = f.port.register("a-value", &schema("three")).await.unwrap();
    assert_eq!([a1.version, b1.version, a2.version], [1, 1, 2]);
    assert!(a1.id != b1.id && b1.id != a2.id && a1.id != a2.id);
    assert_eq!(f.port.versions("a-value").await.unwrap(), [a1, a2.clone()]);
    assert_eq!(f.port.latest("a-value").await.unwrap(), Some(a2));
    assert_eq!(f.port.subjects().await.unwrap(), ["a-value", "b-value"]);
}

pub async fn registering_again_answers_what_is_there(f: Registry) {
    let first = f.port.register("a-value", &schema("one")).await.unwrap();
    f.port.register("a-value", &schema("two")).await.unwrap();
    assert_eq!(f.port.register("a-value", &schema("one")).await.unwrap(), first);
    assert_eq!(f.port.versions("a-value").await.unwrap().len(), 2);
}

pub async fn many_that_register_at_once_leave_no_gap(f: Registry) {
    let schemas: Vec<Value> = (0..20).map(|n| schema(&(n / 2).to_string())).collect();
    for given in join_all(schemas.iter().map(|schema| f.port.register("a-value", schema))).await {
        given.unwrap();
    }
    let versions: Vec<u32> = f.port.versions("a-value").await.unwrap().iter().map(|one| one.version).collect();
    assert_eq!(versions, (1..=10).collect::<Vec<_>>());
}

pub async fn what_is_unknown_is_said_so(f: Registry) {
    fails_as(f.port.by_id(SchemaId(99)).await, ErrorKind::NotFound);
    fails_as(f.port.register("", &schema("one")).await, ErrorKind::Invalid);
    assert_eq!(f.port.latest("nothing-value").await.unwrap(), None);
    assert!(f.port.versions("nothing-value").await.unwrap().is_empty());
    assert!(f.port.subjects().await.unwrap().is_empty());
}
