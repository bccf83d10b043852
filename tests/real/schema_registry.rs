//! The schema registry: the contract on a real server, and rare responses on a scripted one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use mfctl_core::domain::compat::Compatibility;
use mfctl_core::domain::event::SchemaId;
use mfctl_core::domain::{EnvName, Secret};
use mfctl_core::events::schemas;
use mfctl_core::ports::{ErrorKind, SchemaRegistry};
use mfctl_remote::http::{Auth, HttpOptions};
use mfctl_remote::schema_registry::{RegistryConfig, RestRegistry};
use serde_json::json;

use crate::contract::harness::Fixture;
use crate::scripted_http::{Answer, server};
use crate::stack;

/// Apicurio recognises a JSON Schema by its `$schema`, or by a typical structure.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

mod port {
    crate::contract::registry::registry_suite!(super::harness);
}

fn config(url: String, auth: Auth) -> RegistryConfig {
    let subject_prefix = format!("t{:x}/", fastrand::u64(..));
    RegistryConfig { http: HttpOptions::direct("profile.prod.schema_registry"), url, auth, subject_prefix }
}

fn real() -> RestRegistry {
    RestRegistry::new(config(stack::env("STACK_REGISTRY"), Auth::None)).unwrap()
}

async fn harness() -> Fixture<dyn SchemaRegistry> {
    Fixture::new(Arc::new(real()), ())
}

