//! The dead letter of a record that is too large for its dead-letter topic: a stub, whose record is kept as an object.
//!
//! A stub has the record's key, the headers that fit, the error headers and the head of the value. It must never be sent in
//! place of the record. Therefore its header `__dlq.errors.topic` is `stub:<topic>`, which is not a topic's name: a reader
//! that does not know of stubs, such as mfctl 0.1, takes it for a dead letter of another topic and skips it.

use schemars::JsonSchema;
use serde::Serialize;

use super::dead_letter::{self, FailureContext};
use super::event::{EventEnvelope, unframe};
use super::ids::{AssetId, Sha256};
use super::kept_record::{EncodedRecord, KeptRecord};
use super::names::{BucketName, ObjectKey, ObjectRef};
use super::object_keys;
use super::record::{Header, Headers, NewRecord, Record};

/// Prefix of the headers that only stubs have.
pub const PREFIX: &str = "__dlq.stub.";

const TOPIC: &str = "__dlq.errors.topic";
const OBJECT: &str = "__dlq.stub.object";
const SHA256: &str = "__dlq.stub.sha256";
const BYTES: &str = "__dlq.stub.bytes";
const VALUE_BYTES: &str = "__dlq.stub.value_bytes";
const KEY_BYTES: &str = "__dlq.stub.key_bytes";
const ASSET_ID: &str = "__dlq.stub.asset_id";
const HEADERS_LEFT_OUT: &str = "__dlq.stub.headers_left_out";

/// What is before the topic's name in the header `__dlq.errors.topic`. Topics have no `:` in their names.
const TOPIC_PREFIX: &str = "stub:";

/// Upper bounds of what a stub holds of its record, in bytes. A larger key is replaced by its SHA-256, in hexadecimal.
const MAX_KEY_BYTES: usize = 4 << 10;
const MAX_VALUE_BYTES: usize = 16 << 10;
const MAX_HEADER_BYTES: usize = 1 << 10;
const MAX_HEADERS_BYTES: usize = 16 << 10;

/// How much of its record a stub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StubSize {
    /// Key, headers and the head of the value, within the bounds above: at most 40 KiB.
    Usual,
    /// The address, the error and the object alone: at most 4 KiB. For a topic that takes very small records.
    Smallest,
}

/// Where the record of a stub is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadLetterStub {
    /// The object with the whole record.
    pub object: ObjectRef,
    /// SHA-256 of the object.
    pub sha256: Sha256,
    /// Size of the object in bytes.
    pub object_bytes: u64,
    /// Size of the record's value in bytes; `None` for a null.
    pub value_bytes: Option<u64>,
    /// The asset of the event that the record holds; `None` if it holds none.
    pub asset_id: Option<AssetId>,
    /// Number of the record's headers that the dead letter does not hold.
    pub headers_left_out: u64,
}

/// Builds the stub of a record that is kept as `object`.
#[must_use]
pub fn stub(
    record: &Record,
    failure: &FailureContext<'_>,
    encoded: &EncodedRecord,
    object: &ObjectRef,
    size: StubSize,
) -> NewRecord {
    let (max_key, max_value, max_headers) = match size {
        StubSize::Usual => (MAX_KEY_BYTES, MAX_VALUE_BYTES, MAX_HEADERS_BYTES),
        StubSize::Smallest => (64, 0, 0),
    };
    let (mut headers, left_out) = headers_that_fit(&record.headers, max_headers);
    let message = if size == StubSize::Smallest { failure.message.get(..200) } else { None };
    let failure = FailureContext { message: message.unwrap_or(failure.message), ..failure.clone() };
    let topic = format!("{TOPIC_PREFIX}{}", record.address.topic);
    dead_letter::add_error_headers(&mut headers, record, &failure, topic);
    headers.push(OBJECT, object.to_string());
    headers.push(SHA256, encoded.sha256.to_string());
    headers.push(BYTES, encoded.bytes.len().to_string());
    if let Some(value) = &record.value {
        headers.push(VALUE_BYTES, value.len().to_string());
    }
    if let Some(asset) = asset_of(record) {
        headers.push(ASSET_ID, asset.to_string());
    }
    let mut key = record.key.clone();
    if let Some(large) = key.take_if(|key| key.len() > max_key) {
        headers.push(KEY_BYTES, large.len().to_string());
        key = Some(Sha256::of(&large).to_string().into());
    }
    if left_out > 0 {
        headers.push(HEADERS_LEFT_OUT, left_out.to_string());
    }
    NewRecord {
        topic: record.address.topic.dead_letters(),
        partition: None,
        key,
        value: record.value.as_ref().map(|value| value.slice(..value.len().min(max_value))),
        headers,
        timestamp: failure.last_failed_at,
    }
}

