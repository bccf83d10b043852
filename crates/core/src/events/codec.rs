//! Encodes and decodes the pipeline's events: validation against registered schemas, wire format, headers.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schemas;
use super::validator::SchemaValidator;
use crate::breaker::DependencyFault;
use crate::domain::event::{self, EventEnvelope, SchemaId};
use crate::domain::{EnvName, EventId, NewRecord, Record, Timestamp, TopicName};
use crate::ports::{Dependency, Error, ErrorKind, RegisteredSchema, Result, SchemaRegistry};
use crate::wait::{Backoff, wait_until};

/// The longest wait for a schema that a record names and the registry does not have yet: in a cluster of registries the
/// node that is asked may lag behind the one that the writer registered it with.
const MAX_SCHEMA_WAIT: Duration = Duration::from_secs(3);
/// The delay between two lookups of such a schema.
const RETRY: Backoff = Backoff::constant(Duration::from_millis(250));
/// The window in which no more than [`MAX_SCHEMA_WAIT`] is spent on waiting in all, so that records whose schema was never
/// registered do not hold up valid ones again and again.
const WAIT_WINDOW: Duration = Duration::from_secs(60);

/// Why a record could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record is bad: it becomes a dead letter.
    #[error("{message}")]
    Poison {
        /// Stable name of the failure kind.
        kind: &'static str,
        /// What is wrong with the record.
        message: String,
    },
    /// The record may be valid, but this process must not continue.
    #[error("{reason}")]
    Stop {
        /// Why the process must stop.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// The registry failed; retry.
    #[error(transparent)]
    Dependency(Error),
}

impl DependencyFault for DecodeError {
    fn is_dependency(&self) -> bool {
        matches!(self, Self::Dependency(error) if error.is_dependency())
    }

    fn dependency(&self) -> Option<Dependency> {
        Some(Dependency::Registry)
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Dependency(error) if error.is_full())
    }

    fn is_throttled(&self) -> bool {
        matches!(self, Self::Dependency(error) if error.is_throttled())
    }
}

/// A compiled schema.
struct CompiledSchema {
    subject: String,
    version: u32,
    validator: SchemaValidator,
}

/// Codec for the events of one environment.
pub struct EventCodec {
    registry: Arc<dyn SchemaRegistry>,
    env: EnvName,
    /// Schemas of read records. A missing schema is looked up again, because it may be registered at any time.
    read: Mutex<HashMap<(TopicName, SchemaId), Arc<CompiledSchema>>>,
    /// Schemas of written records.
    written: Mutex<HashMap<TopicName, (SchemaId, Arc<CompiledSchema>)>>,
    /// Start of the current [`WAIT_WINDOW`]: its first wait for a schema.
    wait_window: Mutex<Option<Instant>>,
    max_wait: Duration,
}

impl EventCodec {
    /// Creates a codec for the events of `env`.
    #[must_use]
    pub fn new(registry: Arc<dyn SchemaRegistry>, env: EnvName) -> Self {
        Self {
            registry,
            env,
            read: Mutex::default(),
            written: Mutex::default(),
            wait_window: Mutex::default(),
            max_wait: MAX_SCHEMA_WAIT,
        }
    }

    /// Environment of the codec.
    #[must_use]
    pub fn env(&self) -> &EnvName {
        &self.env
    }

    /// Encodes an event as a record: validated, in the wire format, keyed by the asset id, with the event headers.
    ///
    /// # Errors
    /// `Invalid` when the event violates its schema, `NotFound` when this binary's schema is not registered, otherwise those
    /// of the registry.
    pub async fn encode<T: Serialize>(
        &self,
        topic: &TopicName,
        event: &T,
        envelope: &EventEnvelope,
        trace: EventId,
        now: Timestamp,
    ) -> Result<NewRecord> {
        let (id, schema) = self.schema_written(topic).await?;
        let what = || format!("write event {} to {topic}", envelope.event_id);
        let value = serde_json::to_value(event).map_err(|e| Error::new(ErrorKind::Internal, what()).because(e))?;
        if let Some(reason) = schema.validator.first_violation(&value) {
            return Err(Error::new(ErrorKind::Invalid, format!("{}: {reason}", what())));
        }
        let json = serde_json::to_vec(&value).map_err(|e| Error::new(ErrorKind::Internal, what()).because(e))?;
        let traceparent = event::traceparent(trace, envelope.event_id);
        Ok(NewRecord {
            topic: topic.clone(),
            partition: None,
            key: Some(Bytes::from(envelope.asset_id.to_string())),
            value: Some(event::frame(id, &json)),
            headers: event::event_headers(&self.env, schema.version, envelope.event_id, &traceparent),
            timestamp: now,
        })
    }

