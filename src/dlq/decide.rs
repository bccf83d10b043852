//! What a redrive does with one dead letter: a pure decision, the same for a dry run, for `show` and for the run.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use mfctl_core::domain::dead_letter::{self, DeadLetterInfo, RedriveMark};
use mfctl_core::domain::event::header;
use mfctl_core::domain::{EnvName, NewRecord, Record, RecordAddress, Timestamp, TopicName, record_limits};

/// Why a selected dead letter is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// There is no record at the address.
    NotFound,
    /// It is parked, and `--from-parked` was not given.
    Parked,
    /// Its headers name another source topic than that of its dead-letter topic.
    SourceMismatch,
    /// Its source topic does not exist.
    SourceMissing,
    /// It belongs to another environment, whose workers would stop at it.
    OtherEnvironment,
    /// It is larger than its topic takes.
    TooLarge,
    /// Its record had headers that could not be read, and that are not in the dead letter.
    HeadersLost,
    /// The log refused it for its topic.
    Refused,
    /// It holds only the head of its record, and the whole record is not in the object store.
    KeptRecordMissing,
    /// It holds only the head of its record, and what is in the object store is not that record.
    KeptRecordDamaged,
    /// It holds only the head of its record, and the object store does not let the whole record be read.
    KeptRecordDenied,
}

impl SkipReason {
    /// The reason in a sentence, for reports.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "there is no record at that address",
            Self::Parked => "it is parked: redriven too often; --from-parked sends it nevertheless",
            Self::SourceMismatch => "its headers name another source topic than that of its dead-letter topic",
            Self::SourceMissing => "its source topic does not exist",
            Self::OtherEnvironment => {
                "it belongs to another environment (header deployment.env, or the bucket of its kept record)"
            }
            Self::TooLarge => "it is larger than its topic takes",
            Self::HeadersLost => "its record had headers that could not be read, and they are not in the dead letter",
            Self::Refused => "the log refused it: it is larger than its topic takes, or not valid there",
            Self::KeptRecordMissing => {
                "it holds only the head of its record, and the whole record is missing from the object store"
            }
            Self::KeptRecordDamaged => {
                "it holds only the head of its record, and the object with the whole record is damaged"
            }
            Self::KeptRecordDenied => {
                "it holds only the head of its record, and the object store denies the object with the whole record"
            }
        }
    }
}

/// What a decision depends on beside the dead letter.
#[derive(Debug, Clone)]
pub struct RedriveRules {
    /// This environment.
    pub env: EnvName,
    /// A dead letter that was redriven this often is parked instead.
    pub max_redrives: u32,
    /// Whether parked records are redriven.
    pub from_parked: bool,
    /// Every topic of the log.
    pub topics: BTreeSet<TopicName>,
    /// See [`mfctl_core::ports::EventLog::limits_compressed_records`].
    pub limits_compressed_records: bool,
}

impl RedriveRules {
    /// Whether the log takes a record of this size, or may take it.
    fn may_take(&self, record: &NewRecord) -> bool {
        is_within_limits(record) || (self.limits_compressed_records && record_limits::may_compress(record))
    }
}

/// Whether the log is sure to take a record of this size, unless its topic has a lower limit than others.
#[must_use]
pub fn is_within_limits(record: &NewRecord) -> bool {
    record_limits::check(record).is_ok()
}

/// What a redrive does with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveDecision {
    /// Send it to its source topic; this is its `count`th redrive.
    Redrive {
        /// Redrives, this one included.
        count: u32,
    },
    /// Send it to the parked topic: it was redriven `count` times already.
    Park {
        /// Redrives so far.
        count: u32,
    },
    /// Leave it in its topic.
    Skip(SkipReason),
}

/// Decides about one dead letter without a ledger entry. About a stub, this is a first decision: it needs
/// [`mfctl_core::domain::dead_letter_stub::DeadLetterStub::without_stub_headers`], and for a redrive a second one, about the whole dead letter.
#[must_use]
pub fn decide_redrive(record: &Record, info: &DeadLetterInfo, rules: &RedriveRules) -> RedriveDecision {
    let topic = &record.address.topic;
    let parked = topic.is_parked();
    if parked && !rules.from_parked {
        return RedriveDecision::Skip(SkipReason::Parked);
    }
    if names_other_source(record, info) {
        return RedriveDecision::Skip(SkipReason::SourceMismatch);
    }
    if !rules.topics.contains(&topic.source()) {
        return RedriveDecision::Skip(SkipReason::SourceMissing);
    }
    if record.headers.last(header::DEPLOYMENT_ENV).is_some_and(|env| env.as_ref() != rules.env.as_str().as_bytes()) {
        return RedriveDecision::Skip(SkipReason::OtherEnvironment);
    }
    if record.headers.last(header::HEADERS_LOST).is_some() {
        return RedriveDecision::Skip(SkipReason::HeadersLost);
    }
    let count = if parked { 0 } else { redrive_count(record, info) };
    let decision = if !parked && count >= rules.max_redrives {
        RedriveDecision::Park { count }
    } else {
        RedriveDecision::Redrive { count: count.saturating_add(1) }
    };
    match record_to_send(record, decision, "00000000-0000-0000-0000-000000000000", Timestamp::UNIX_EPOCH) {
        Some(new) if !rules.may_take(&new) => RedriveDecision::Skip(SkipReason::TooLarge),
        _ => decision,
    }
}

