//! Writes and reads the pipeline's events: validation against registered schemas, wire format, headers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jsonschema::Validator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schemas;
use crate::domain::event::{self, Common, SchemaId};
use crate::domain::{EnvName, EventId, NewRecord, Record, Timestamp, TopicName};
use crate::ports::{Error, ErrorKind, Result, SchemaRegistry};

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record itself is bad: it is a dead letter.
    #[error("{message}")]
    Poison {
        /// A short stable word.
        kind: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The record may be good, but this process must not go on.
    #[error("{reason}")]
    Stop {
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The registry did not answer; try again.
    #[error(transparent)]
    Dependency(Error),
}

/// A schema ready to validate with.
struct Compiled {
    subject: String,
    version: u32,
    validator: Validator,
}

/// The codec of one environment.
pub struct EventCodec {
    registry: Arc<dyn SchemaRegistry>,
    env: EnvName,
    by_id: Mutex<HashMap<SchemaId, Arc<Compiled>>>,
    written: Mutex<HashMap<TopicName, (SchemaId, Arc<Compiled>)>>,
}

impl EventCodec {
    /// A codec that writes and reads events of `env`.
    #[must_use]
    pub fn new(registry: Arc<dyn SchemaRegistry>, env: EnvName) -> Self {
        Self { registry, env, by_id: Mutex::default(), written: Mutex::default() }
    }

    /// The environment it is for.
    #[must_use]
    pub fn env(&self) -> &EnvName {
        &self.env
    }

    /// Makes the record of an event: validated, in the wire format, keyed by the asset, with the contract's headers.
    ///
    /// # Errors
    /// `Invalid` when the event breaks its schema, `NotFound` when the schema this binary writes is not registered,
    /// otherwise those of the registry.
    pub async fn encode<T: Serialize>(
        &self,
        topic: &TopicName,
        event: &T,
        common: &Common,
        trace: EventId,
        now: Timestamp,
    ) -> Result<NewRecord> {
        let (id, schema) = self.schema_written(topic).await?;
        let what = || format!("write event {} to {topic}", common.event_id);
        let value = serde_json::to_value(event).map_err(|e| Error::new(ErrorKind::Internal, what()).because(e))?;
        if let Some(reason) = first_violation(&schema.validator, &value) {
            return Err(Error::new(ErrorKind::Invalid, format!("{}: {reason}", what())));
        }
        let json = serde_json::to_vec(&value).map_err(|e| Error::new(ErrorKind::Internal, what()).because(e))?;
        let traceparent = event::traceparent(trace, common.event_id);
        Ok(NewRecord {
            topic: topic.clone(),
            partition: None,
            key: Some(Bytes::from(common.asset_id.to_string())),
            value: Some(event::frame(id, &json)),
            headers: event::headers(&self.env, schema.version, common.event_id, &traceparent),
            timestamp: now,
        })
    }

    /// Reads a record's event: of this environment, valid against the schema the record names.
    ///
    /// Fields this binary does not know are passed over, so that readers of this version can follow writers of the next.
    ///
    /// # Errors
    /// [`DecodeError`]: poison, stop, or the registry's own.
    pub async fn decode<T: DeserializeOwned>(&self, record: &Record) -> std::result::Result<T, DecodeError> {
        self.check_environment(record)?;
        let (schema, value) = self.validated(record).await?;
        T::deserialize(value).map_err(|error| self.unreadable(record, &schema, &error))
    }

    /// Reads a record's value as JSON, validated, whatever its type.
    ///
    /// # Errors
    /// As [`EventCodec::decode`], but for the environment, which is not looked at.
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

    async fn validated(&self, record: &Record) -> std::result::Result<(Arc<Compiled>, Value), DecodeError> {
        let poison = |kind, message| DecodeError::Poison { kind, message };
        let (id, json) = event::unframe(record.value.as_ref()).map_err(|e| poison("not_wire_format", e.to_string()))?;
        let schema = self.schema(id).await?;
        let expected = schemas::subject(&record.address.topic.source());
        if schema.subject != expected {
            let message = format!("schema {} is of subject {}, not of {expected}", id.0, schema.subject);
            return Err(poison("wrong_schema", message));
        }
        let value: Value =
            serde_json::from_slice(&json).map_err(|e| poison("invalid_json", format!("the value is not JSON: {e}")))?;
        match first_violation(&schema.validator, &value) {
            Some(reason) => {
                Err(poison("schema_violation", format!("against {} v{}: {reason}", schema.subject, schema.version)))
            }
            None => Ok((schema, value)),
        }
    }

    /// What a valid value that this binary cannot take means: a later writer, or a defect of its own schema.
    fn unreadable(&self, record: &Record, schema: &Compiled, error: &serde_json::Error) -> DecodeError {
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

    /// Learns the registered version of the schema this binary writes for a topic. A reader calls it once at its start,
    /// so that [`EventCodec::decode`] can tell a record that is too new.
    ///
    /// # Errors
    /// `NotFound` when it is not registered, otherwise those of the registry.
    pub async fn prepare(&self, topic: &TopicName) -> Result<()> {
        self.schema_written(topic).await.map(drop)
    }

    async fn schema_written(&self, topic: &TopicName) -> Result<(SchemaId, Arc<Compiled>)> {
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
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(found.id, Arc::clone(&schema));
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(topic.clone(), (found.id, Arc::clone(&schema)));
        Ok((found.id, schema))
    }

    async fn schema(&self, id: SchemaId) -> std::result::Result<Arc<Compiled>, DecodeError> {
        if let Some(schema) = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(schema));
        }
        let found = self.registry.by_id(id).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => DecodeError::Poison {
                kind: "unknown_schema",
                message: format!("the record names schema {}, which the registry does not have", id.0),
            },
            _ => DecodeError::Dependency(error),
        })?;
        let schema = compile(&found.subject, found.version, &found.schema).map_err(DecodeError::Dependency)?;
        let schema = Arc::new(schema);
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&schema));
        Ok(schema)
    }
}

fn compile(subject: &str, version: u32, schema: &Value) -> Result<Compiled> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("compile the schema {subject} v{version}: {error}")))?;
    Ok(Compiled { subject: subject.to_owned(), version, validator })
}

/// Checks a value against a topic's schema as this binary has it, without a registry.
///
/// # Errors
/// The first violation, with its place.
pub fn validate(topic: &TopicName, value: &Value) -> std::result::Result<(), String> {
    let text = schemas::text_of(topic).ok_or_else(|| format!("topic {topic} has no schema"))?;
    let schema: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let validator = jsonschema::validator_for(&schema).map_err(|e| e.to_string())?;
    first_violation(&validator, value).map_or(Ok(()), Err)
}

/// The first way in which a value breaks a schema: its place and a sentence, cut to 500 characters.
fn first_violation(validator: &Validator, value: &Value) -> Option<String> {
    let error = validator.iter_errors(value).next()?;
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "/".to_owned() } else { place };
    Some(format!("at {place}: {error}").chars().take(500).collect())
}
