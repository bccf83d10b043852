//! Dead letters: a poison record as it came, with headers that say why it is there.
//!
//! mfctl writes `__dlq.errors.*` (the superset of KIP-1191's names) and reads those of Kafka Connect, Kafka Streams,
//! share groups and Spring as well.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asset::text_enum;
use super::event::header;
use super::ids::ParseIdError;
use super::names::TopicName;
use super::record::{Headers, NewRecord, Record, RecordAddress};
use std::fmt;
use std::str::FromStr;

/// The prefix of every header mfctl writes on a dead letter; a redrive strips them.
pub const PREFIX: &str = "__dlq.errors.";

/// The longest error message kept in a header, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;

text_enum!(
    /// Whether trying the unchanged record again could help.
    FailureClass: "a failure class (transient or permanent)" {
        /// It could: it was tried up to the limit.
        Transient = "transient",
        /// It cannot, until something is mended.
        Permanent = "permanent",
    }
);

/// Why a record is a dead letter, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterInfo {
    /// Where the record stood when it failed; `None` when the writer did not say.
    pub source: Option<RecordAddress>,
    /// The time of the record there.
    #[schemars(with = "Option<String>")]
    pub source_timestamp: Option<Timestamp>,
    /// The consumer group it failed in.
    pub group: Option<String>,
    /// What kind of failure: a short stable word such as `parser_limit`, or the exception's class.
    pub kind: String,
    /// Whether trying again could have helped.
    pub class: Option<FailureClass>,
    /// The error, at most 1 KiB.
    pub message: String,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// When it failed first.
    #[schemars(with = "Option<String>")]
    pub first_failed_at: Option<Timestamp>,
    /// When it failed last.
    #[schemars(with = "Option<String>")]
    pub last_failed_at: Option<Timestamp>,
    /// The worker that gave it up.
    pub worker: Option<String>,
    /// How often it was redriven before.
    pub redrives: u32,
    /// Whose header names these were: `mfctl`, `kip-1191`, `connect`, `streams`, `spring` or `unknown`.
    pub format: String,
}

/// What a redrive leaves on the record it sends: the value of the header `mfctl.redrive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveMark {
    /// The run that sent it.
    pub run: String,
    /// How often it was redriven, this time included.
    pub count: u32,
    /// The dead letter it was.
    pub source: String,
}

impl RedriveMark {
    /// The mark on these headers, if there is a readable one.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        headers.last(header::REDRIVE).and_then(|value| serde_json::from_slice(value).ok())
    }
}

text_enum!(
    /// What was decided of a dead letter.
    Resolution: "a resolution (redriven, parked or discarded)" {
        /// It was sent back to its topic.
        Redriven = "redriven",
        /// It had been redriven too often and was moved to `<topic>.parked`.
        Parked = "parked",
        /// An operator gave it up, with a reason.
        Discarded = "discarded",
    }
);

/// An entry of the redrive ledger; its key is the dead letter's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// The dead letter: `<dlq-topic>:<partition>:<offset>`.
    pub dead_letter: RecordAddress,
    /// What was decided.
    pub resolution: Resolution,
    /// The run that decided it.
    pub run: String,
    /// Who decided it.
    pub actor: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why, for a discard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it went, for a redrive or a parking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<TopicName>,
    /// The asset it was about, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<super::AssetId>,
}

/// What the worker knows of a record it gives up.
#[derive(Debug, Clone)]
pub struct FailureContext<'a> {
    /// The consumer group.
    pub group: &'a str,
    /// A short stable word for the kind of failure.
    pub kind: &'a str,
    /// Whether trying again could have helped.
    pub class: FailureClass,
    /// The error.
    pub message: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first_failed_at: Timestamp,
    /// When it failed last.
    pub last_failed_at: Timestamp,
    /// The worker's name.
    pub worker: &'a str,
}

/// Makes the dead letter of a record: key, value and headers byte for byte as they came, the error's headers added.
#[must_use]
pub fn dead_letter(record: &Record, why: &FailureContext<'_>) -> NewRecord {
    let mut headers = record.headers.clone();
    let redrives = RedriveMark::of(&headers).map_or(0, |mark| mark.count);
    headers.remove_where(|name| name.starts_with(PREFIX));
    let mut add = |name: &str, value: String| headers.push(format!("{PREFIX}{name}"), value);
    add("topic", record.address.topic.to_string());
    add("partition", record.address.partition.to_string());
    add("offset", record.address.offset.to_string());
    add("timestamp", record.timestamp.to_string());
    add("group", why.group.to_owned());
    add("kind", why.kind.to_owned());
    add("class", why.class.to_string());
    add("message", cut(why.message, MAX_MESSAGE_BYTES).to_owned());
    add("attempts", why.attempts.to_string());
    add("first_failed_at", why.first_failed_at.to_string());
    add("last_failed_at", why.last_failed_at.to_string());
    add("worker", why.worker.to_owned());
    add("redrives", redrives.to_string());
    NewRecord {
        topic: record.address.topic.dead_letters(),
        partition: None,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        timestamp: why.last_failed_at,
    }
}

