//! Events of the pipeline's topics: headers, values and the wire format.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{AssetId, EventId, JobId, Revision, Sha256};
use super::names::{EnvName, ObjectRef, Tenant};
use super::path::SourcePath;
use super::record::{Headers, Record};

/// Header names of the pipeline's records.
pub mod header {
    use std::borrow::Cow;

    /// Service that wrote the record: `mfctl`.
    pub const SERVICE_NAME: &str = "service.name";
    /// Environment of the record. A worker stops at a record of another environment.
    pub const DEPLOYMENT_ENV: &str = "deployment.env";
    /// Version of the value's schema within its subject, decimal.
    pub const SCHEMA_VERSION: &str = "schema.version";
    /// Id of the event.
    pub const EVENT_ID: &str = "event.id";
    /// W3C trace context (`traceparent`).
    pub const TRACEPARENT: &str = "traceparent";
    /// Mark that each redrive replaces: `{"run","count","source"}`.
    pub const REDRIVE: &str = "mfctl.redrive";

    /// Stands for headers that Kafka's client cannot read: there are more than [`crate::domain::record_limits::MAX_HEADERS`].
    /// Its value is the reason.
    pub const HEADERS_LOST: &str = "mfctl.headers_lost";

    /// A header name as read, without an allocation for the names above, which every record has.
    #[must_use]
    pub fn name(read: &str) -> Cow<'static, str> {
        let known = [SERVICE_NAME, DEPLOYMENT_ENV, SCHEMA_VERSION, EVENT_ID, TRACEPARENT, REDRIVE];
        known.into_iter().find(|known| *known == read).map_or_else(|| Cow::Owned(read.to_owned()), Cow::Borrowed)
    }
}

/// Metadata given for a file by a manifest, a sidecar or flags.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Title of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Collection of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Tags with their values (`k=v`); the value of a bare tag is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Custom fields of the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, serde_json::Value>,
}

/// The fields that every event has, whatever its topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventEnvelope {
    /// Event id; repeated in the header `event.id`.
    pub event_id: EventId,
    /// Time of what the event reports.
    #[schemars(with = "String")]
    pub occurred_at: Timestamp,
    /// Asset of the event.
    pub asset_id: AssetId,
    /// Digest of the asset's content.
    pub sha256: Sha256,
    /// Tenant of the asset.
    pub tenant: Tenant,
    /// Locale given at ingestion, BCP 47, e.g. `fa-IR`; `und` when none was given.
    pub locale: String,
    /// Job that ingested the asset.
    pub job_id: JobId,
    /// Who ingested it: OIDC subject, Vault entity, else user@host.
    pub actor: String,
    /// Time of staging, the start of the ingestion latency.
    #[schemars(with = "String")]
    pub staged_at: Timestamp,
    /// Revision of the asset.
    pub revision: Revision,
}

/// An event: the envelope and the event's own fields, in one JSON object.
macro_rules! event {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
        pub struct $name {
            /// Fields of every event.
            #[serde(flatten)]
            pub envelope: EventEnvelope,
            $($(#[$attribute])* pub $field: $kind,)*
        }

        // Not derived: for a flattened struct serde first buffers the whole object, for each event.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                struct Flat {
                    event_id: EventId,
                    occurred_at: Timestamp,
                    asset_id: AssetId,
                    sha256: Sha256,
                    tenant: Tenant,
                    locale: String,
                    job_id: JobId,
                    actor: String,
                    staged_at: Timestamp,
                    revision: Revision,
                    $($(#[$attribute])* $field: $kind,)*
                }
                let flat = Flat::deserialize(deserializer)?;
                let envelope = EventEnvelope {
                    event_id: flat.event_id,
                    occurred_at: flat.occurred_at,
                    asset_id: flat.asset_id,
                    sha256: flat.sha256,
                    tenant: flat.tenant,
                    locale: flat.locale,
                    job_id: flat.job_id,
                    actor: flat.actor,
                    staged_at: flat.staged_at,
                    revision: flat.revision,
                };
                Ok(Self { envelope, $($field: flat.$field,)* })
            }
        }
    };
}

event! {
    /// `ingest.raw`: the bytes of a file are staged.
    IngestRaw {
        /// Object with the staged bytes.
        staging: ObjectRef,
        /// Size in bytes.
        size_bytes: u64,
        /// Media type by content.
        media_type: String,
        /// Media type that the file name suggests, where it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declared_media_type: Option<String>,
        /// Source file.
        source_path: SourcePath,
        /// Metadata given at ingestion.
        #[serde(default)]
        metadata: Metadata,
    }
}

