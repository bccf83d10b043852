//! What is to happen to one dead letter: a pure decision, made the same way for a dry run, for `show` and for the run.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use mfctl_core::domain::dead_letter::{self, DeadLetterInfo, RedriveMark};
use mfctl_core::domain::event::header;
use mfctl_core::domain::{EnvName, NewRecord, Record, RecordAddress, Timestamp, TopicName};

/// The largest record a log takes, in bytes of key, value and headers.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Why a selected dead letter is left where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// No record stands at that address.
    NotFound,
    /// It is parked, and nobody said `--from-parked`.
    Parked,
    /// Its headers name another source than its topic does.
    SourceMismatch,
    /// The topic it came from does not exist.
    SourceMissing,
    /// It belongs to another environment, whose workers would stop at it.
    OtherEnvironment,
    /// It would be over the log's limit for a record.
    TooLarge,
}

impl SkipReason {
    /// A sentence for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "no record stands at that address",
            Self::Parked => "it is parked: redriven too often; --from-parked sends it all the same",
            Self::SourceMismatch => "its headers name another source topic than the dead-letter topic it stands in",
            Self::SourceMissing => "the topic it came from does not exist",
            Self::OtherEnvironment => "it belongs to another environment (header deployment.env)",
            Self::TooLarge => "it would be larger than the log takes (1 MiB)",
        }
    }
}

/// What the rules need to know.
#[derive(Debug, Clone)]
pub struct Rules {
    /// This environment.
    pub env: EnvName,
    /// Redriven this often, a dead letter is parked instead.
    pub max_redrives: u32,
    /// Whether parked records may go back to work.
    pub from_parked: bool,
    /// Every topic of the log.
    pub topics: BTreeSet<TopicName>,
}

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Back to the topic it came from; this will be its `count`th redrive.
    Redrive {
        /// This redrive included.
        count: u32,
    },
    /// To the parked topic: it was redriven `count` times already.
    Park {
        /// How often.
        count: u32,
    },
    /// Nothing.
    Skip(SkipReason),
}

/// Decides about one dead letter that the ledger does not know.
#[must_use]
pub fn decide(record: &Record, info: &DeadLetterInfo, rules: &Rules) -> Decision {
    let topic = &record.address.topic;
    let parked = topic.is_parked();
    if parked && !rules.from_parked {
        return Decision::Skip(SkipReason::Parked);
    }
    if claims_other_source(record, info) {
        return Decision::Skip(SkipReason::SourceMismatch);
    }
    if !rules.topics.contains(&topic.source()) {
        return Decision::Skip(SkipReason::SourceMissing);
    }
    if record.headers.last(header::DEPLOYMENT_ENV).is_some_and(|env| env.as_ref() != rules.env.as_str().as_bytes()) {
        return Decision::Skip(SkipReason::OtherEnvironment);
    }
    let count = if parked { 0 } else { redrives(record, info) };
    let decision = if !parked && count >= rules.max_redrives {
        Decision::Park { count }
    } else {
        Decision::Redrive { count: count.saturating_add(1) }
    };
    match to_send(record, decision, "00000000-0000-0000-0000-000000000000", Timestamp::UNIX_EPOCH) {
        Some(new) if new.size_bytes() > MAX_RECORD_BYTES => Decision::Skip(SkipReason::TooLarge),
        _ => decision,
    }
}

/// How often it was redriven: its mark and its headers, whichever says more.
#[must_use]
pub fn redrives(record: &Record, info: &DeadLetterInfo) -> u32 {
    RedriveMark::of(&record.headers).map_or(0, |mark| mark.count).max(info.redrives)
}

/// Whether the headers name a source that is not the topic this dead-letter topic belongs to. Nothing said is no claim.
fn claims_other_source(record: &Record, info: &DeadLetterInfo) -> bool {
    let source = record.address.topic.source();
    if info.source.as_ref().is_some_and(|claimed| claimed.topic != source) {
        return true;
    }
    // A claim that is no address (a hostile name, no offset) is read as none: look at the words themselves.
    const CLAIMS: [&str; 4] =
        ["__dlq.errors.topic", "__connect.errors.topic", "__streams.errors.topic", "kafka_dlt-original-topic"];
    CLAIMS.iter().filter_map(|name| record.headers.last(name)).any(|claim| claim.as_ref() != source.as_str().as_bytes())
}

/// The record that carries out a decision; `None` for a skip. Key, value and the other headers stay as they are.
#[must_use]
pub fn to_send(dead: &Record, decision: Decision, run: &str, now: Timestamp) -> Option<NewRecord> {
    let mark = |count| RedriveMark { run: run.to_owned(), count, source: dead.address.to_string() };
    let source = dead.address.topic.source();
    match decision {
        Decision::Redrive { count } => Some(dead_letter::redriven(dead, source, &mark(count), now)),
        Decision::Park { count } => Some(parked(dead, &mark(count), now)),
        Decision::Skip(_) => None,
    }
}