/// The longest prefix of at most `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

impl DeadLetterInfo {
    /// Reads the error headers of a dead letter, in the header names of any writer above. Never fails: a header that is
    /// missing or unreadable gives `None`.
    #[must_use]
    pub fn from_record(record: &Record) -> Self {
        let headers = &record.headers;
        let has = |prefix: &str| headers.0.iter().any(|h| h.name.starts_with(prefix));
        if has(PREFIX) {
            read_ours(headers)
        } else if has("__connect.errors.") {
            read_named(headers, "connect", "__connect.errors.", "exception.class.name", "exception.message")
        } else if has("__streams.errors.") {
            read_named(headers, "streams", "__streams.errors.", "exception", "message")
        } else if has("kafka_dlt-") {
            read_spring(headers)
        } else {
            Self { kind: "unknown".into(), message: "no error headers".into(), ..blank("unknown") }
        }
    }
}

fn blank(format: &str) -> DeadLetterInfo {
    DeadLetterInfo {
        source: None,
        source_timestamp: None,
        group: None,
        kind: String::new(),
        class: None,
        message: String::new(),
        attempts: None,
        first_failed_at: None,
        last_failed_at: None,
        worker: None,
        redrives: 0,
        format: format.to_owned(),
    }
}

fn address(topic: Option<&str>, partition: Option<u32>, offset: Option<i64>) -> Option<RecordAddress> {
    let topic = TopicName::new(topic?).ok()?;
    Some(RecordAddress { topic, partition: partition?, offset: offset.filter(|offset| *offset >= 0)? })
}

