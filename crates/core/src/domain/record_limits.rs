//! The size limits of records, the same in every profile.
//!
//! Kafka limits a batch as it is sent, compressed; mfctl limits each record before it is compressed, so that a record which
//! one profile takes is taken by every other.

use std::fmt;

use super::names::TopicName;
use super::record::NewRecord;

/// Largest record in bytes of key, value and headers: Kafka's default `message.max.bytes`.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// `max.message.bytes` of a topic, and the largest encoded record that it takes: [`MAX_RECORD_BYTES`] with headers.
pub const MAX_MESSAGE_BYTES: usize = MAX_RECORD_BYTES + (256 << 10);

/// Most headers of a record. librdkafka reads none of a record that has more.
pub const MAX_HEADERS: usize = 100_000;

/// How many headers fewer a record may have that is neither dead-lettered nor redriven yet, which adds some.
const HEADERS_MARGIN: usize = 100;

/// How much larger the records of dead-letter and parked topics may be, for the error headers.
pub const DEAD_LETTER_MARGIN_BYTES: usize = 64 << 10;

/// How much larger a record may be for its redrive mark, so that a record of the largest size can be redriven.
const REDRIVE_MARK_MARGIN_BYTES: usize = 1 << 10;

/// Largest record, encoded, that a redrive tries to send to a log that limits compressed records.
pub const MAX_COMPRESSIBLE_BYTES: usize = 32 << 20;

/// Bytes of a record batch beside its records, and of a record beside its key, value and headers, at most.
const BATCH_OVERHEAD_BYTES: usize = 61 + 36;

/// A record that is larger than its topic takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTooLarge {
    topic: TopicName,
    bytes: usize,
    encoded_bytes: usize,
    headers: usize,
}

impl fmt::Display for RecordTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, bytes, encoded_bytes, headers } = self;
        let limit = max_record_bytes(topic);
        if *bytes > limit {
            return write!(f, "a record for {topic} has {bytes} bytes; at most {limit} fit");
        }
        let limit = max_message_bytes(topic);
        if *encoded_bytes <= limit {
            return write!(f, "a record for {topic} has {headers} headers; at most {MAX_HEADERS} can be read");
        }
        write!(f, "a record for {topic} has {encoded_bytes} bytes with the lengths of its headers; at most {limit} fit")
    }
}

impl std::error::Error for RecordTooLarge {}

fn margin(topic: &TopicName) -> usize {
    if topic.is_dead_letters() || topic.is_parked() { DEAD_LETTER_MARGIN_BYTES } else { 0 }
}

/// Largest record of a topic in bytes of key, value and headers, its redrive mark aside.
#[must_use]
pub fn max_record_bytes(topic: &TopicName) -> usize {
    MAX_RECORD_BYTES + margin(topic)
}

/// `max.message.bytes` of a topic: its largest record in bytes as encoded in a batch of its own.
#[must_use]
pub fn max_message_bytes(topic: &TopicName) -> usize {
    MAX_MESSAGE_BYTES + margin(topic)
}

/// Checks that a record is within the limits of its topic.
///
/// # Errors
/// [`RecordTooLarge`].
pub fn check(record: &NewRecord) -> Result<(), RecordTooLarge> {
    let is_redriven = record.headers.last(super::event::header::REDRIVE).is_some();
    let mark = if is_redriven { REDRIVE_MARK_MARGIN_BYTES } else { 0 };
    let bytes = record.size_bytes();
    let encoded_bytes = record.encoded_bytes();
    let has_more_headers = is_redriven || margin(&record.topic) > 0;
    let max_headers = MAX_HEADERS - if has_more_headers { 0 } else { HEADERS_MARGIN };
    let headers = record.headers.0.len();
    if bytes <= max_record_bytes(&record.topic) + mark
        && encoded_bytes <= max_message_bytes(&record.topic)
        && headers <= max_headers
    {
        return Ok(());
    }
    Err(RecordTooLarge { topic: record.topic.clone(), bytes, encoded_bytes, headers })
}