/// A registry that answers every request alike, and the requests it received.
fn constant_server(status: &str, body: &str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let (sender, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let _ = sender.send(String::from_utf8_lossy(&head[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, requests)
}

#[tokio::test]
async fn platform_schemas_are_registered_once() {
    let url = stack::env("STACK_REGISTRY");
    let prefix = format!("t{:x}.", fastrand::u64(..));
    let ours = RegistryConfig { subject_prefix: prefix.clone(), ..config(url.clone(), Auth::None) };
    let registry = RestRegistry::new(ours).unwrap();
    let first = schemas::register_all(&registry).await.unwrap();
    for schema in &first {
        registry.set_compatibility(&schema.subject, Compatibility::BackwardTransitive).await.unwrap();
    }
    assert_eq!(schemas::register_all(&registry).await.unwrap(), first);
    // A second process has nothing cached.
    let fresh = RestRegistry::new(RegistryConfig { subject_prefix: prefix, ..config(url, Auth::None) }).unwrap();
    for schema in &first {
        assert_eq!(&fresh.by_id_in(schema.id, &schema.subject).await.unwrap(), schema);
    }
}

#[tokio::test]
async fn incompatible_schema_error_has_the_registrys_message() {
    let registry = real();
    registry.register("a-value", &json!({ "$schema": DRAFT, "type": "string" })).await.unwrap();
    registry.set_compatibility("a-value", Compatibility::Backward).await.unwrap();
    let error = registry.register("a-value", &json!({ "$schema": DRAFT, "type": "integer" })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.full().to_lowercase().contains("incompatible"), "{}", error.full());
}

#[tokio::test]
async fn denied_request_names_its_setting_and_not_the_secret() {
    let (url, requests) = constant_server("401 Unauthorized", r#"{"error_code":40101,"message":"Unauthorized"}"#);
    let auth = Auth::Basic { username: "ops".into(), password: Secret::new("hunter2") };
    let error = RestRegistry::new(config(url, auth)).unwrap().subjects().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains("profile.prod.schema_registry.username"), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(requests.recv().unwrap().to_lowercase().contains("authorization: basic b3bzomh1bnrlcji="));
}

/// It must not look like a registry without the schema, or every record would be dead-lettered.
#[tokio::test]
async fn address_without_a_registry_is_invalid_and_not_a_missing_schema() {
    for (status, body) in
        [("404 Not Found", "<html>nginx</html>"), ("200 OK", "<html>welcome</html>"), ("302 Found", "")]
    {
        let registry = RestRegistry::new(config(constant_server(status, body).0, Auth::None)).unwrap();
        for error in [registry.by_id(SchemaId(1)).await.unwrap_err(), registry.latest("a-value").await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{status}: {}", error.full());
            assert!(error.hint_text().unwrap().contains("profile.prod.schema_registry.url"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn transient_errors_are_dependency_failures() {
    for (status, body) in [
        ("503 Service Unavailable", "no leader"),
        ("500 Internal Server Error", r#"{"error_code":50003,"message":"forwarding failed"}"#),
        ("429 Too Many Requests", ""),
    ] {
        let registry = RestRegistry::new(config(constant_server(status, body).0, Auth::None)).unwrap();
        assert!(registry.latest("a-value").await.unwrap_err().kind().is_dependency(), "{status}");
    }
    let unreachable = RestRegistry::new(config("http://127.0.0.1:1".into(), Auth::None)).unwrap();
    assert_eq!(unreachable.subjects().await.unwrap_err().kind(), ErrorKind::Unreachable);
}

fn not_found(error_code: u32) -> Answer {
    Answer { status: 404, headers: "", body: format!(r#"{{"error_code":{error_code},"message":"not found"}}"#) }
}

fn answer(body: &serde_json::Value) -> Answer {
    Answer { status: 200, headers: "", body: body.to_string() }
}

fn version_one() -> Answer {
    answer(
        &json!({ "subject": "a-value", "version": 1, "id": 7, "schemaType": "JSON", "schema": "{\"type\":\"string\"}" }),
    )
}

async fn registry_answering(answers: Vec<Answer>) -> RestRegistry {
    RestRegistry::new(config(server(answers).await.0, Auth::None)).unwrap()
}

#[tokio::test]
async fn stale_node_is_retried_after_a_write() {
    let before = vec![not_found(40401), answer(&json!({ "id": 7 }))];
    let registry =
        registry_answering([before.clone(), vec![not_found(40401), not_found(40403), version_one()]].concat()).await;
    let schema = json!({ "type": "string" });
    assert_eq!(registry.register("a-value", &schema).await.unwrap().id, SchemaId(7));
    let registry = registry_answering([before, vec![not_found(40403)]].concat()).await;
    let error = registry.register("a-value", &schema).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
    let set = answer(&json!({ "compatibility": "BACKWARD" }));
    let registry = registry_answering(vec![not_found(40401), version_one(), set]).await;
    registry.set_compatibility("a-value", Compatibility::Backward).await.unwrap();
}

#[tokio::test]
async fn listed_version_is_never_omitted() {
    let registry = registry_answering(vec![answer(&json!([1])), not_found(40402), version_one()]).await;
    assert_eq!(registry.versions("a-value").await.unwrap().len(), 1);
    let registry = registry_answering(vec![answer(&json!([1])), not_found(40402)]).await;
    let error = registry.versions("a-value").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
}

#[tokio::test]
async fn stale_node_does_not_make_a_schema_compatible() {
    let schema = json!({ "type": "integer" });
    let verdict = answer(&json!({ "is_compatible": false, "messages": ["other type"] }));
    let registry = registry_answering(vec![not_found(40401), version_one(), verdict]).await;
    assert_eq!(registry.check_compatibility("a-value", &schema).await.unwrap(), ["other type"]);
    let registry = registry_answering(vec![not_found(40401)]).await;
    assert!(registry.check_compatibility("a-value", &schema).await.unwrap().is_empty(), "it would be the first");
}

/// Unknown ids, ids of another subject, and a version that is registered while the codec runs.
#[tokio::test]
async fn codec_decodes_with_schemas_of_a_real_registry() {
    use mfctl_core::events::{DecodeError, EventCodec};
    let registry = Arc::new(real());
    schemas::register_all(registry.as_ref()).await.unwrap();
    let codec = EventCodec::new(registry.clone(), EnvName::new("dev").unwrap());
    let topic = mfctl_core::domain::names::topics::MEDIA_ENRICHED;
    let record = |id: SchemaId, value: &serde_json::Value| mfctl_core::domain::Record {
        address: mfctl_core::domain::RecordAddress { topic: topic.clone(), partition: 0, offset: 0 },
        key: None,
        value: Some(mfctl_core::domain::event::frame(id, value.to_string().as_bytes())),
        headers: mfctl_core::domain::Headers::default(),
        timestamp: mfctl_core::domain::Timestamp::UNIX_EPOCH,
    };
    let kind = |error| match error {
        DecodeError::Poison { kind, .. } => kind,
        other => panic!("{other:?}"),
    };
    let unknown = SchemaId(u32::MAX >> 1);
    assert_eq!(kind(codec.decode_value(&record(unknown, &json!({}))).await.unwrap_err()), "unknown_schema");
    let other = registry.latest("ingest.raw-value").await.unwrap().unwrap();
    assert_eq!(kind(codec.decode_value(&record(other.id, &json!({}))).await.unwrap_err()), "wrong_schema");
    let own = registry.latest("media.enriched-value").await.unwrap().unwrap();
    assert_eq!(kind(codec.decode_value(&record(own.id, &json!({}))).await.unwrap_err()), "schema_violation");
    let example = include_str!("../../schemas/fixtures/media.enriched/v1/minimal.json");
    let example: serde_json::Value = serde_json::from_str(example).unwrap();
    assert_eq!(codec.decode_value(&record(own.id, &example)).await.unwrap(), example);
    // The next version, registered while this reader runs.
    let mut next = own.schema.clone();
    next["properties"]["mood"] = json!({ "type": "string" });
    let next = registry.register("media.enriched-value", &next).await.unwrap();
    let mut value = example;
    value["mood"] = "bright".into();
    assert_eq!(codec.decode_value(&record(next.id, &value)).await.unwrap(), value);
    assert!(codec.decode::<mfctl_core::domain::event::MediaEnriched>(&record(next.id, &value)).await.is_ok());
}