    /// Decodes a record's event, which must be of this environment and valid against the schema that the record names.
    ///
    /// Unknown fields are ignored, so that readers of this version can read events of the next.
    ///
    /// # Errors
    /// [`DecodeError`]: poison, stop, or the registry's own.
    pub async fn decode<T: DeserializeOwned>(&self, record: &Record) -> std::result::Result<T, DecodeError> {
        self.check_environment(record)?;
        let (schema, value) = self.validated(record).await?;
        T::deserialize(value).map_err(|error| self.unreadable(record, &schema, &error))
    }

    /// Decodes a record's value as validated JSON, whatever its type.
    ///
    /// # Errors
    /// As [`EventCodec::decode`], except that the environment is not checked.
    pub async fn decode_value(&self, record: &Record) -> std::result::Result<Value, DecodeError> {
        self.validated(record).await.map(|(_, value)| value)
    }

    fn check_environment(&self, record: &Record) -> std::result::Result<(), DecodeError> {
        match event::environment_of(record) {
            Some(env) if env != self.env.as_str() => Err(DecodeError::Stop {
                reason: format!(
                    "record {} is of environment {:?}, this worker of {:?}",
                    record.address,
                    env.chars().take(40).collect::<String>(),
                    self.env.as_str()
                ),
                hint: "two environments share this log: check the profile's endpoints before anything else".into(),
            }),
            _ => Ok(()),
        }
    }

    async fn validated(&self, record: &Record) -> std::result::Result<(Arc<CompiledSchema>, Value), DecodeError> {
        let poison = |kind, message| DecodeError::Poison { kind, message };
        if let Some(reason) = record.headers.text(event::header::HEADERS_LOST) {
            // They may say that it is of another environment.
            return Err(poison("headers_lost", reason.chars().take(200).collect()));
        }
        let (id, json) = event::unframe(record.value.as_ref()).map_err(|e| poison("not_wire_format", e.to_string()))?;
        let schema = self.schema(id, record.address.topic.source()).await?;
        let value: Value =
            serde_json::from_slice(&json).map_err(|e| poison("invalid_json", format!("the value is not JSON: {e}")))?;
        match schema.validator.first_violation(&value) {
            Some(reason) => {
                Err(poison("schema_violation", format!("against {} v{}: {reason}", schema.subject, schema.version)))
            }
            None => Ok((schema, value)),
        }
    }

    /// The error for a valid value that this binary cannot decode: of a later writer, or due to a defect of its schema.
    fn unreadable(&self, record: &Record, schema: &CompiledSchema, error: &serde_json::Error) -> DecodeError {
        let known = self.known_version(&record.address.topic.source());
        if known.is_some_and(|known| schema.version > known) {
            return DecodeError::Stop {
                reason: format!(
                    "record {} has version {} of {}, too new for this binary: {error}",
                    record.address, schema.version, schema.subject
                ),
                hint: "upgrade this worker; readers are upgraded before writers".into(),
            };
        }
        DecodeError::Poison { kind: "unreadable", message: format!("valid, but not an event: {error}") }
    }

