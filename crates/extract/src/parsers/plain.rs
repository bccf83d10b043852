//! Plain text in any character set.

use std::fs::File;
use std::io::Read;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::language;
use super::sink::TextSink;
use super::types::{ExtractError, Extraction, Limits};

/// A larger share of control characters means binary data.
const MAX_CONTROL_SHARE: f64 = 0.1;

/// Reads a text file, up to about twice the limit of its text.
pub(super) fn extract(file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let (bytes, whole) = read(file, limits)?;
    let mut extraction = Extraction::default();
    let (text, charset) = decode(&bytes, None);
    extraction.charset = Some(charset.name().to_lowercase());
    let controls = text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{0C}')).count();
    if controls as f64 > text.chars().count() as f64 * MAX_CONTROL_SHARE {
        return Err(ExtractError::malformed("the file says it is text, but most of it is binary data"));
    }
    let mut sink = TextSink::new(limits.max_text_bytes);
    sink.push(&text.replace("\r\n", "\n").replace('\r', "\n"));
    (extraction.text, extraction.truncated) = sink.finish();
    extraction.truncated |= !whole;
    match &extraction.text {
        Some(text) => extraction.languages = language::detect(text),
        None => extraction.note("the file has no text in it"),
    }
    Ok(extraction)
}

/// Reads as many bytes as can become text within the limit. The flag is whether that is the whole file.
pub(super) fn read(file: File, limits: &Limits) -> Result<(Vec<u8>, bool), ExtractError> {
    let max_bytes = read_bytes(limits);
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes).map_err(|error| ExtractError::io("reading the text", &error))?;
    let whole = (bytes.len() as u64) < max_bytes;
    Ok((bytes, whole))
}

/// The most bytes of a file that [`read`] reads: one more than can become text, which tells that there are more.
pub(super) fn read_bytes(limits: &Limits) -> u64 {
    (limits.max_text_bytes as u64).saturating_mul(2).saturating_add(5)
}

/// The text and its character set: by its byte order mark, or UTF-8 if it is valid, or as declared, or as detected.
pub(super) fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> (String, &'static Encoding) {
    let encoding = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let encoding = encoding.or_else(|| is_utf8(bytes).then_some(UTF_8)).or(declared).unwrap_or_else(|| detected(bytes));
    let (text, encoding, _) = encoding.decode(bytes);
    (text.into_owned(), encoding)
}

/// Whether the bytes are UTF-8; the last character may be cut.
fn is_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

fn detected(bytes: &[u8]) -> &'static Encoding {
    if let Some(utf16) = unmarked_utf16(bytes) {
        return utf16;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(256 * 1024)], true);
    detector.guess(None, Utf8Detection::Deny)
}

/// UTF-16 without a byte order mark: the high bytes are mostly 0 (Latin) or 6 (Arabic letters).
fn unmarked_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let pairs = bytes[..bytes.len().min(4096)].as_chunks::<2>().0;
    if pairs.len() < 8 {
        return None;
    }
    let mostly_high =
        |index: usize| pairs.iter().filter(|pair| matches!(pair[index], 0 | 6)).count() * 10 > pairs.len() * 8;
    match (mostly_high(0), mostly_high(1)) {
        (true, false) => Some(UTF_16BE),
        (false, true) => Some(UTF_16LE),
        _ => None,
    }
}