/// Whether a producer tries to send a record that may compress to what its topic takes.
#[must_use]
pub fn may_compress(record: &NewRecord) -> bool {
    record.encoded_bytes() <= MAX_COMPRESSIBLE_BYTES && record.headers.0.len() <= MAX_HEADERS
}

impl NewRecord {
    /// Size of the record in bytes, encoded in a record batch of its own and not compressed; an upper bound.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let lengths = |header: &super::Header| {
            varint_bytes(header.name.len()) + varint_bytes(header.value.as_ref().map_or(0, bytes::Bytes::len))
        };
        BATCH_OVERHEAD_BYTES + self.size_bytes() + self.headers.0.iter().map(lengths).sum::<usize>()
    }
}

/// Bytes of a length in Kafka's encoding: zigzag, 7 bits a byte.
fn varint_bytes(length: usize) -> usize {
    let bits = (usize::BITS - length.leading_zeros()) as usize + 1;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::event::header::REDRIVE;
    use crate::domain::names::topics::INGEST_RAW;
    use crate::domain::{Headers, Timestamp};

    fn record(topic: TopicName, bytes: usize) -> NewRecord {
        NewRecord {
            topic,
            partition: None,
            key: None,
            value: Some(Bytes::from(vec![b'x'; bytes])),
            headers: Headers::default(),
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn dead_letter_topics_take_larger_records() {
        assert!(check(&record(INGEST_RAW, MAX_RECORD_BYTES)).is_ok());
        let refused = check(&record(INGEST_RAW, MAX_RECORD_BYTES + 1)).unwrap_err().to_string();
        assert_eq!(refused, "a record for ingest.raw has 1048577 bytes; at most 1048576 fit");
        for topic in [INGEST_RAW.dead_letters(), INGEST_RAW.parked()] {
            let limit = MAX_RECORD_BYTES + DEAD_LETTER_MARGIN_BYTES;
            assert!(check(&record(topic.clone(), limit)).is_ok());
            assert!(check(&record(topic, limit + 1)).is_err());
        }
    }

    #[test]
    fn a_record_of_the_largest_size_has_room_for_its_redrive_mark() {
        let mut redriven = record(INGEST_RAW, MAX_RECORD_BYTES);
        redriven.headers.push(REDRIVE, vec![b'x'; 300]);
        assert!(check(&redriven).is_ok());
        redriven.headers.push("more", vec![b'x'; 1000]);
        assert!(check(&redriven).is_err());
    }

    #[test]
    fn more_headers_than_can_be_read_are_refused() {
        let with = |topic: TopicName, count: usize| {
            let mut many = record(topic, 0);
            (0..count).for_each(|_| many.headers.push("a", ""));
            many
        };
        assert!(check(&with(INGEST_RAW, 99_900)).is_ok());
        let refused = check(&with(INGEST_RAW, 99_901)).unwrap_err().to_string();
        assert_eq!(refused, "a record for ingest.raw has 99901 headers; at most 100000 can be read");
        assert!(check(&with(INGEST_RAW.dead_letters(), 100_000)).is_ok());
        assert!(check(&with(INGEST_RAW.dead_letters(), 100_001)).is_err());
        assert!(may_compress(&with(INGEST_RAW, 100_000)) && !may_compress(&with(INGEST_RAW, 100_001)));
    }

    #[test]
    fn many_small_headers_count_with_their_lengths() {
        let mut many = record(INGEST_RAW, 0);
        (0..500_000).for_each(|_| many.headers.push("a", "b"));
        assert_eq!(many.size_bytes(), 1_000_000);
        let refused = check(&many).unwrap_err().to_string();
        assert_eq!(
            refused,
            "a record for ingest.raw has 2000097 bytes with the lengths of its headers; at most 1310720 fit"
        );
        assert_eq!([0, 63, 64, 8191, 8192].map(varint_bytes), [1, 1, 2, 2, 3]);
    }
}
