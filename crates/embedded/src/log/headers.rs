//! Headers as one blob: a record's headers are always read together.
//!
//! `count`, then for each header `name length, name, value length, value`. Numbers are unsigned LEB128; a value's length
//! is written plus one, so that 0 is Kafka's null.

use bytes::Bytes;

use mfctl_core::domain::{Header, Headers};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The blob; `None` is no headers.
pub(super) fn encode(headers: &Headers) -> Option<Vec<u8>> {
    if headers.0.is_empty() {
        return None;
    }
    let mut blob = Vec::with_capacity(headers.size_bytes() + 4 * headers.0.len() + 1);
    put(&mut blob, headers.0.len());
    for header in &headers.0 {
        put(&mut blob, header.name.len());
        blob.extend_from_slice(header.name.as_bytes());
        put(&mut blob, header.value.as_ref().map_or(0, |value| value.len() + 1));
        blob.extend_from_slice(header.value.as_deref().unwrap_or_default());
    }
    Some(blob)
}

/// The headers of a blob.
pub(super) fn decode(blob: Option<Vec<u8>>) -> Result<Headers> {
    let Some(blob) = blob else { return Ok(Headers::default()) };
    let corrupt = || Error::new(ErrorKind::Corrupt, "read a record's headers: they are not what was written");
    let mut rest = Bytes::from(blob);
    let count = take(&mut rest).ok_or_else(corrupt)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push(one(&mut rest).ok_or_else(corrupt)?);
    }
    Ok(Headers(headers))
}

fn one(rest: &mut Bytes) -> Option<Header> {
    let name = bytes(rest)?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    let value = match take(rest)? {
        0 => None,
        length => Some(cut(rest, length - 1)?),
    };
    Some(Header { name: name.into(), value })
}

fn bytes(rest: &mut Bytes) -> Option<Bytes> {
    let length = take(rest)?;
    cut(rest, length)
}

fn cut(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn put(blob: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        blob.push((number as u8) | 0x80);
        number >>= 7;
    }
    blob.push(number as u8);
}

fn take(rest: &mut Bytes) -> Option<usize> {
    let mut number = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *rest.first()?;
        let _ = rest.split_to(1);
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_byte_for_byte() {
        let mut headers = Headers::default();
        headers.push("a", "1");
        headers.push("a", vec![0xff, 0x00]);
        headers.push("", "");
        headers.push("long", vec![7u8; 70_000]);
        headers.0.push(Header { name: "null".into(), value: None });
        assert_eq!(decode(encode(&headers)).unwrap(), headers);
        assert_eq!(encode(&Headers::default()), None);
    }

    #[test]
    fn a_damaged_blob_is_an_error_and_never_a_panic() {
        let mut headers = Headers::default();
        headers.push("name", "value");
        let blob = encode(&headers).unwrap();
        for end in 0..blob.len() {
            assert!(decode(Some(blob[..end].to_vec())).is_err(), "{end}");
        }
        assert!(decode(Some(vec![0xff; 40])).is_err());
    }
}