    fn known_version(&self, topic: &TopicName) -> Option<u32> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(topic).map(|(_, schema)| schema.version)
    }

    /// Looks up the registered version of this binary's schema for a topic. A reader calls it once at its start, so that
    /// [`EventCodec::decode`] can recognise a record that is too new.
    ///
    /// # Errors
    /// `NotFound` when it is not registered, otherwise those of the registry.
    pub async fn prepare(&self, topic: &TopicName) -> Result<()> {
        self.schema_written(topic).await.map(drop)
    }

    /// Asks the registry for a topic's schema, whatever this codec remembers: a check whether the registry answers.
    ///
    /// # Errors
    /// Those of the registry.
    pub async fn check_registry(&self, topic: &TopicName) -> Result<()> {
        self.registry.latest(&schemas::subject(topic)).await.map(drop)
    }

    async fn schema_written(&self, topic: &TopicName) -> Result<(SchemaId, Arc<CompiledSchema>)> {
        {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((id, schema)) = written.get(topic) {
                return Ok((*id, Arc::clone(schema)));
            }
        }
        let subject = schemas::subject(topic);
        let missing = || {
            Error::new(ErrorKind::NotFound, format!("the schema of {topic} is not registered under {subject}"))
                .hint("`mfctl init` (embedded) or `mfctl bootstrap apply` (cluster) registers it")
        };
        let ours: Value = schemas::text_of(topic)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("topic {topic} has no schema")))?;
        let versions = self.registry.versions(&subject).await?;
        let found = versions.into_iter().rev().find(|version| version.schema == ours).ok_or_else(missing)?;
        let schema = Arc::new(compile(&subject, found.version, &found.schema)?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert((topic.clone(), found.id), Arc::clone(&schema));
        drop(read);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(topic.clone(), (found.id, Arc::clone(&schema)));
        Ok((found.id, schema))
    }

    /// The schema of a record of this topic.
    async fn schema(&self, id: SchemaId, topic: TopicName) -> std::result::Result<Arc<CompiledSchema>, DecodeError> {
        let key = (topic, id);
        if let Some(schema) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(schema));
        }
        let found = self.registered(&key).await?;
        let schema = compile(&found.subject, found.version, &found.schema).map_err(DecodeError::Dependency)?;
        let schema = Arc::new(schema);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&schema));
        Ok(schema)
    }

    /// The schema as the registry has it under the topic's subject; one that is not there yet is waited for.
    async fn registered(&self, key: &(TopicName, SchemaId)) -> std::result::Result<RegisteredSchema, DecodeError> {
        let missing = match self.look_up(key).await {
            Err(poison @ DecodeError::Poison { .. }) => poison,
            answered => return answered,
        };
        let deadline = self.wait_deadline();
        if Instant::now() >= deadline {
            return Err(missing);
        }
        let probe = || async {
            match self.look_up(key).await {
                Err(poison @ DecodeError::Poison { .. }) => ControlFlow::Continue(poison),
                answered => ControlFlow::Break(answered),
            }
        };
        wait_until(deadline, RETRY, probe).await.unwrap_or_else(Err)
    }

    /// Until when a schema may be waited for, in the wait window that begins with its first wait.
    fn wait_deadline(&self) -> Instant {
        let mut window = self.wait_window.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *window.filter(|began| began.elapsed() < WAIT_WINDOW).get_or_insert_with(Instant::now);
        *window = Some(began);
        began + self.max_wait
    }

    async fn look_up(&self, (topic, id): &(TopicName, SchemaId)) -> std::result::Result<RegisteredSchema, DecodeError> {
        let expected = schemas::subject(topic);
        let found = self.registry.by_id_in(*id, &expected).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => DecodeError::Poison {
                kind: "unknown_schema",
                message: format!("the record names schema {}, which the registry does not have", id.0),
            },
            _ => DecodeError::Dependency(error),
        })?;
        if found.subject == expected {
            return Ok(found);
        }
        let message = format!("schema {} is of subject {}, not of {expected}", id.0, found.subject);
        Err(DecodeError::Poison { kind: "wrong_schema", message })
    }
}

fn compile(subject: &str, version: u32, schema: &Value) -> Result<CompiledSchema> {
    let validator = SchemaValidator::compile(schema)
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("compile the schema {subject} v{version}: {error}")))?;
    Ok(CompiledSchema { subject: subject.to_owned(), version, validator })
}

