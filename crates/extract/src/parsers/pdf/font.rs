//! Fonts: from the bytes of a shown string to characters and their advances.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Encoding, Object, dictionary};

use super::cmap::ToUnicode;

/// The part of a font that text extraction needs.
#[derive(Debug)]
pub(super) struct Font {
    kind: FontKind,
    to_unicode: ToUnicode,
    widths: HashMap<u32, f64>,
    default_width: f64,
    /// The height of an em in text space units at size 1.
    pub(super) em: f64,
}

#[derive(Debug)]
enum FontKind {
    /// One byte per code, with the text of each code by the encoding.
    Simple(Vec<Option<Rc<str>>>),
    /// Several bytes per code.
    Composite { code_bytes: usize, utf16: bool },
}

/// One character of a shown string.
#[derive(Debug)]
pub(super) struct ShownChar {
    /// Its text; `None` if the font does not map it.
    pub(super) text: Option<Rc<str>>,
    /// Its advance at size 1.
    pub(super) advance: f64,
    /// Whether it is the single-byte code 32, to which word spacing applies.
    pub(super) is_space_code: bool,
}

impl Font {
    pub(super) fn new(font: &Dictionary, document: &Document, max_stream_bytes: usize) -> Self {
        let to_unicode = font
            .get_deref(b"ToUnicode", document)
            .and_then(Object::as_stream)
            .and_then(|stream| stream.get_plain_content_with_limit(max_stream_bytes))
            .map(|source| ToUnicode::parse(&source))
            .unwrap_or_default();
        if name(font, b"Subtype") == b"Type0" {
            Self::composite(font, document, to_unicode)
        } else {
            Self::simple(font, document, to_unicode)
        }
    }

    fn composite(font: &Dictionary, document: &Document, to_unicode: ToUnicode) -> Self {
        let descendant = font
            .get_deref(b"DescendantFonts", document)
            .and_then(Object::as_array)
            .ok()
            .and_then(|fonts| document.dereference(fonts.first()?).ok()?.1.as_dict().ok());
        let encoding = name(font, b"Encoding");
        let utf16 = [&b"UCS2"[..], b"UTF16"].iter().any(|mark| encoding.windows(mark.len()).any(|part| part == *mark));
        let number = |key: &[u8]| number(descendant?.get_deref(key, document).ok()?);
        Self {
            kind: FontKind::Composite { code_bytes: to_unicode.code_bytes.filter(|_| !utf16).unwrap_or(2), utf16 },
            to_unicode,
            widths: descendant.map(|font| cid_widths(font, document)).unwrap_or_default(),
            default_width: number(b"DW").unwrap_or(1000.0) / 1000.0,
            em: 1.0,
        }
    }

    fn simple(font: &Dictionary, document: &Document, to_unicode: ToUnicode) -> Self {
        let is_type3 = name(font, b"Subtype") == b"Type3";
        let matrix = numbers(font, b"FontMatrix", document);
        let unit = if is_type3 { matrix.first().map_or(0.001, |x| x.abs()) } else { 0.001 };
        let first = font.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
        let widths: HashMap<u32, f64> = numbers(font, b"Widths", document)
            .into_iter()
            .take(256)
            .enumerate()
            .filter_map(|(index, width)| Some((u32::try_from(first).ok()?.checked_add(index as u32)?, width * unit)))
            .collect();
        Self {
            kind: FontKind::Simple(encoding(font, document)),
            em: if is_type3 { type3_em(font, document, &matrix) } else { 1.0 },
            default_width: if widths.is_empty() { 0.5 } else { 0.0 },
            widths,
            to_unicode,
        }
    }

    /// Calls `each` with the characters of a shown string.
    pub(super) fn show(&self, bytes: &[u8], mut each: impl FnMut(ShownChar)) {
        match &self.kind {
            FontKind::Simple(encoding) => {
                for byte in bytes {
                    let code = u32::from(*byte);
                    let text = self.to_unicode.get(code).or(encoding.get(code as usize).and_then(Option::as_ref));
                    each(self.char(code, text.cloned(), *byte == b' '));
                }
            }
            FontKind::Composite { code_bytes, utf16 } => {
                for chunk in bytes.chunks_exact(*code_bytes) {
                    let code = chunk.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
                    let text = match self.to_unicode.get(code) {
                        None if *utf16 => char::from_u32(code).map(|c| Rc::from(c.to_string())),
                        text => text.cloned(),
                    };
                    each(self.char(code, text, *code_bytes == 1 && code == 32));
                }
            }
        }
    }

    fn char(&self, code: u32, text: Option<Rc<str>>, is_space_code: bool) -> ShownChar {
        ShownChar { text, advance: self.widths.get(&code).copied().unwrap_or(self.default_width), is_space_code }
    }
}

fn name<'a>(dictionary: &'a Dictionary, key: &[u8]) -> &'a [u8] {
    dictionary.get(key).and_then(Object::as_name).unwrap_or_default()
}

fn number(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from).filter(|number| number.is_finite())
}

fn numbers(dictionary: &Dictionary, key: &[u8], document: &Document) -> Vec<f64> {
    let array = dictionary.get_deref(key, document).and_then(Object::as_array);
    array.map(|array| array.iter().take(1024).map(|item| number(item).unwrap_or(0.0)).collect()).unwrap_or_default()
}

/// The em height of a Type 3 font, which has its own units: the height of its bounding box, if plausible.
fn type3_em(font: &Dictionary, document: &Document, matrix: &[f64]) -> f64 {
    let unit = matrix.get(3).map_or(0.001, |y| y.abs());
    let height = match numbers(font, b"FontBBox", document)[..] {
        [_, low, _, high] => (high - low).abs() * unit,
        _ => 0.0,
    };
    if (0.2..=5.0).contains(&height) { height.min(1.2) } else { 1.0 }
}