/// How often it was redriven: the larger count of its redrive mark and its error headers.
#[must_use]
pub fn redrive_count(record: &Record, info: &DeadLetterInfo) -> u32 {
    RedriveMark::of(&record.headers).map_or(0, |mark| mark.count).max(info.redrives)
}

/// Whether the headers name a source other than that of the dead-letter topic. Absent headers name none.
fn names_other_source(record: &Record, info: &DeadLetterInfo) -> bool {
    let source = record.address.topic.source();
    if info.source.as_ref().is_some_and(|named| named.topic != source) {
        return true;
    }
    // A source that is no valid address (a hostile name, no offset) is read as none: compare the raw headers too.
    const SOURCE_HEADERS: [&str; 4] =
        ["__dlq.errors.topic", "__connect.errors.topic", "__streams.errors.topic", "kafka_dlt-original-topic"];
    SOURCE_HEADERS
        .iter()
        .filter_map(|name| record.headers.last(name))
        .any(|named| named.as_ref() != source.as_str().as_bytes())
}

/// The record that carries out a decision; `None` for a skip. Key, value and the other headers stay as they are.
#[must_use]
pub fn record_to_send(dead: &Record, decision: RedriveDecision, run: &str, now: Timestamp) -> Option<NewRecord> {
    let replaces = RedriveMark::replaced_by_redrive_of(dead);
    let source = dead.address.to_string();
    let mark = |count| RedriveMark { run: run.to_owned(), count, source: source.clone(), replaces: replaces.clone() };
    let source = dead.address.topic.source();
    match decision {
        RedriveDecision::Redrive { count } => Some(dead_letter::redriven(dead, source, &mark(count), now)),
        RedriveDecision::Park { count } => Some(parked_record(dead, &mark(count), now)),
        RedriveDecision::Skip(_) => None,
    }
}

/// The record for the parked topic. Its error headers stay, for the operator who inspects it.
fn parked_record(dead: &Record, mark: &RedriveMark, now: Timestamp) -> NewRecord {
    let mut headers = dead.headers.clone();
    headers.remove_where(|name| name == header::REDRIVE);
    // A mark is strings and a number, which always serialise.
    headers.push(header::REDRIVE, serde_json::to_vec(mark).unwrap_or_default());
    NewRecord {
        topic: dead.address.topic.source().parked(),
        partition: None,
        key: dead.key.clone(),
        value: dead.value.clone(),
        headers,
        timestamp: now,
    }
}

/// The asset a record is about, by its key.
#[must_use]
pub fn asset_of(record: &Record) -> Option<mfctl_core::domain::AssetId> {
    std::str::from_utf8(record.key.as_deref()?).ok()?.parse().ok()
}

/// A selected dead letter that was left where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Skipped")]
pub struct SkippedDeadLetter {
    /// The dead letter.
    pub id: RecordAddress,
    /// The reason, as a stable word.
    pub reason: SkipReason,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use mfctl_core::domain::Headers;

    fn rules() -> RedriveRules {
        RedriveRules {
            env: EnvName::new("dev").unwrap(),
            max_redrives: 3,
            from_parked: false,
            topics: [TopicName::known("media.ingested")].into(),
            limits_compressed_records: false,
        }
    }

