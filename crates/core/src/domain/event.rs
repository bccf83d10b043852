//! Events: what the pipeline's topics carry. Headers, values and the wire format.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{AssetId, EventId, JobId, Revision, Sha256};
use super::names::{EnvName, ObjectRef, Tenant};
use super::path::SourcePath;
use super::record::{Headers, Record};

/// Header names of the contract.
pub mod header {
    use std::borrow::Cow;

    /// The service that wrote the record; `mfctl`.
    pub const SERVICE_NAME: &str = "service.name";
    /// The environment the record belongs to. A worker that meets another's stops.
    pub const DEPLOYMENT_ENV: &str = "deployment.env";
    /// The version of the value's schema within its subject, decimal.
    pub const SCHEMA_VERSION: &str = "schema.version";
    /// The event's id.
    pub const EVENT_ID: &str = "event.id";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// What a redrive sets, replaced each time: `{"run","count","source"}`.
    pub const REDRIVE: &str = "mfctl.redrive";

    /// A header's name as it was read; one of the contract's without memory of its own, for every record has them.
    #[must_use]
    pub fn name(read: &str) -> Cow<'static, str> {
        let known = [SERVICE_NAME, DEPLOYMENT_ENV, SCHEMA_VERSION, EVENT_ID, TRACEPARENT, REDRIVE];
        known.into_iter().find(|known| *known == read).map_or_else(|| Cow::Owned(read.to_owned()), Cow::Borrowed)
    }
}

/// What was said of a file: by a manifest, a sidecar or flags.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The collection it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Tags: names with optional values (`k=v`; a bare tag has an empty value).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The operator's own fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, serde_json::Value>,
}

/// What every event carries. Read from an event of any topic it follows an asset across them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventEnvelope {
    /// The event's id; repeated in the header `event.id`.
    pub event_id: EventId,
    /// When what it tells of happened.
    #[schemars(with = "String")]
    pub occurred_at: Timestamp,
    /// The asset.
    pub asset_id: AssetId,
    /// The asset's content.
    pub sha256: Sha256,
    /// The asset's tenant.
    pub tenant: Tenant,
    /// The locale it was ingested under, BCP 47, e.g. `fa-IR`; `und` when nobody said.
    pub locale: String,
    /// The job that ingested it.
    pub job_id: JobId,
    /// Who ingested it: OIDC subject, Vault entity, else user@host.
    pub actor: String,
    /// When its bytes were staged: ingestion latency counts from here.
    #[schemars(with = "String")]
    pub staged_at: Timestamp,
    /// The revision of the asset this is about.
    pub revision: Revision,
}

/// An event: what is common, and what is its own, in one JSON object.
macro_rules! event {
    ($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
        pub struct $name {
            /// What every event carries.
            #[serde(flatten)]
            pub envelope: EventEnvelope,
            $($(#[$attribute])* pub $field: $kind,)*
        }

        // Not derived: to read a flattened struct serde first collects all that is in the object, for each event.
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
    /// `ingest.raw`: a file's bytes are in staging.
    IngestRaw {
        /// Where the bytes are.
        staging: ObjectRef,
        /// How many.
        size_bytes: u64,
        /// Their type by content.
        media_type: String,
        /// The type the file's name suggests, where it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declared_media_type: Option<String>,
        /// The file.
        source_path: SourcePath,
        /// What was said of it.
        #[serde(default)]
        metadata: Metadata,
    }
}

event! {
    /// `media.ingested`: the bytes are in the durable bucket.
    MediaIngested {
        /// Where the bytes are now.
        original: ObjectRef,
        /// How many.
        size_bytes: u64,
        /// Their type by content.
        media_type: String,
        /// The file's name, without its folders.
        file_name: String,
        /// What was said of it.
        #[serde(default)]
        metadata: Metadata,
    }
}

event! {
    /// `media.enriched`: derivatives and the search document are written.
    MediaEnriched {
        /// Its type by content.
        media_type: String,
        /// The language of its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// The derived text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<ObjectRef>,
        /// The thumbnail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thumbnail: Option<ObjectRef>,
    }
}

/// The first byte of the Confluent wire format.
const MAGIC: u8 = 0;

/// Bytes that are not in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// There is no value.
    #[error("the record has no value (a tombstone)")]
    Tombstone,
    /// Fewer bytes than the format's head.
    #[error("the value has {0} bytes, fewer than the 5 of the wire format's head")]
    Short(usize),
    /// Another first byte.
    #[error("the value begins with byte 0x{0:02x}, not with the wire format's 0x00")]
    Magic(u8),
}

/// The registry's number of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SchemaId(pub u32);

/// Puts JSON into the Confluent wire format: 0x00, the schema id as 4 bytes big-endian, the JSON.
#[must_use]
pub fn frame(schema: SchemaId, json: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(json.len() + 5);
    framed.push(MAGIC);
    framed.extend_from_slice(&schema.0.to_be_bytes());
    framed.extend_from_slice(json);
    framed.into()
}

/// Takes a value out of the wire format.
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

/// The contract's headers for an event mfctl writes.
#[must_use]
pub fn headers(env: &EnvName, schema_version: u32, event: EventId, traceparent: &str) -> Headers {
    let mut headers = Headers::default();
    headers.push(header::SERVICE_NAME, "mfctl");
    headers.push(header::DEPLOYMENT_ENV, env.as_str().to_owned());
    headers.push(header::SCHEMA_VERSION, schema_version.to_string());
    headers.push(header::EVENT_ID, event.to_string());
    headers.push(header::TRACEPARENT, traceparent.to_owned());
    headers
}

/// A W3C trace context for an asset's journey: the trace is the `ingest.raw` event, so that every hop shares it.
#[must_use]
pub fn traceparent(trace: EventId, span: EventId) -> String {
    let span_bits = span.0.as_u128() as u64 | 1; // a zero span id is invalid
    format!("00-{}-{span_bits:016x}-01", trace.0.as_simple())
}

/// The trace a record belongs to: the `ingest.raw` event that began it.
#[must_use]
pub fn trace_of(record: &Record) -> Option<EventId> {
    let trace = record.headers.text(header::TRACEPARENT)?.split('-').nth(1)?;
    (trace.len() == 32).then(|| trace.parse().ok()).flatten()
}

/// The environment a record says it belongs to.
#[must_use]
pub fn environment_of(record: &Record) -> Option<&str> {
    record.headers.text(header::DEPLOYMENT_ENV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_confluents() {
        let framed = frame(SchemaId(258), b"{}");
        assert_eq!(framed.as_ref(), &[0, 0, 0, 1, 2, b'{', b'}']);
        assert_eq!(unframe(Some(&framed)).unwrap(), (SchemaId(258), Bytes::from_static(b"{}")));
    }

    #[test]
    fn what_is_not_in_the_wire_format_says_how() {
        assert_eq!(unframe(None), Err(WireError::Tombstone));
        assert_eq!(unframe(Some(&Bytes::from_static(b"{}"))), Err(WireError::Magic(b'{')));
        assert_eq!(unframe(Some(&Bytes::from_static(&[0, 1]))), Err(WireError::Short(2)));
    }
}
