//! Plain text in whatever character set it came.

use std::fs::File;
use std::io::Read;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::sink::TextSink;
use super::{ExtractError, Extraction, Limits, language};

/// From this part of control characters on, it is not text.
const BINARY_SHARE: f64 = 0.1;

/// Reads a text file.
pub(super) fn extract(file: File, limits: &Limits) -> Result<Extraction, ExtractError> {
    let (bytes, whole) = read(file, limits)?;
    let mut extraction = Extraction::default();
    let (text, charset) = decode(&bytes, None);
    extraction.charset = Some(charset.name().to_lowercase());
    let controls = text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{0C}')).count();
    if controls as f64 > text.chars().count() as f64 * BINARY_SHARE {
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

/// As much as can become text within the limit, and whether that is all there is.
pub(super) fn read(file: File, limits: &Limits) -> Result<(Vec<u8>, bool), ExtractError> {
    let most = limits.max_text_bytes as u64 * 2 + 4;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| ExtractError::io("reading the text", &error))?;
    let whole = bytes.len() as u64 <= most;
    Ok((bytes, whole))
}

/// The text and its character set: by its mark, else UTF-8 if it is that, else what was declared, else the likeliest.
pub(super) fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> (String, &'static Encoding) {
    let encoding = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let encoding =
        encoding.or_else(|| is_utf8(bytes).then_some(UTF_8)).or(declared).unwrap_or_else(|| likeliest(bytes));
    let (text, encoding, _) = encoding.decode(bytes);
    (text.into_owned(), encoding)
}

/// UTF-8, save for a character cut at the end.
fn is_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

fn likeliest(bytes: &[u8]) -> &'static Encoding {
    if let Some(wide) = unmarked_utf16(bytes) {
        return wide;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(256 * 1024)], true);
    detector.guess(None, Utf8Detection::Deny)
}

/// UTF-16 without a mark: every other byte is one of a few (0 for Latin, 6 for Arabic letters).
fn unmarked_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let pairs = bytes[..bytes.len().min(4096)].as_chunks::<2>().0;
    if pairs.len() < 8 {
        return None;
    }
    let most = |index: usize| pairs.iter().filter(|pair| matches!(pair[index], 0 | 6)).count() * 10 > pairs.len() * 8;
    match (most(0), most(1)) {
        (true, false) => Some(UTF_16BE),
        (false, true) => Some(UTF_16LE),
        _ => None,
    }
}