/// The widths of the `W` array: `first [w w w]` or `first last w`, repeated.
fn cid_widths(font: &Dictionary, document: &Document) -> HashMap<u32, f64> {
    let mut widths = HashMap::new();
    let Ok(array) = font.get_deref(b"W", document).and_then(Object::as_array) else { return widths };
    let code =
        |object: &Object| object.as_i64().ok().and_then(|code| u32::try_from(code).ok()).filter(|c| *c <= 0xFFFF);
    let mut rest = array.as_slice();
    while let [first, second, after @ ..] = rest {
        rest = after;
        let Some(first) = code(first) else { continue };
        let list = document.dereference(second).map(|(_, object)| object).and_then(Object::as_array);
        if let Ok(list) = list {
            for (code, width) in (first..=0xFFFF).zip(list) {
                widths.insert(code, number(width).unwrap_or(1000.0) / 1000.0);
            }
        } else if let ([width, after @ ..], Some(last)) = (after, code(second)) {
            rest = after;
            let width = number(width).unwrap_or(1000.0) / 1000.0;
            widths.extend((first..=last).map(|code| (code, width)));
        }
    }
    widths
}

/// The text of each code by the font's encoding: a base encoding and its `Differences`.
fn encoding(font: &Dictionary, document: &Document) -> Vec<Option<Rc<str>>> {
    let object = font.get_deref(b"Encoding", document).ok();
    let (base, differences) = match object {
        Some(Object::Name(name)) => (name.clone(), None),
        Some(Object::Dictionary(dictionary)) => {
            let differences = dictionary.get_deref(b"Differences", document).and_then(Object::as_array).ok();
            (name(dictionary, b"BaseEncoding").to_vec(), differences)
        }
        _ => (Vec::new(), None),
    };
    let mut table = base_encoding(&base);
    let mut code = 0_usize;
    for item in differences.into_iter().flatten().take(1024) {
        match item {
            Object::Integer(at) => code = usize::try_from(*at).unwrap_or(256),
            Object::Name(glyph) => {
                if let Some(entry) = table.get_mut(code) {
                    *entry = glyph_text(glyph).map(Rc::from);
                }
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    table
}

/// The tables of `lopdf` are private, but it resolves the encoding of a font dictionary.
fn base_encoding(base: &[u8]) -> Vec<Option<Rc<str>>> {
    let supported = [&b"WinAnsiEncoding"[..], b"MacRomanEncoding", b"MacExpertEncoding"];
    let base = supported.into_iter().find(|supported| *supported == base).unwrap_or(b"StandardEncoding");
    let font = dictionary! { "Type" => "Font", "Encoding" => Object::Name(base.to_vec()) };
    let document = Document::new();
    let Ok(encoding) = font.get_font_encoding(&document) else { return vec![None; 256] };
    let text = |byte: u8| encoding.bytes_to_string(&[byte]).ok().filter(|text| !text.is_empty()).map(Rc::from);
    (0..=255).map(text).collect()
}

/// The text of a glyph name: `uni06A9`, `u1F600`, `f_i`, `alef.fina`, or a name in the Adobe Glyph List.
fn glyph_text(glyph: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(glyph).ok()?.split('.').next().filter(|name| !name.is_empty())?;
    if name.contains('_') {
        return name.split('_').map(|part| glyph_text(part.as_bytes())).collect();
    }
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    if let Some(digits) = name.strip_prefix("uni").filter(|digits| digits.len() % 4 == 0 && digits.is_ascii()) {
        let text: Option<String> = digits.as_bytes().chunks(4).map(|d| hex(std::str::from_utf8(d).ok()?)).collect();
        return text.filter(|text| !text.is_empty());
    }
    let scalar = name.strip_prefix('u').filter(|digits| (4..=6).contains(&digits.len())).and_then(hex);
    scalar.map(String::from).or_else(|| adobe_glyph(name))
}

fn adobe_glyph(name: &str) -> Option<String> {
    let differences = vec![Object::Integer(0), Object::Name(name.as_bytes().to_vec())];
    let font = dictionary! { "Type" => "Font", "Encoding" => dictionary! { "Differences" => differences } };
    let document = Document::new();
    match font.get_font_encoding(&document) {
        Ok(encoding @ Encoding::Differences(_)) => encoding.bytes_to_string(&[0]).ok().filter(|text| !text.is_empty()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glyph_names_map_to_text() {
        for (name, text) in [
            ("A", "A"),
            ("uni06A9", "ک"),
            ("uni06440627", "لا"),
            ("u1F600", "😀"),
            ("f_i", "fi"),
            ("afii57409", "ء"),
            ("quoteright", "’"),
            ("uni06CC.fina", "ی"),
        ] {
            assert_eq!(glyph_text(name.as_bytes()).as_deref(), Some(text), "{name}");
        }
        assert_eq!(glyph_text(b".notdef"), None);
        assert_eq!(glyph_text(b"g123"), None);
        assert_eq!(glyph_text(b"uni\xFF"), None);
    }

    #[test]
    fn cid_widths_have_lists_and_ranges() {
        let w = vec![1.into(), Object::Array(vec![500.into(), 600.into()]), 10.into(), 12.into(), 250.into()];
        let widths = cid_widths(&dictionary! { "W" => w }, &Document::new());
        assert_eq!((widths.get(&2), widths.get(&12), widths.get(&13)), (Some(&0.6), Some(&0.25), None));
    }
}
