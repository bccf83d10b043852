//! Dead letters: a poison record unchanged, with headers that say why it failed.
//!
//! mfctl writes `__dlq.errors.*` (a superset of KIP-1191's names) and also reads the headers of Kafka Connect, Kafka
//! Streams, share groups and Spring.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asset::text_enum;
use super::claim::ClaimOwner;
use super::dead_letter_stub;
use super::event::header;
use super::ids::ParseIdError;
use super::names::{TopicId, TopicName};
use super::record::{Headers, NewRecord, Record, RecordAddress};
use std::fmt;
use std::str::FromStr;

/// Prefix of the headers that mfctl writes on a dead letter; a redrive strips them.
pub const PREFIX: &str = "__dlq.errors.";

/// Maximum length of the error message header, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;

text_enum!(
    /// Whether a retry of the unchanged record could succeed.
    FailureClass: "a failure class (transient or permanent)" {
        /// It could: the record was retried up to the limit.
        Transient = "transient",
        /// It cannot, unless the record or the code is fixed.
        Permanent = "permanent",
    }
);

/// What the kind of a dead letter points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureOrigin {
    /// The record or its file: any worker would fail with it, and no other record says anything about it.
    Record,
    /// The worker, its settings or what it depends on: a panic, a parser that cannot start, a dependency that failed until
    /// the attempts were exhausted, an unknown asset. Many of them mean that the worker is broken.
    Worker,
}

impl FailureOrigin {
    /// The origin of a failure kind. A kind that is not listed here counts against the worker.
    #[must_use]
    pub fn of_kind(kind: &str) -> Self {
        match kind {
            // The bytes of the record's value.
            "not_wire_format" | "invalid_json" | "schema_violation" | "wrong_asset_id" | "headers_lost"
            // What came of it is larger than the log takes.
            | "output_too_large" | "output_refused"
            // What the parser says of the file.
            | "malformed" | "encrypted" | "unsupported" | "parser_limit"
            // How the parser ended on the file, while it parsed the built-in samples.
            | "parser_crash" | "parser_memory" | "parser_cpu" | "parser_timeout" | "parser_output"
            // The file beside its record.
            | "checksum_mismatch"
            // What the log no longer shows of an earlier record of its asset.
            | "claim_in_doubt" => Self::Record,
            _ => Self::Worker,
        }
    }
}

/// Why a record is a dead letter, from the headers of any known writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterInfo {
    /// Address of the failed record; `None` when the writer did not add it.
    pub source: Option<RecordAddress>,
    /// Id of the failed record's topic, where the log has ids and the writer added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_topic_id: Option<TopicId>,
    /// Timestamp of the failed record.
    #[schemars(with = "Option<String>")]
    pub source_timestamp: Option<Timestamp>,
    /// Consumer group it failed in.
    pub group: Option<String>,
    /// Failure kind: a stable name such as `parser_limit`, or the class of the exception.
    pub kind: String,
    /// Whether a retry could have succeeded.
    pub class: Option<FailureClass>,
    /// Error message, at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
    /// Attempts made, the first included.
    pub attempts: Option<u32>,
    /// Time of the first failure.
    #[schemars(with = "Option<String>")]
    pub first_failed_at: Option<Timestamp>,
    /// Time of the last failure.
    #[schemars(with = "Option<String>")]
    pub last_failed_at: Option<Timestamp>,
    /// Worker that dead-lettered it.
    pub worker: Option<String>,
    /// The record that held the claim on the asset, where the record failed because what came of that one is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_holder: Option<String>,
    /// Number of redrives before this failure.
    pub redrives: u32,
    /// Format of the headers: `mfctl`, `kip-1191`, `connect`, `streams`, `spring` or `unknown`.
    pub format: String,
}

/// The most records that one redriven record replaces.
pub const MAX_REPLACED: usize = 8;