fn read_ours(headers: &Headers) -> DeadLetterInfo {
    let text = |name: &str| headers.text(&format!("{PREFIX}{name}"));
    let time = |name: &str| text(name).and_then(|t| t.parse().ok());
    let ours = text("kind").is_some();
    DeadLetterInfo {
        source: address(
            text("topic"),
            text("partition").and_then(|t| t.parse().ok()),
            text("offset").and_then(|t| t.parse().ok()),
        ),
        source_timestamp: time("timestamp"),
        group: text("group").map(str::to_owned),
        kind: text("kind").unwrap_or("unknown").to_owned(),
        class: text("class").and_then(|t| t.parse().ok()),
        message: cut(text("message").unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        attempts: text("attempts").or_else(|| text("delivery.count")).and_then(|t| t.parse().ok()),
        first_failed_at: time("first_failed_at"),
        last_failed_at: time("last_failed_at"),
        worker: text("worker").map(str::to_owned),
        redrives: text("redrives").and_then(|t| t.parse().ok()).unwrap_or(0),
        format: if ours { "mfctl" } else { "kip-1191" }.to_owned(),
    }
}

fn read_named(headers: &Headers, format: &str, prefix: &str, class: &str, message: &str) -> DeadLetterInfo {
    let text = |name: &str| headers.text(&format!("{prefix}{name}"));
    DeadLetterInfo {
        source: address(
            text("topic"),
            text("partition").and_then(|t| t.parse().ok()),
            text("offset").and_then(|t| t.parse().ok()),
        ),
        kind: text(class).unwrap_or("unknown").to_owned(),
        message: cut(text(message).unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        redrives: RedriveMark::of(headers).map_or(0, |mark| mark.count),
        ..blank(format)
    }
}

/// Spring writes the partition as 4 and the offset as 8 bytes, big-endian.
fn read_spring(headers: &Headers) -> DeadLetterInfo {
    let text = |name: &str| headers.text(&format!("kafka_dlt-{name}"));
    let bytes = |name: &str| headers.last(&format!("kafka_dlt-{name}"));
    let partition = bytes("original-partition").and_then(|b| <[u8; 4]>::try_from(b.as_ref()).ok());
    let offset = bytes("original-offset").and_then(|b| <[u8; 8]>::try_from(b.as_ref()).ok());
    let millis = bytes("original-timestamp").and_then(|b| <[u8; 8]>::try_from(b.as_ref()).ok());
    DeadLetterInfo {
        source: address(text("original-topic"), partition.map(u32::from_be_bytes), offset.map(i64::from_be_bytes)),
        source_timestamp: millis.and_then(|b| Timestamp::from_millisecond(i64::from_be_bytes(b)).ok()),
        group: text("original-consumer-group").map(str::to_owned),
        kind: text("exception-cause-fqcn").or_else(|| text("exception-fqcn")).unwrap_or("unknown").to_owned(),
        message: cut(text("exception-message").unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        redrives: RedriveMark::of(headers).map_or(0, |mark| mark.count),
        ..blank("spring")
    }
}

/// The record that a redrive sends: to `topic`, key, value and headers kept, error headers stripped, one mark set.
#[must_use]
pub fn redriven(dead: &Record, topic: TopicName, mark: &RedriveMark, now: Timestamp) -> NewRecord {
    let mut headers = dead.headers.clone();
    headers.remove_where(|name| name.starts_with(PREFIX) || name == header::REDRIVE);
    // A mark is plain strings and a number: it always has a JSON form.
    headers.push(header::REDRIVE, serde_json::to_vec(mark).unwrap_or_default());
    NewRecord { topic, partition: None, key: dead.key.clone(), value: dead.value.clone(), headers, timestamp: now }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::names::topics;

    fn record() -> Record {
        let mut headers = Headers::default();
        headers.push("traceparent", "00-a-b-01");
        headers.push("x", vec![0xff, 0x00]);
        Record {
            address: RecordAddress { topic: topics::MEDIA_INGESTED, partition: 3, offset: 7 },
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(&[0, 1, 2])),
            headers,
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    fn why(message: &str) -> FailureContext<'_> {
        FailureContext {
            group: "mfctl.dev.enrich",
            kind: "parser_limit",
            class: FailureClass::Permanent,
            message,
            attempts: 1,
            first_failed_at: Timestamp::UNIX_EPOCH,
            last_failed_at: Timestamp::UNIX_EPOCH,
            worker: "host/0",
        }
    }

    fn stored(new: NewRecord, offset: i64) -> Record {
        Record {
            address: RecordAddress { topic: new.topic, partition: 0, offset },
            key: new.key,
            value: new.value,
            headers: new.headers,
            timestamp: new.timestamp,
        }
    }

    #[test]
    fn a_dead_letter_keeps_the_record_and_a_redrive_gives_it_back() {
        let record = record();
        let dead = stored(dead_letter(&record, &why("too many pixels")), 0);
        assert_eq!((&dead.key, &dead.value), (&record.key, &record.value));
        let info = DeadLetterInfo::from_record(&dead);
        assert_eq!(info.source.as_ref(), Some(&record.address));
        assert_eq!((info.kind.as_str(), info.message.as_str(), info.redrives), ("parser_limit", "too many pixels", 0));

        let mark = RedriveMark { run: "r".into(), count: 1, source: dead.address.to_string() };
        let again = stored(redriven(&dead, topics::MEDIA_INGESTED, &mark, Timestamp::UNIX_EPOCH), 8);
        assert_eq!((&again.key, &again.value), (&record.key, &record.value));
        assert_eq!(again.headers.0[..2], record.headers.0[..]);
        assert_eq!(again.headers.0.len(), 3, "headers do not grow: {:?}", again.headers);
        assert_eq!(DeadLetterInfo::from_record(&stored(dead_letter(&again, &why("again")), 1)).redrives, 1);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ف".repeat(2000);
        let dead = stored(dead_letter(&record(), &why(&long)), 0);
        let message = DeadLetterInfo::from_record(&dead).message;
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.chars().all(|c| c == 'ف'));
    }

    #[test]
    fn springs_binary_headers_are_read() {
        let mut dead = record();
        dead.headers = Headers::default();
        dead.headers.push("kafka_dlt-original-topic", "orders");
        dead.headers.push("kafka_dlt-original-partition", 5i32.to_be_bytes().to_vec());
        dead.headers.push("kafka_dlt-original-offset", 99i64.to_be_bytes().to_vec());
        dead.headers.push("kafka_dlt-exception-fqcn", "java.lang.IllegalStateException");
        let info = DeadLetterInfo::from_record(&dead);
        assert_eq!(info.source.unwrap().to_string(), "orders:5:99");
        assert_eq!((info.kind.as_str(), info.format.as_str()), ("java.lang.IllegalStateException", "spring"));
    }

    #[test]
    fn hostile_headers_give_nothing_rather_than_nonsense() {
        let mut dead = record();
        dead.headers = Headers::default();
        dead.headers.push("__dlq.errors.topic", "no such topic!");
        dead.headers.push("__dlq.errors.offset", "-5");
        dead.headers.push("__dlq.errors.redrives", "many");
        let info = DeadLetterInfo::from_record(&dead);
        assert_eq!((info.source, info.redrives), (None, 0));
    }
}
