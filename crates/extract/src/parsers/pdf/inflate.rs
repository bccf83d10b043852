//! Decodes streams that may be damaged: `lopdf` does not tell whether it reached a stream's end, and loses the start of
//! a short one.

use flate2::{Decompress, FlushDecompress, Status};
use lopdf::{DecompressError, Dictionary, Error, Object, Stream, dictionary};

/// How much more room is made for a stream's content at a time, at least.
const CHUNK_BYTES: usize = 16 * 1024;
/// The length of the header of zlib's format (RFC 1950).
const HEADER_BYTES: usize = 2;

/// What could be decoded of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) content: Vec<u8>,
    /// Whether that is all of it, as far as is known: of filters other than Flate, and of predictors, it is not known.
    pub(super) is_whole: bool,
}

/// Decodes a stream's content.
///
/// # Errors
/// The content has more bytes than `max_bytes`, or a filter cannot be decoded.
pub(super) fn decode(stream: &Stream, max_bytes: usize) -> Result<Decoded, Error> {
    let filters = stream.filters().unwrap_or_default();
    if has_parameters(&stream.dict) || !filters.contains(&&b"FlateDecode"[..]) || filters.len() > Stream::MAX_FILTERS {
        let content = stream.get_plain_content_with_limit(max_bytes)?;
        return Ok(Decoded { content, is_whole: true });
    }
    let mut decoded = Decoded { content: stream.content.clone(), is_whole: true };
    for filter in filters {
        if filter == b"FlateDecode" {
            let inflated = inflate(&decoded.content, max_bytes)?;
            decoded = Decoded { is_whole: inflated.is_whole && decoded.is_whole, ..inflated };
        } else {
            let filter = dictionary! { "Filter" => Object::Name(filter.to_vec()) };
            decoded.content = Stream::new(filter, decoded.content).get_plain_content_with_limit(max_bytes)?;
        }
    }
    Ok(decoded)
}

/// Whether the stream's filters have parameters that change its content.
fn has_parameters(stream: &Dictionary) -> bool {
    let changes = |parameters: &Object| {
        parameters.as_dict().is_ok_and(|parameters| {
            let predictor = parameters.get(b"Predictor").and_then(Object::as_i64).unwrap_or(1);
            predictor > 1 || parameters.has(b"EarlyChange")
        })
    };
    match stream.get(b"DecodeParms") {
        Ok(Object::Array(parameters)) => parameters.iter().any(changes),
        Ok(parameters) => changes(parameters),
        Err(_) => false,
    }
}

/// Inflates data in zlib's format. White space may precede it, and its checksum is not compared, because that of a
/// stream that was encrypted is often wrong.
fn inflate(data: &[u8], max_bytes: usize) -> Result<Decoded, Error> {
    let data = data.trim_ascii_start();
    if data.is_empty() {
        return Ok(Decoded { content: Vec::new(), is_whole: true });
    }
    let decoded = inflate_raw(data.get(HEADER_BYTES..).unwrap_or_default(), max_bytes)?;
    // Data without a header.
    if decoded.content.is_empty() && !decoded.is_whole { inflate_raw(data, max_bytes) } else { Ok(decoded) }
}

/// Inflates data without header and checksum (RFC 1951).
fn inflate_raw(data: &[u8], max_bytes: usize) -> Result<Decoded, Error> {
    let mut inflater = Decompress::new(false);
    let mut content = Vec::new();
    let mut rest = data;
    loop {
        content.reserve(CHUNK_BYTES);
        let (read, written) = (inflater.total_in(), inflater.total_out());
        let status = inflater.decompress_vec(rest, &mut content, FlushDecompress::None);
        if content.len() > max_bytes {
            return Err(DecompressError::MemoryLimitExceeded { limit: max_bytes }.into());
        }
        let consumed = inflater.total_in() - read;
        match status {
            Ok(Status::StreamEnd) => return Ok(Decoded { content, is_whole: true }),
            Ok(_) if consumed > 0 || inflater.total_out() > written => {
                rest = rest.get(usize::try_from(consumed).unwrap_or(usize::MAX)..).unwrap_or_default();
            }
            _ => return Ok(Decoded { content, is_whole: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(entries: Dictionary, data: &[u8], max_bytes: usize) -> Result<Decoded, Error> {
        decode(&Stream::new(entries, data.to_vec()), max_bytes)
    }

    #[test]
    fn start_of_a_damaged_stream_is_read() {
        let content: Vec<u8> = (0..20_000_u32).flat_map(|n| format!("{} ", n * 7919 % 10_007).into_bytes()).collect();
        let whole = deflated(&content);
        let flate = || dictionary! { "Filter" => "FlateDecode" };
        let read = |data: &[u8]| decoded(flate(), data, 1 << 20).unwrap();
        let intact = Decoded { content: content.clone(), is_whole: true };
        let checksum = whole.len() - 4;
        assert_eq!(read(&whole), intact);
        assert_eq!(read(&[b"\r\n ", &whole[..]].concat()), intact, "behind white space");
        assert_eq!(read(&[&whole[..], b"\nnoise"].concat()), intact, "before other bytes");
        assert_eq!(read(&whole[..checksum]), intact, "without its checksum");
        assert_eq!(read(&whole[2..]), intact, "without its header");
        assert_eq!(read(b""), Decoded { content: Vec::new(), is_whole: true });
        for cut in [checksum - 1, whole.len() / 2, 1000] {
            let read = read(&whole[..cut]);
            assert!(!read.is_whole && content.starts_with(&read.content) && read.content.len() >= cut, "{cut}");
        }
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 64].fill(0xFF);
        let start = read(&damaged).content;
        assert!(start.len() > middle && start[..middle] == content[..middle], "{} bytes", start.len());
        assert!(!read(b"no deflated data").is_whole);
    }

    #[test]
    fn filters_before_and_behind_flate_are_decoded() {
        let content = b"BT (one) Tj ET";
        let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02X}")).collect::<String>() + ">";
        let filters = dictionary! { "Filter" => vec![Object::from("ASCIIHexDecode"), Object::from("FlateDecode")] };
        let deflated_content = deflated(content);
        let read = decoded(filters.clone(), hex(&deflated_content).as_bytes(), 1000).unwrap();
        assert_eq!(read, Decoded { content: content.to_vec(), is_whole: true });
        let cut = hex(&deflated_content[..deflated_content.len() - 6]);
        assert!(!decoded(filters, cut.as_bytes(), 1000).unwrap().is_whole);
        let filters = dictionary! { "Filter" => vec![Object::from("FlateDecode"), Object::from("ASCIIHexDecode")] };
        assert_eq!(decoded(filters, &deflated(hex(content).as_bytes()), 1000).unwrap().content, content);
        let unknown = dictionary! { "Filter" => vec![Object::from("FlateDecode"), Object::from("Unknown")] };
        assert!(decoded(unknown, &deflated(content), 1000).is_err());
    }

    #[test]
    fn decoded_size_is_limited() {
        let bomb = deflated(&vec![b' '; 10 << 20]);
        let flate = dictionary! { "Filter" => "FlateDecode" };
        let error = decoded(flate, &bomb, 1 << 20).unwrap_err();
        assert!(matches!(error, Error::Decompress(DecompressError::MemoryLimitExceeded { .. })), "{error}");
    }
}