/// Value of the header `mfctl.redrive`, which a redrive sets on the record it sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveMark {
    /// Id of the redrive run.
    pub run: String,
    /// Number of redrives, this one included.
    pub count: u32,
    /// Address of the dead letter.
    pub source: String,
    /// Records whose claim the record that is sent may take, each as `<topic>:<partition>:<offset>@<topic id>`: the one that
    /// the dead letter is of, those that it was itself sent to replace, and the one that held its claim. At most
    /// [`MAX_REPLACED`]. Empty in marks of releases without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
}

impl RedriveMark {
    /// The redrive mark of these headers; `None` if it is absent or unreadable.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        headers.last(header::REDRIVE).and_then(|value| serde_json::from_slice(value).ok())
    }

    /// The records whose claim the redriven record may take.
    #[must_use]
    pub fn replaced_records(&self) -> Vec<ClaimOwner> {
        self.replaces.iter().take(MAX_REPLACED).filter_map(|owner| owner.parse().ok()).collect()
    }

    /// The records that a redrive of this dead letter replaces, latest first.
    #[must_use]
    pub fn replaced_by_redrive_of(dead: &Record) -> Vec<String> {
        let info = DeadLetterInfo::from_record(dead);
        let earlier = Self::of(&dead.headers).map(|mark| mark.replaced_records()).unwrap_or_default();
        let holder = info.claim_holder.as_deref().and_then(|holder| holder.parse().ok());
        let mut replaced: Vec<ClaimOwner> = Vec::new();
        for record in info.claim_owner().into_iter().chain(holder).chain(earlier) {
            if !replaced.contains(&record) && replaced.len() < MAX_REPLACED {
                replaced.push(record);
            }
        }
        replaced.iter().map(ToString::to_string).collect()
    }
}

text_enum!(
    /// The decision on a dead letter.
    Resolution: "a resolution (redriven, parked or discarded)" {
        /// Sent back to its topic.
        Redriven = "redriven",
        /// Moved to `<topic>.parked` after too many redrives.
        Parked = "parked",
        /// Discarded by an operator, with a reason.
        Discarded = "discarded",
    }
);

/// An entry of the redrive ledger; the key of its record is the dead letter's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// Address of the dead letter: `<dlq-topic>:<partition>:<offset>`.
    pub dead_letter: RecordAddress,
    /// Decision.
    pub resolution: Resolution,
    /// Id of the run that made the decision.
    pub run: String,
    /// Who made the decision.
    pub actor: String,
    /// Time of the decision.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Id of the dead letter's topic. After the topic was deleted and created again, the entry is not about the record at
    /// its address. Absent where the log has no ids, and in entries of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<TopicId>,
    /// Timestamp of the dead letter's record: the entry is about no other record at its address. Absent in entries of
    /// earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub dead_lettered_at: Option<Timestamp>,
    /// Reason of a discard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Topic it was sent to, for a redrive or a parking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<TopicName>,
    /// Asset of the record, where it could be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<super::AssetId>,
}

/// A worker's account of a record that it dead-letters.
#[derive(Debug, Clone)]
pub struct FailureContext<'a> {
    /// The record that holds the claim on the asset, where it is not this one and what came of it is not known.
    pub claim_holder: Option<&'a ClaimOwner>,
    /// Id of the record's topic, where the log has ids.
    pub topic_id: Option<&'a TopicId>,
    /// Consumer group.
    pub group: &'a str,
    /// Stable name of the failure kind.
    pub kind: &'a str,
    /// Whether a retry could have succeeded.
    pub class: FailureClass,
    /// Error with its causes; truncated to [`MAX_MESSAGE_BYTES`].
    pub message: &'a str,
    /// Attempts made, the first included.
    pub attempts: u32,
    /// Time of the first failure.
    pub first_failed_at: Timestamp,
    /// Time of the last failure.
    pub last_failed_at: Timestamp,
    /// Name of the worker, e.g. `host-1f0a93c4/0`.
    pub worker: &'a str,
}