event! {
    /// `media.ingested`: the bytes are in the bucket of originals.
    MediaIngested {
        /// Original object.
        original: ObjectRef,
        /// Size in bytes.
        size_bytes: u64,
        /// Media type by content.
        media_type: String,
        /// File name without its folders.
        file_name: String,
        /// Metadata given at ingestion.
        #[serde(default)]
        metadata: Metadata,
    }
}

event! {
    /// `media.enriched`: derivatives and the search document are written.
    MediaEnriched {
        /// Media type by content.
        media_type: String,
        /// Language of the text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// Object with the extracted text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<ObjectRef>,
        /// Object with the thumbnail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thumbnail: Option<ObjectRef>,
    }
}

event! {
    /// `media.asset_revoked`: the asset was taken down.
    AssetRevoked {
        /// Why, in the operator's words.
        reason: String,
    }
}

/// The first byte of the Confluent wire format.
const MAGIC: u8 = 0;

/// A value that is not in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The record has no value.
    #[error("the record has no value (a tombstone)")]
    Tombstone,
    /// The value is shorter than the header of the format.
    #[error("the value has {0} bytes, fewer than the 5 of the wire format's head")]
    Short(usize),
    /// The first byte is not the magic byte.
    #[error("the value begins with byte 0x{0:02x}, not with the wire format's 0x00")]
    Magic(u8),
}

/// Id of a schema in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SchemaId(pub u32);

/// Encodes JSON in the Confluent wire format: 0x00, the schema id as 4 bytes big-endian, the JSON.
#[must_use]
pub fn frame(schema: SchemaId, json: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(json.len() + 5);
    framed.push(MAGIC);
    framed.extend_from_slice(&schema.0.to_be_bytes());
    framed.extend_from_slice(json);
    framed.into()
}

/// Decodes a value of the Confluent wire format.
///
/// # Errors
/// [`WireError`] for a tombstone, a short value or another first byte.
pub fn unframe(value: Option<&Bytes>) -> Result<(SchemaId, Bytes), WireError> {
    let value = value.ok_or(WireError::Tombstone)?;
    match value.as_ref() {
        [MAGIC, a, b, c, d, ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), value.slice(5..))),
        [MAGIC, ..] | [] => Err(WireError::Short(value.len())),
        [other, ..] => Err(WireError::Magic(*other)),
    }
}

/// The headers of an event that mfctl writes.
#[must_use]
pub fn event_headers(env: &EnvName, schema_version: u32, event: EventId, traceparent: &str) -> Headers {
    let mut headers = Headers::default();
    headers.push(header::SERVICE_NAME, "mfctl");
    headers.push(header::DEPLOYMENT_ENV, env.as_str().to_owned());
    headers.push(header::SCHEMA_VERSION, schema_version.to_string());
    headers.push(header::EVENT_ID, event.to_string());
    headers.push(header::TRACEPARENT, traceparent.to_owned());
    headers
}

/// A W3C trace context. The trace id is that of the `ingest.raw` event, so that every stage shares it.
#[must_use]
pub fn traceparent(trace: EventId, span: EventId) -> String {
    let span_bits = span.0.as_u128() as u64 | 1; // a span id of zero is invalid
    format!("00-{}-{span_bits:016x}-01", trace.0.as_simple())
}

/// The trace of a record: the id of the `ingest.raw` event that started it.
#[must_use]
pub fn trace_of(record: &Record) -> Option<EventId> {
    let trace = record.headers.text(header::TRACEPARENT)?.split('-').nth(1)?;
    (trace.len() == 32).then(|| trace.parse().ok()).flatten()
}

/// The environment in a record's headers.
#[must_use]
pub fn environment_of(record: &Record) -> Option<&str> {
    record.headers.text(header::DEPLOYMENT_ENV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_framed_in_the_confluent_wire_format() {
        let framed = frame(SchemaId(258), b"{}");
        assert_eq!(framed.as_ref(), &[0, 0, 0, 1, 2, b'{', b'}']);
        assert_eq!(unframe(Some(&framed)).unwrap(), (SchemaId(258), Bytes::from_static(b"{}")));
    }

    #[test]
    fn values_outside_the_wire_format_are_refused() {
        assert_eq!(unframe(None), Err(WireError::Tombstone));
        assert_eq!(unframe(Some(&Bytes::from_static(b"{}"))), Err(WireError::Magic(b'{')));
        assert_eq!(unframe(Some(&Bytes::from_static(&[0, 1]))), Err(WireError::Short(2)));
    }
}
