//! A whole record as an object: what is kept of a record that is too large for its dead-letter topic.
//!
//! Encoding: `mfctl-record/1\n`, the timestamp in milliseconds, the key, the number of headers, name and value of each, the
//! value. Numbers have 8 bytes, signed, big-endian. A key, name or value is its length and its bytes; −1 is a null.

use bytes::{BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;

use super::ids::Sha256;
use super::record::{Header, Headers, Record};

const MAGIC: &[u8] = b"mfctl-record/1\n";

/// A record that is kept in the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Timestamp, to the millisecond.
    pub timestamp: Timestamp,
}

/// The encoding of a record, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The bytes of the object.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub sha256: Sha256,
}

/// Encodes key, value, headers and timestamp of a record.
#[must_use]
pub fn encode(record: &Record) -> EncodedRecord {
    let mut out = BytesMut::with_capacity(MAGIC.len() + record.size_bytes() + 16 * (record.headers.0.len() + 3));
    out.put_slice(MAGIC);
    out.put_i64(record.timestamp.as_millisecond());
    put_field(&mut out, record.key.as_deref());
    out.put_i64(length(record.headers.0.len()));
    for header in &record.headers.0 {
        put_field(&mut out, Some(header.name.as_bytes()));
        put_field(&mut out, header.value.as_deref());
    }
    put_field(&mut out, record.value.as_deref());
    let bytes = out.freeze();
    EncodedRecord { sha256: Sha256::of(&bytes), bytes }
}

/// Decodes a record; `None` if the bytes are not exactly one encoded record.
#[must_use]
pub fn decode(bytes: &Bytes) -> Option<KeptRecord> {
    let mut rest = bytes.clone();
    if take(&mut rest, MAGIC.len())? != MAGIC {
        return None;
    }
    let timestamp = Timestamp::from_millisecond(take_number(&mut rest)?).ok()?;
    let key = take_field(&mut rest)?;
    let count = take_number(&mut rest).filter(|count| *count >= 0)?;
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = String::from_utf8(take_field(&mut rest)??.to_vec()).ok()?;
        headers.0.push(Header { name: name.into(), value: take_field(&mut rest)? });
    }
    let value = take_field(&mut rest)?;
    rest.is_empty().then_some(KeptRecord { key, headers, value, timestamp })
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn put_field(out: &mut BytesMut, field: Option<&[u8]>) {
    out.put_i64(field.map_or(-1, |bytes| length(bytes.len())));
    out.put_slice(field.unwrap_or_default());
}

fn take(rest: &mut Bytes, count: usize) -> Option<Bytes> {
    (count <= rest.len()).then(|| rest.split_to(count))
}

fn take_number(rest: &mut Bytes) -> Option<i64> {
    take(rest, 8)?.as_ref().try_into().ok().map(i64::from_be_bytes)
}

/// A field; `Some(None)` is a null, `None` no field.
#[expect(clippy::option_option, reason = "a null is a value, and differs from a field that is cut off")]
fn take_field(rest: &mut Bytes) -> Option<Option<Bytes>> {
    match take_number(rest)? {
        -1 => Some(None),
        length => take(rest, usize::try_from(length).ok()?).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RecordAddress;
    use crate::domain::names::topics::INGEST_RAW;

    fn record(key: Option<&'static [u8]>, value: Option<Vec<u8>>) -> Record {
        let mut headers = Headers::default();
        headers.push("a", "1");
        headers.push("", vec![0xff, 0]);
        headers.0.push(Header { name: "null".into(), value: None });
        Record {
            address: RecordAddress { topic: INGEST_RAW, partition: 1, offset: 9 },
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from),
            headers,
            timestamp: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        }
    }

    #[test]
    fn a_record_is_decoded_byte_for_byte() {
        for record in
            [record(Some(b"k"), Some(vec![7; 3_000_000])), record(None, None), record(Some(b""), Some(vec![]))]
        {
            let encoded = encode(&record);
            let decoded = decode(&encoded.bytes).unwrap();
            assert_eq!((&decoded.key, &decoded.value), (&record.key, &record.value));
            assert_eq!((decoded.headers, decoded.timestamp), (record.headers.clone(), record.timestamp));
            assert_eq!(encoded.sha256, Sha256::of(&encoded.bytes));
        }
    }

    #[test]
    fn bytes_that_are_cut_or_followed_by_others_are_no_record() {
        let bytes = encode(&record(Some(b"key"), Some(vec![1, 2, 3]))).bytes;
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes.slice(..end)), None, "cut at {end}");
        }
        assert_eq!(decode(&[bytes.as_ref(), b"x"].concat().into()), None);
    }

    proptest::proptest! {
        #[test]
        fn decoding_any_bytes_ends(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode(&[MAGIC, tail.as_slice()].concat().into());
        }
    }
}