/// Builds the dead letter of a record: key, value and headers byte for byte, plus the error headers. Headers of the record
/// with the names of error headers or of a stub's headers are left out.
#[must_use]
pub fn dead_letter(record: &Record, failure: &FailureContext<'_>) -> NewRecord {
    let mut headers = record.headers.clone();
    headers.remove_where(is_own_header);
    add_error_headers(&mut headers, record, failure, record.address.topic.to_string());
    NewRecord {
        topic: record.address.topic.dead_letters(),
        partition: None,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        timestamp: failure.last_failed_at,
    }
}

/// Whether mfctl writes headers of this name on dead letters.
pub(super) fn is_own_header(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(dead_letter_stub::PREFIX)
}

/// Adds the error headers of a failed record; `topic` is the value of that of its topic.
pub(super) fn add_error_headers(headers: &mut Headers, record: &Record, failure: &FailureContext<'_>, topic: String) {
    let redrives = RedriveMark::of(&record.headers).map_or(0, |mark| mark.count);
    let mut add = |name: &str, value: String| headers.push(format!("{PREFIX}{name}"), value);
    add("topic", topic);
    add("partition", record.address.partition.to_string());
    add("offset", record.address.offset.to_string());
    if let Some(id) = failure.topic_id {
        add("topic_id", id.to_string());
    }
    if let Some(holder) = failure.claim_holder {
        add("claim_holder", holder.to_string());
    }
    add("timestamp", record.timestamp.to_string());
    add("group", failure.group.to_owned());
    add("kind", failure.kind.to_owned());
    add("class", failure.class.to_string());
    add("message", truncate(failure.message, MAX_MESSAGE_BYTES).to_owned());
    add("attempts", failure.attempts.to_string());
    add("first_failed_at", failure.first_failed_at.to_string());
    add("last_failed_at", failure.last_failed_at.to_string());
    add("worker", failure.worker.to_owned());
    add("redrives", redrives.to_string());
}