/// The asset of the event in a record's value.
fn asset_of(record: &Record) -> Option<AssetId> {
    let (_, json) = unframe(record.value.as_ref()).ok()?;
    serde_json::from_slice::<EventEnvelope>(&json).ok().map(|envelope| envelope.asset_id)
}

/// The record's headers, in order, as far as they fit; and how many do not.
fn headers_that_fit(all: &Headers, max_bytes: usize) -> (Headers, usize) {
    let mut kept = Headers::default();
    let mut bytes = 0;
    for header in all.0.iter().filter(|header| !dead_letter::is_own_header(&header.name)) {
        // Counted with more than its lengths need, so that many empty headers are bounded, too.
        let size = header.name.len() + header.value.as_ref().map_or(0, bytes::Bytes::len) + 8;
        if size <= MAX_HEADER_BYTES && bytes + size <= max_bytes {
            bytes += size;
            kept.0.push(header.clone());
        }
    }
    let left_out = all.0.len() - kept.0.len();
    (kept, left_out)
}

/// The topic's name in a header `__dlq.errors.topic`, of a stub or of a whole dead letter.
pub(super) fn topic_of(header: &str) -> &str {
    header.strip_prefix(TOPIC_PREFIX).unwrap_or(header)
}

impl DeadLetterStub {
    /// The stub's headers of a dead letter; `None` for a whole dead letter, and for headers that do not agree with each other,
    /// with the address of the record or with the topic: then it names an object that is not its own.
    #[must_use]
    pub fn of(dead: &Record) -> Option<Self> {
        let text = |name: &str| dead.headers.text(name);
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
        text(TOPIC)?.strip_prefix(TOPIC_PREFIX)?;
        let (bucket, key) = text(OBJECT)?.split_once('/')?;
        let object =
            ObjectRef { bucket: BucketName::new(bucket.to_owned()).ok()?, key: ObjectKey::new(key.to_owned()).ok()? };
        let sha256: Sha256 = text(SHA256)?.parse().ok()?;
        let source = dead_letter::DeadLetterInfo::from_record(dead).source?;
        let is_own = object_keys::parse_kept_record(&object.key) == Some((source.clone(), sha256));
        (is_own && source.topic == dead.address.topic.source()).then_some(Self {
            object,
            sha256,
            object_bytes: number(BYTES)?,
            value_bytes: number(VALUE_BYTES),
            asset_id: text(ASSET_ID).and_then(|text| text.parse().ok()),
            headers_left_out: number(HEADERS_LEFT_OUT).unwrap_or(0),
        })
    }

    /// The stub as a dead letter that names its topic and no object, for decisions that need neither the whole value nor all
    /// headers.
    #[must_use]
    pub fn without_stub_headers(dead: &Record) -> Record {
        let mut plain = dead.clone();
        plain.headers.remove_where(|name| name.starts_with(PREFIX));
        for header in plain.headers.0.iter_mut().filter(|header| header.name == TOPIC) {
            header.value = Some(dead.address.topic.source().to_string().into());
        }
        plain
    }

