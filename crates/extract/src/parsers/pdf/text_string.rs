//! Text strings outside of content streams: titles, values of form fields, notes (ISO 32000-2, 7.9.2.2).

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE};
use lopdf::{Dictionary, Document, Object, StringFormat};

use crate::parsers::html;
use crate::parsers::sink::readable;

/// Begins and ends the code of a language within a string in Unicode.
const ESCAPE: char = '\u{1B}';

/// The text of a string object; `None` if it is none.
///
/// The byte order marks of UTF-16BE and UTF-8 are in the standard, that of UTF-16LE is read by Acrobat and poppler. A string
/// without a mark is in `PDFDocEncoding`, but some programs leave the mark out: it is UTF-8 or UTF-16 if it looks like it.
pub(super) fn decode(object: &Object) -> Option<String> {
    let Object::String(bytes, _) = object else { return None };
    let text = match bytes.as_slice() {
        [0xFE, 0xFF, rest @ ..] => UTF_16BE.decode_without_bom_handling(rest).0,
        [0xFF, 0xFE, rest @ ..] => UTF_16LE.decode_without_bom_handling(rest).0,
        [0xEF, 0xBB, 0xBF, rest @ ..] => UTF_8.decode_without_bom_handling(rest).0,
        bytes => match unmarked(bytes) {
            Some(encoding) => encoding.decode_without_bom_handling(bytes).0,
            None => return Some(document_encoding(bytes)),
        },
    };
    Some(without_languages(text.trim_start_matches('\u{FEFF}')))
}

/// Reads texts of a document's dictionaries.
#[derive(Clone, Copy)]
pub(super) struct TextReader<'a> {
    pub(super) document: &'a Document,
    /// Longer texts are cut.
    pub(super) max_text_bytes: usize,
    pub(super) max_stream_bytes: usize,
}

impl<'a> TextReader<'a> {
    pub(super) fn name(&self, dictionary: &'a Dictionary, key: &[u8]) -> &'a [u8] {
        dictionary.get_deref(key, self.document).and_then(Object::as_name).unwrap_or_default()
    }

    /// As [`Self::string`].
    pub(super) fn text(&self, dictionary: &Dictionary, key: &[u8]) -> Option<String> {
        self.string(dictionary.get_deref(key, self.document).ok()?)
    }

    /// The text of a string, or of a stream that has one; `None` if it is empty.
    pub(super) fn string(&self, value: &Object) -> Option<String> {
        let text = match value {
            Object::Stream(stream) => {
                let content = stream.get_plain_content_with_limit(self.max_stream_bytes).ok()?;
                decode(&Object::string_literal(content))?
            }
            value => decode(value)?,
        };
        let text = text.replace("\r\n", "\n").replace(['\r', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
        let mut text = readable(&text);
        text.truncate(text.floor_char_boundary(self.max_text_bytes));
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The text of a string in XHTML (ISO 32000-1, 12.7.3.4).
    pub(super) fn rich_text(&self, dictionary: &Dictionary, key: &[u8]) -> Option<String> {
        html::text(&self.text(dictionary, key)?, self.max_text_bytes)
    }
}

/// The Unicode encoding of a string without a byte order mark, if it has one.
fn unmarked(bytes: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    // The high bytes of Latin and Arabic letters, of general punctuation and of presentation forms.
    let is_high = |byte: u8| matches!(byte, 0 | 6 | 0x20 | 0xFB | 0xFE);
    let pairs = bytes.as_chunks::<2>().0;
    let has = |at: usize, test: &dyn Fn(u8) -> bool| pairs.iter().all(|pair| test(pair[at]));
    if pairs.len() >= 2
        && bytes.len().is_multiple_of(2)
        && pairs.iter().any(|pair| pair.contains(&0) || pair.contains(&6))
    {
        match (has(0, &is_high), has(1, &is_high)) {
            (true, false) => return Some(UTF_16BE),
            (false, true) => return Some(UTF_16LE),
            _ => {}
        }
    }
    (!bytes.is_ascii() && std::str::from_utf8(bytes).is_ok()).then_some(UTF_8)
}

fn document_encoding(bytes: &[u8]) -> String {
    let string = Object::String(bytes.to_vec(), StringFormat::Literal);
    lopdf::decode_text_string(&string).unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect())
}

/// A string in Unicode without the language codes in it (ISO 32000-1, 14.9.2.2): `ESC fa IR ESC`.
fn without_languages(text: &str) -> String {
    const MAX_CODE: usize = 8;
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(ESCAPE) {
        kept.push_str(before);
        let is_code =
            |code: &str| code.len() <= MAX_CODE && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        rest = match after.split_once(ESCAPE) {
            Some((code, after)) if is_code(code) => after,
            _ => after,
        };
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        decode(&Object::String(bytes.to_vec(), StringFormat::Literal)).unwrap()
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn every_form_of_unicode_is_read() {
        for text in ["گزارش سالانه", "Annual report", "a گ", "گزارش ۱۴۰۳ (A4) 😀"] {
            let marked = format!("\u{FEFF}{text}");
            for bytes in [
                utf16(&marked, u16::to_be_bytes),
                utf16(&marked, u16::to_le_bytes),
                utf16(&format!("\u{FEFF}{marked}"), u16::to_le_bytes),
                marked.clone().into_bytes(),
                text.as_bytes().to_vec(),
            ] {
                assert_eq!(read(&bytes), text, "{bytes:X?}");
            }
        }
        for unit in [u16::to_be_bytes as fn(u16) -> [u8; 2], u16::to_le_bytes] {
            assert_eq!(read(&utf16("گزارش سالانه", unit)), "گزارش سالانه", "without a mark");
            assert_eq!(read(&utf16("Report", unit)), "Report", "without a mark");
        }
    }

    #[test]
    fn document_encoding_is_read() {
        assert_eq!(read(b"Caf\xE9 \x80 \x92 \x85"), "Café • ™ –");
        assert_eq!(read(b""), "");
        assert_eq!(read(b"\xFF"), "ÿ");
    }

    #[test]
    fn language_codes_are_left_out() {
        for (marked, text) in [
            ("\u{FEFF}\u{1B}fa\u{1B}گزارش", "گزارش"),
            ("\u{FEFF}\u{1B}faIR\u{1B}گزارش \u{1B}en-US\u{1B}report", "گزارش report"),
            ("\u{FEFF}one\u{1B}two", "onetwo"),
        ] {
            assert_eq!(read(&utf16(marked, u16::to_be_bytes)), text);
            assert_eq!(read(&utf16(marked, u16::to_le_bytes)), text);
            assert_eq!(read(marked.as_bytes()), text);
        }
    }

    #[test]
    fn damaged_strings_are_read_as_far_as_possible() {
        assert_eq!(read(b"\xFE\xFF\x06\x27\xD8\x00\x06\xCC"), "ا\u{FFFD}ی");
        assert_eq!(read(b"\xFF\xFEA\0B"), "A\u{FFFD}");
        assert_eq!(decode(&Object::Null), None);
    }
}