/// The longest prefix of at most `max` bytes that ends between characters.
fn truncate(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

impl DeadLetterInfo {
    /// The record that a worker of mfctl claimed and dead-lettered.
    #[must_use]
    pub fn claim_owner(&self) -> Option<ClaimOwner> {
        let record = self.source.clone().filter(|_| self.format == "mfctl")?;
        Some(ClaimOwner { record, topic_id: self.source_topic_id.clone() })
    }

    /// Reads the error headers of a dead letter, in the header names of any writer above. Never fails: a header that is
    /// missing or unreadable gives `None`.
    #[must_use]
    pub fn from_record(record: &Record) -> Self {
        let headers = &record.headers;
        let has = |prefix: &str| headers.0.iter().any(|h| h.name.starts_with(prefix));
        if has(PREFIX) {
            read_dlq_errors(headers)
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
        source_topic_id: None,
        source_timestamp: None,
        group: None,
        kind: String::new(),
        class: None,
        message: String::new(),
        attempts: None,
        first_failed_at: None,
        last_failed_at: None,
        worker: None,
        claim_holder: None,
        redrives: 0,
        format: format.to_owned(),
    }
}

fn address(topic: Option<&str>, partition: Option<u32>, offset: Option<i64>) -> Option<RecordAddress> {
    let topic = TopicName::new(topic?).ok()?;
    Some(RecordAddress { topic, partition: partition?, offset: offset.filter(|offset| *offset >= 0)? })
}

/// mfctl's own headers and those of KIP-1191, which have the same prefix.
fn read_dlq_errors(headers: &Headers) -> DeadLetterInfo {
    let text = |name: &str| headers.text(&format!("{PREFIX}{name}"));
    let time = |name: &str| text(name).and_then(|t| t.parse().ok());
    let ours = text("kind").is_some();
    DeadLetterInfo {
        source: address(
            text("topic").map(dead_letter_stub::topic_of),
            text("partition").and_then(|t| t.parse().ok()),
            text("offset").and_then(|t| t.parse().ok()),
        ),
        source_topic_id: text("topic_id").and_then(|t| t.parse().ok()),
        source_timestamp: time("timestamp"),
        group: text("group").map(str::to_owned),
        kind: text("kind").unwrap_or("unknown").to_owned(),
        class: text("class").and_then(|t| t.parse().ok()),
        message: truncate(text("message").unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        attempts: text("attempts").or_else(|| text("delivery.count")).and_then(|t| t.parse().ok()),
        first_failed_at: time("first_failed_at"),
        last_failed_at: time("last_failed_at"),
        worker: text("worker").map(str::to_owned),
        claim_holder: text("claim_holder").map(str::to_owned),
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
        message: truncate(text(message).unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        redrives: RedriveMark::of(headers).map_or(0, |mark| mark.count),
        ..blank(format)
    }
}

/// Spring's headers: the partition as 4 bytes and the offset as 8 bytes, big-endian.
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
        message: truncate(text("exception-message").unwrap_or_default(), MAX_MESSAGE_BYTES).to_owned(),
        redrives: RedriveMark::of(headers).map_or(0, |mark| mark.count),
        ..blank("spring")
    }
}

/// Builds the record that a redrive sends to `topic`: key, value and headers unchanged, apart from the error headers, which
/// are stripped, and the redrive mark, which is replaced.
#[must_use]
pub fn redriven(dead: &Record, topic: TopicName, mark: &RedriveMark, now: Timestamp) -> NewRecord {
    let mut headers = dead.headers.clone();
    headers.remove_where(|name| name.starts_with(PREFIX) || name == header::REDRIVE);
    // A mark consists of strings and a number, so it always serialises.
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

    fn failure(message: &str) -> FailureContext<'_> {
        FailureContext {
            topic_id: None,
            claim_holder: None,
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
    fn a_redrive_restores_the_record_of_the_dead_letter() {
        let record = record();
        let dead = stored(dead_letter(&record, &failure("too many pixels")), 0);
        assert_eq!((&dead.key, &dead.value), (&record.key, &record.value));
        let info = DeadLetterInfo::from_record(&dead);
        assert_eq!(info.source.as_ref(), Some(&record.address));
        assert_eq!((info.kind.as_str(), info.message.as_str(), info.redrives), ("parser_limit", "too many pixels", 0));

        let mark = RedriveMark { run: "r".into(), count: 1, source: dead.address.to_string(), replaces: Vec::new() };
        let again = stored(redriven(&dead, topics::MEDIA_INGESTED, &mark, Timestamp::UNIX_EPOCH), 8);
        assert_eq!((&again.key, &again.value), (&record.key, &record.value));
        assert_eq!(again.headers.0[..2], record.headers.0[..]);
        assert_eq!(again.headers.0.len(), 3, "headers do not grow: {:?}", again.headers);
        assert_eq!(DeadLetterInfo::from_record(&stored(dead_letter(&again, &failure("again")), 1)).redrives, 1);
    }

    #[test]
    fn a_long_message_is_truncated_at_a_character_boundary() {
        let long = "ف".repeat(2000);
        let dead = stored(dead_letter(&record(), &failure(&long)), 0);
        let message = DeadLetterInfo::from_record(&dead).message;
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.chars().all(|c| c == 'ف'));
    }

    #[test]
    fn binary_headers_of_spring_are_read() {
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
    fn only_what_is_known_to_be_the_records_does_not_count_against_the_worker() {
        for kind in ["encrypted", "malformed", "parser_timeout", "invalid_json", "output_refused"] {
            assert_eq!(FailureOrigin::of_kind(kind), FailureOrigin::Record, "{kind}");
        }
        for kind in
            ["panic", "parser_start", "unknown_asset", "unreachable", "timeout", "object_denied", "some later kind"]
        {
            assert_eq!(FailureOrigin::of_kind(kind), FailureOrigin::Worker, "{kind}");
        }
    }

    #[test]
    fn malformed_headers_are_read_as_none() {
        let mut dead = record();
        dead.headers = Headers::default();
        dead.headers.push("__dlq.errors.topic", "no such topic!");
        dead.headers.push("__dlq.errors.offset", "-5");
        dead.headers.push("__dlq.errors.redrives", "many");
        let info = DeadLetterInfo::from_record(&dead);
        assert_eq!((info.source, info.redrives), (None, 0));
    }
}