    fn record(topic: &str, headers: &[(&'static str, &str)]) -> Record {
        let mut all = Headers::default();
        headers.iter().for_each(|(name, value)| all.push(*name, (*value).to_owned()));
        Record {
            address: RecordAddress { topic: TopicName::new(topic).unwrap(), partition: 0, offset: 5 },
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: all,
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    fn decided(record: &Record, rules: &RedriveRules) -> RedriveDecision {
        decide_redrive(record, &DeadLetterInfo::from_record(record), rules)
    }

    #[test]
    fn redrives_end_at_the_limit_with_parking() {
        for (redrives, expected) in [
            ("0", RedriveDecision::Redrive { count: 1 }),
            ("2", RedriveDecision::Redrive { count: 3 }),
            ("3", RedriveDecision::Park { count: 3 }),
            ("4294967295", RedriveDecision::Park { count: u32::MAX }),
        ] {
            let dead = record("media.ingested.dlq", &[("__dlq.errors.redrives", redrives)]);
            assert_eq!(decided(&dead, &rules()), expected, "{redrives}");
        }
        let mark = r#"{"run":"r","count":3,"source":"x"}"#;
        let lowered = record("media.ingested.dlq", &[("mfctl.redrive", mark), ("__dlq.errors.redrives", "0")]);
        assert_eq!(decided(&lowered, &rules()), RedriveDecision::Park { count: 3 }, "a header cannot lower the count");
    }

    #[test]
    fn headers_do_not_choose_the_target_topic() {
        let other_topics = ["mfctl.audit", "no such topic!", "", "media.ingested.dlq", "ingest.raw"]
            .map(|t| ("__dlq.errors.topic", t));
        let other_writers = [("__connect.errors.topic", "orders"), ("kafka_dlt-original-topic", "orders")];
        for claim in other_topics.into_iter().chain(other_writers) {
            let dead = record("media.ingested.dlq", &[claim]);
            assert_eq!(decided(&dead, &rules()), RedriveDecision::Skip(SkipReason::SourceMismatch), "{claim:?}");
        }
        let without_source = record("media.ingested.dlq", &[]);
        let sent =
            record_to_send(&without_source, decided(&without_source, &rules()), "r", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(sent.topic.as_str(), "media.ingested");
        let lost = record("media.ingested.dlq", &[("mfctl.headers_lost", "too many")]);
        assert_eq!(decided(&lost, &rules()), RedriveDecision::Skip(SkipReason::HeadersLost));
        let unknown_source = record("orders.dlq", &[]);
        assert_eq!(decided(&unknown_source, &rules()), RedriveDecision::Skip(SkipReason::SourceMissing));
        let prod = record("media.ingested.dlq", &[("deployment.env", "prod")]);
        assert_eq!(decided(&prod, &rules()), RedriveDecision::Skip(SkipReason::OtherEnvironment));
    }

    #[test]
    fn a_parked_record_is_redriven_only_on_request_with_its_count_reset() {
        let parked = record("media.ingested.parked", &[("__dlq.errors.redrives", "3")]);
        assert_eq!(decided(&parked, &rules()), RedriveDecision::Skip(SkipReason::Parked));
        let from_parked = RedriveRules { from_parked: true, ..rules() };
        assert_eq!(decided(&parked, &from_parked), RedriveDecision::Redrive { count: 1 });
    }

    #[test]
    fn parking_keeps_the_error_headers() {
        let dead = record("media.ingested.dlq", &[("__dlq.errors.kind", "x"), ("__dlq.errors.redrives", "3")]);
        let sent = record_to_send(&dead, decided(&dead, &rules()), "run", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((sent.topic.as_str(), &sent.value), ("media.ingested.parked", &dead.value));
        assert_eq!(sent.headers.text("__dlq.errors.kind"), Some("x"));
        let mark = RedriveMark::of(&sent.headers).unwrap();
        assert_eq!((mark.count, mark.source.as_str()), (3, "media.ingested.dlq:0:5"));
    }

    #[test]
    fn a_record_over_the_size_limit_is_skipped() {
        let mut dead = record("media.ingested.dlq", &[]);
        dead.value = Some(Bytes::from(vec![b'x'; record_limits::MAX_RECORD_BYTES - 1]));
        assert_eq!(decided(&dead, &rules()), RedriveDecision::Redrive { count: 1 }, "the redrive mark has room");
        dead.value = Some(Bytes::from(vec![b'x'; record_limits::MAX_RECORD_BYTES + 1024]));
        assert_eq!(decided(&dead, &rules()), RedriveDecision::Skip(SkipReason::TooLarge));
        let compressing = RedriveRules { limits_compressed_records: true, ..rules() };
        assert_eq!(decided(&dead, &compressing), RedriveDecision::Redrive { count: 1 }, "the log decides");
        dead.value = Some(Bytes::from(vec![b'x'; record_limits::MAX_COMPRESSIBLE_BYTES]));
        assert_eq!(decided(&dead, &compressing), RedriveDecision::Skip(SkipReason::TooLarge));
    }
}