/// Validates a value against this binary's schema of a topic, without a registry.
///
/// # Errors
/// The first violation with its JSON pointer.
pub fn validate(topic: &TopicName, value: &Value) -> std::result::Result<(), String> {
    let text = schemas::text_of(topic).ok_or_else(|| format!("topic {topic} has no schema"))?;
    let schema: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    SchemaValidator::compile(&schema)?.first_violation(value).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::domain::compat::Compatibility;
    use crate::domain::event::MediaEnriched;
    use crate::domain::names::topics;
    use crate::domain::{AssetId, JobId, RecordAddress, Revision, Sha256, Tenant};

    /// Registry in memory; a schema's id is its index.
    #[derive(Default)]
    struct MemoryRegistry(Mutex<Vec<RegisteredSchema>>);

    #[async_trait]
    impl SchemaRegistry for MemoryRegistry {
        async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema> {
            let mut all = self.0.lock().unwrap();
            let version = all.iter().filter(|s| s.subject == subject).count() as u32 + 1;
            let id = SchemaId(all.len() as u32);
            all.push(RegisteredSchema { id, subject: subject.to_owned(), version, schema: schema.clone() });
            Ok(all[id.0 as usize].clone())
        }
        async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema> {
            let all = self.0.lock().unwrap();
            all.iter()
                .find(|schema| schema.id == id)
                .cloned()
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such schema"))
        }
        async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
            Ok(self.versions(subject).await?.pop())
        }
        async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>> {
            Ok(self.0.lock().unwrap().iter().filter(|s| s.subject == subject).cloned().collect())
        }
        async fn subjects(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
        async fn compatibility(&self, _: &str) -> Result<Compatibility> {
            Ok(Compatibility::None)
        }
        async fn set_compatibility(&self, _: &str, _: Compatibility) -> Result<()> {
            Ok(())
        }
        async fn check_compatibility(&self, _: &str, _: &Value) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    async fn codec() -> (Arc<MemoryRegistry>, EventCodec) {
        let registry = Arc::new(MemoryRegistry::default());
        schemas::register_all(registry.as_ref()).await.unwrap();
        let mut codec = EventCodec::new(registry.clone(), EnvName::new("dev").unwrap());
        codec.max_wait = Duration::from_millis(1);
        codec.prepare(&topics::MEDIA_ENRICHED).await.unwrap();
        (registry, codec)
    }

    fn event() -> MediaEnriched {
        let tenant = Tenant::default();
        let sha256 = Sha256([7; 32]);
        MediaEnriched {
            envelope: EventEnvelope {
                event_id: EventId::fresh(),
                occurred_at: Timestamp::UNIX_EPOCH,
                asset_id: AssetId::of(&tenant, &sha256),
                sha256,
                tenant,
                locale: "fa-IR".into(),
                job_id: JobId::fresh(),
                actor: "ali@host".into(),
                staged_at: Timestamp::UNIX_EPOCH,
                revision: Revision::FIRST,
            },
            media_type: "text/plain".into(),
            language: Some("fa".into()),
            text: None,
            thumbnail: None,
        }
    }

    async fn record(codec: &EventCodec, event: &MediaEnriched) -> Record {
        let topic = topics::MEDIA_ENRICHED;
        let new = codec.encode(&topic, event, &event.envelope, event.envelope.event_id, Timestamp::UNIX_EPOCH).await;
        let new = new.unwrap();
        Record {
            address: RecordAddress { topic, partition: 0, offset: 0 },
            key: new.key,
            value: new.value,
            headers: new.headers,
            timestamp: new.timestamp,
        }
    }

    async fn poison(codec: &EventCodec, record: &Record) -> &'static str {
        match codec.decode::<MediaEnriched>(record).await {
            Err(DecodeError::Poison { kind, .. }) => kind,
            other => panic!("not poison: {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_encoded_event_is_decoded() {
        let (_, codec) = codec().await;
        let event = event();
        let record = record(&codec, &event).await;
        assert_eq!(codec.decode::<MediaEnriched>(&record).await.unwrap(), event);
        assert_eq!(record.headers.text("deployment.env"), Some("dev"));
    }

    #[tokio::test]
    async fn an_event_that_violates_its_schema_is_not_encoded() {
        let (_, codec) = codec().await;
        let mut event = event();
        event.envelope.actor = String::new();
        let topic = topics::MEDIA_ENRICHED;
        let written =
            codec.encode(&topic, &event, &event.envelope, event.envelope.event_id, Timestamp::UNIX_EPOCH).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn poison_has_a_kind_for_each_defect() {
        let (_, codec) = codec().await;
        let good = record(&codec, &event()).await;
        let with = |value: &[u8]| Record { value: Some(Bytes::copy_from_slice(value)), ..good.clone() };
        let id = event::unframe(good.value.as_ref()).unwrap().0;
        assert_eq!(poison(&codec, &with(b"{}")).await, "not_wire_format");
        assert_eq!(poison(&codec, &with(&event::frame(SchemaId(99), b"{}"))).await, "unknown_schema");
        assert_eq!(poison(&codec, &with(&event::frame(SchemaId(0), b"{}"))).await, "wrong_schema");
        assert_eq!(poison(&codec, &with(&event::frame(id, b"{"))).await, "invalid_json");
        assert_eq!(poison(&codec, &with(&event::frame(id, b"{}"))).await, "schema_violation");
    }

    /// The registry may lag behind the writer; the next record of that schema is decoded.
    #[tokio::test]
    async fn a_schema_registered_later_is_found() {
        let (registry, codec) = codec().await;
        let good = record(&codec, &event()).await;
        let next = SchemaId(registry.0.lock().unwrap().len() as u32);
        let json = event::unframe(good.value.as_ref()).unwrap().1;
        let early = Record { value: Some(event::frame(next, &json)), ..good };
        assert_eq!(poison(&codec, &early).await, "unknown_schema");
        let mut schema: Value = serde_json::from_str(schemas::text_of(&topics::MEDIA_ENRICHED).unwrap()).unwrap();
        schema["title"] = "later".into();
        assert_eq!(registry.register("media.enriched-value", &schema).await.unwrap().id, next);
        assert_eq!(codec.decode::<MediaEnriched>(&early).await.unwrap(), event_of(&json));
    }

    /// The registry node of the reader lags behind that of the writer.
    #[tokio::test]
    async fn a_missing_schema_is_waited_for() {
        let (registry, codec) = codec().await;
        let good = record(&codec, &event()).await;
        let (id, json) = event::unframe(good.value.as_ref()).unwrap();
        let fresh = EventCodec::new(registry.clone(), EnvName::new("dev").unwrap());
        let known = std::mem::take(&mut *registry.0.lock().unwrap());
        let later = async {
            while fresh.wait_window.lock().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
            *registry.0.lock().unwrap() = known;
        };
        let (read, ()) = tokio::join!(fresh.decode::<MediaEnriched>(&good), later);
        assert_eq!(read.unwrap(), event_of(&json), "schema {}", id.0);
    }

    #[tokio::test]
    async fn waits_for_missing_schemas_are_bounded_in_total() {
        let (_, mut codec) = codec().await;
        codec.max_wait = Duration::from_millis(200);
        let good = record(&codec, &event()).await;
        let unknown = |id| Record { value: Some(event::frame(SchemaId(id), b"{}")), ..good.clone() };
        let began = Instant::now();
        for id in 100..1100 {
            assert_eq!(poison(&codec, &unknown(id)).await, "unknown_schema");
        }
        assert!(began.elapsed() >= codec.max_wait && began.elapsed() < WAIT_WINDOW / 2, "{:?}", began.elapsed());
    }

    fn event_of(json: &[u8]) -> MediaEnriched {
        serde_json::from_slice(json).unwrap()
    }

    /// Registries give a schema one id, whatever its subjects.
    #[tokio::test]
    async fn a_schema_shared_by_two_subjects_is_read_under_the_subject_of_the_topic() {
        let (registry, codec) = codec().await;
        let good = record(&codec, &event()).await;
        let id = event::unframe(good.value.as_ref()).unwrap().0;
        let shared = RegisteredSchema { subject: "another-value".into(), ..registry.by_id(id).await.unwrap() };
        let fresh = EventCodec::new(registry.clone(), EnvName::new("dev").unwrap());
        registry.0.lock().unwrap().insert(0, shared);
        assert!(fresh.decode::<MediaEnriched>(&good).await.is_ok());
    }

    #[tokio::test]
    async fn a_record_of_another_environment_stops_the_reader() {
        let (registry, dev) = codec().await;
        let prod = EventCodec::new(registry, EnvName::new("prod").unwrap());
        let foreign = record(&prod, &event()).await;
        assert!(matches!(dev.decode::<MediaEnriched>(&foreign).await, Err(DecodeError::Stop { .. })));
    }

    /// A writer of the next version added an optional field, or made a change that this binary cannot decode.
    #[tokio::test]
    async fn a_later_schema_version_is_decoded_or_stops_the_reader() {
        let (registry, codec) = codec().await;
        let mut next: Value = serde_json::from_str(schemas::text_of(&topics::MEDIA_ENRICHED).unwrap()).unwrap();
        next["properties"]["mood"] = serde_json::json!({ "type": "string" });
        next["properties"]["media_type"] = serde_json::json!({ "type": ["string", "number"] });
        let next = registry.register("media.enriched-value", &next).await.unwrap();
        let good = record(&codec, &event()).await;
        let mut value = serde_json::to_value(event()).unwrap();
        value["mood"] = "bright".into();
        let framed = |value: &Value| event::frame(next.id, &serde_json::to_vec(value).unwrap());
        let added = Record { value: Some(framed(&value)), ..good.clone() };
        assert!(codec.decode::<MediaEnriched>(&added).await.is_ok());
        value["media_type"] = 7.into();
        let changed = Record { value: Some(framed(&value)), ..good };
        assert!(matches!(codec.decode::<MediaEnriched>(&changed).await, Err(DecodeError::Stop { .. })));
    }
}