    /// The whole dead letter: the record that was kept, with the error headers of its stub.
    #[must_use]
    pub fn restore(dead: &Record, kept: KeptRecord) -> Record {
        let mut headers = kept.headers;
        headers.remove_where(dead_letter::is_own_header);
        let errors = Self::without_stub_headers(dead).headers.0;
        headers.0.extend(errors.into_iter().filter(|header: &Header| header.name.starts_with(dead_letter::PREFIX)));
        Record { key: kept.key, value: kept.value, headers, ..dead.clone() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::dead_letter::{DeadLetterInfo, FailureClass, dead_letter};
    use crate::domain::kept_record::{decode, encode};
    use crate::domain::names::topics::INGEST_RAW;
    use crate::domain::{RecordAddress, Timestamp};

    fn failure() -> FailureContext<'static> {
        FailureContext {
            topic_id: None,
            claim_holder: None,
            group: "mfctl.dev.persist",
            kind: "not_wire_format",
            class: FailureClass::Permanent,
            message: "the value does not begin with a zero byte",
            attempts: 1,
            first_failed_at: Timestamp::UNIX_EPOCH,
            last_failed_at: Timestamp::UNIX_EPOCH,
            worker: "host/0",
        }
    }

    fn large_record() -> Record {
        let mut headers = Headers::default();
        headers.push("traceparent", "00-a-b-01");
        headers.push("large", vec![b'h'; 5000]);
        headers.push("__dlq.stub.object", "forged/object");
        headers.0.push(Header { name: "null".into(), value: None });
        Record {
            address: RecordAddress { topic: INGEST_RAW, partition: 2, offset: 40 },
            key: Some(Bytes::from(vec![b'k'; 10_000])),
            value: Some(Bytes::from(vec![b'v'; 3_000_000])),
            headers,
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    fn stub_of(record: &Record, size: StubSize) -> (Record, EncodedRecord) {
        let encoded = encode(record);
        let object = ObjectRef {
            bucket: BucketName::new("myfarsi-dev-media-originals").unwrap(),
            key: object_keys::kept_record(&record.address, &encoded.sha256, 7),
        };
        let new = stub(record, &failure(), &encoded, &object, size);
        let address = RecordAddress { topic: new.topic.clone(), partition: 0, offset: 3 };
        (Record { address, key: new.key, value: new.value, headers: new.headers, timestamp: new.timestamp }, encoded)
    }

    #[test]
    fn a_stub_is_small_and_restores_the_whole_dead_letter() {
        let record = large_record();
        let whole = dead_letter(&record, &failure());
        for (size, max_bytes) in [(StubSize::Usual, 40 << 10), (StubSize::Smallest, 4 << 10)] {
            let (dead, encoded) = stub_of(&record, size);
            assert!(dead.size_bytes() <= max_bytes, "{} bytes", dead.size_bytes());
            let read = DeadLetterStub::of(&dead).unwrap();
            assert_eq!((read.sha256, read.object_bytes), (encoded.sha256, encoded.bytes.len() as u64));
            assert_eq!(read.value_bytes, Some(3_000_000));
            assert_eq!(DeadLetterInfo::from_record(&dead).source, Some(record.address.clone()));
            let restored = DeadLetterStub::restore(&dead, decode(&encoded.bytes).unwrap());
            assert_eq!((&restored.key, &restored.value), (&record.key, &record.value));
            assert_eq!(restored.headers, whole.headers, "as if it had been written whole");
        }
    }

    #[test]
    fn a_stub_names_no_topic_that_exists() {
        let (dead, _) = stub_of(&large_record(), StubSize::Usual);
        assert_eq!(dead.headers.text("__dlq.errors.topic"), Some("stub:ingest.raw"));
        assert!(super::super::TopicName::new("stub:ingest.raw").is_err());
    }

    #[test]
    fn a_stub_with_the_object_of_another_record_is_none() {
        let (dead, encoded) = stub_of(&large_record(), StubSize::Usual);
        let forge = |name: &str, value: &str| {
            let mut forged = dead.clone();
            for header in forged.headers.0.iter_mut().filter(|header| header.name == name) {
                header.value = Some(value.to_owned().into());
            }
            DeadLetterStub::of(&forged)
        };
        let other: RecordAddress = "ingest.raw:2:41".parse().unwrap();
        let other = object_keys::kept_record(&other, &encoded.sha256, 7);
        assert!(forge("nothing", "").is_some());
        for (name, value) in [
            (OBJECT, format!("myfarsi-dev-media-originals/{other}").as_str()),
            (OBJECT, "myfarsi-dev-media-originals/default/sha256/ab/cd/abcd"),
            (OBJECT, "no bucket!/x"),
            (SHA256, &"ab".repeat(32)),
            (BYTES, "-1"),
            (TOPIC, "ingest.raw"),
            (TOPIC, "stub:media.ingested"),
            ("__dlq.errors.offset", "41"),
        ] {
            assert_eq!(forge(name, value), None, "{name}: {value}");
        }
    }
}
