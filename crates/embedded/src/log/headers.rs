//! The headers of a record in one blob, because they are always read together.
//!
//! `count`, then for each header `name length, name, value length, value`. Numbers are unsigned LEB128. A
//! value's length is stored plus one; 0 is a null value, as Kafka allows.

use bytes::Bytes;

use mfctl_core::domain::{Header, Headers};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The blob of the headers; `None` if there are none.
pub(super) fn encode(headers: &Headers) -> Option<Vec<u8>> {
    if headers.0.is_empty() {
        return None;
    }
    let mut blob = Vec::with_capacity(headers.size_bytes() + 4 * headers.0.len() + 1);
    write_number(&mut blob, headers.0.len());
    for header in &headers.0 {
        write_number(&mut blob, header.name.len());
        blob.extend_from_slice(header.name.as_bytes());
        write_number(&mut blob, header.value.as_ref().map_or(0, |value| value.len() + 1));
        blob.extend_from_slice(header.value.as_deref().unwrap_or_default());
    }
    Some(blob)
}

/// The headers of a blob.
pub(super) fn decode(blob: Option<Vec<u8>>) -> Result<Headers> {
    let Some(blob) = blob else { return Ok(Headers::default()) };
    let corrupt = || Error::new(ErrorKind::Corrupt, "decode a record's headers");
    let mut rest = Bytes::from(blob);
    let count = read_number(&mut rest).ok_or_else(corrupt)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push(read_header(&mut rest).ok_or_else(corrupt)?);
    }
    Ok(Headers(headers))
}

fn read_header(rest: &mut Bytes) -> Option<Header> {
    let length = read_number(rest)?;
    let name = String::from_utf8(split(rest, length)?.to_vec()).ok()?;
    let value = match read_number(rest)? {
        0 => None,
        length => Some(split(rest, length - 1)?),
    };
    Some(Header { name: name.into(), value })
}

fn split(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn write_number(blob: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        blob.push((number as u8) | 0x80);
        number >>= 7;
    }
    blob.push(number as u8);
}

fn read_number(rest: &mut Bytes) -> Option<usize> {
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
    fn headers_round_trip() {
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
    fn a_truncated_blob_is_an_error() {
        let mut headers = Headers::default();
        headers.push("name", "value");
        let blob = encode(&headers).unwrap();
        for end in 0..blob.len() {
            assert!(decode(Some(blob[..end].to_vec())).is_err(), "{end}");
        }
        assert!(decode(Some(vec![0xff; 40])).is_err());
    }
}