/// The record that goes to the parked topic: its error headers stay, for a person will want them.
fn parked(dead: &Record, mark: &RedriveMark, now: Timestamp) -> NewRecord {
    let mut headers = dead.headers.clone();
    headers.remove_where(|name| name == header::REDRIVE);
    // A mark is plain strings and a number: it always has a JSON form.
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
pub struct Skipped {
    /// The dead letter.
    pub id: RecordAddress,
    /// Why, as a word.
    pub reason: SkipReason,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use mfctl_core::domain::Headers;

    fn rules() -> Rules {
        Rules {
            env: EnvName::new("dev").unwrap(),
            max_redrives: 3,
            from_parked: false,
            topics: [TopicName::known("media.ingested")].into(),
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

    fn decided(record: &Record, rules: &Rules) -> Decision {
        decide(record, &DeadLetterInfo::from_record(record), rules)
    }

    #[test]
    fn a_dead_letter_goes_back_until_it_was_back_three_times() {
        for (redrives, expected) in [
            ("0", Decision::Redrive { count: 1 }),
            ("2", Decision::Redrive { count: 3 }),
            ("3", Decision::Park { count: 3 }),
            ("4294967295", Decision::Park { count: u32::MAX }),
        ] {
            let dead = record("media.ingested.dlq", &[("__dlq.errors.redrives", redrives)]);
            assert_eq!(decided(&dead, &rules()), expected, "{redrives}");
        }
        let mark = r#"{"run":"r","count":3,"source":"x"}"#;
        let forgetful = record("media.ingested.dlq", &[("mfctl.redrive", mark), ("__dlq.errors.redrives", "0")]);
        assert_eq!(decided(&forgetful, &rules()), Decision::Park { count: 3 }, "a header cannot lower the count");
    }

    #[test]
    fn hostile_headers_do_not_choose_where_a_record_goes() {
        let elsewhere = ["mfctl.audit", "no such topic!", "", "media.ingested.dlq", "ingest.raw"]
            .map(|t| ("__dlq.errors.topic", t));
        let foreign = [("__connect.errors.topic", "orders"), ("kafka_dlt-original-topic", "orders")];
        for claim in elsewhere.into_iter().chain(foreign) {
            let dead = record("media.ingested.dlq", &[claim]);
            assert_eq!(decided(&dead, &rules()), Decision::Skip(SkipReason::SourceMismatch), "{claim:?}");
        }
        let nothing_said = record("media.ingested.dlq", &[]);
        let sent = to_send(&nothing_said, decided(&nothing_said, &rules()), "r", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(sent.topic.as_str(), "media.ingested");
        let nowhere = record("orders.dlq", &[]);
        assert_eq!(decided(&nowhere, &rules()), Decision::Skip(SkipReason::SourceMissing));
        let prod = record("media.ingested.dlq", &[("deployment.env", "prod")]);
        assert_eq!(decided(&prod, &rules()), Decision::Skip(SkipReason::OtherEnvironment));
    }

    #[test]
    fn a_parked_record_goes_back_only_when_asked_and_starts_anew() {
        let parked = record("media.ingested.parked", &[("__dlq.errors.redrives", "3")]);
        assert_eq!(decided(&parked, &rules()), Decision::Skip(SkipReason::Parked));
        let asked = Rules { from_parked: true, ..rules() };
        assert_eq!(decided(&parked, &asked), Decision::Redrive { count: 1 });
    }

    #[test]
    fn parking_keeps_what_a_person_will_want() {
        let dead = record("media.ingested.dlq", &[("__dlq.errors.kind", "x"), ("__dlq.errors.redrives", "3")]);
        let sent = to_send(&dead, decided(&dead, &rules()), "run", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((sent.topic.as_str(), &sent.value), ("media.ingested.parked", &dead.value));
        assert_eq!(sent.headers.text("__dlq.errors.kind"), Some("x"));
        let mark = RedriveMark::of(&sent.headers).unwrap();
        assert_eq!((mark.count, mark.source.as_str()), (3, "media.ingested.dlq:0:5"));
    }

    #[test]
    fn what_the_log_would_refuse_is_left_with_a_reason() {
        let mut dead = record("media.ingested.dlq", &[]);
        dead.value = Some(Bytes::from(vec![b'x'; MAX_RECORD_BYTES]));
        assert_eq!(decided(&dead, &rules()), Decision::Skip(SkipReason::TooLarge));
    }
}
