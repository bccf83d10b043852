//! Fonts: from the bytes of a shown string to characters and their advances.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, dictionary};

use super::cmap::CMap;
use super::encoding::{CharCode, CompositeEncoding};
use super::font_program::{FontProgram, ProgramSource};
use super::glyph_name;
use super::standard_font::StandardFont;

/// The width of a character in ems, where nothing says it.
const UNKNOWN_WIDTH: f64 = 0.5;

/// The part of a font that text extraction needs.
#[derive(Debug)]
pub(super) struct Font {
    kind: FontKind,
    to_unicode: CMap,
    widths: HashMap<u32, f64>,
    default_width: f64,
    /// The height of an em in text space units at size 1.
    pub(super) em: f64,
    /// Whether its characters advance downwards.
    pub(super) is_vertical: bool,
    program_source: Option<ProgramSource>,
    program: OnceCell<FontProgram>,
}

#[derive(Debug)]
enum FontKind {
    /// One byte per code, with what its encoding says of each code.
    Simple(Vec<EncodedGlyph>),
    /// Codes of several bytes.
    Composite { encoding: CompositeEncoding, glyph_of_cid: GlyphOfCid },
}

/// What a simple font's encoding says of a code.
#[derive(Debug, Clone, Default)]
struct EncodedGlyph {
    text: Option<Rc<str>>,
    /// The number of the glyph in the font program, if its name says that alone.
    index: Option<u16>,
    /// Whether the encoding has nothing of its own here, so that the font program's encoding counts.
    is_built_in: bool,
}

/// From CID to the glyph in the font program (ISO 32000-1, 9.7.4.2).
#[derive(Debug)]
enum GlyphOfCid {
    Same,
    Map(Vec<u8>),
}

impl GlyphOfCid {
    fn get(&self, cid: u32) -> Option<u16> {
        let cid = u16::try_from(cid).ok()?;
        match self {
            Self::Same => Some(cid),
            Self::Map(map) => {
                let at = usize::from(cid) * 2;
                map.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).filter(|glyph| *glyph != 0)
            }
        }
    }
}

/// What the font says of a character's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CharText {
    Text(Rc<str>),
    /// It is drawn as a part of another character, which has the text of both.
    PartOfAnother,
    /// The font does not map it.
    Unmapped,
}

/// One character of a shown string.
#[derive(Debug)]
pub(super) struct ShownChar {
    pub(super) text: CharText,
    /// Its advance at size 1: to the right, or downwards in a vertical font.
    pub(super) advance: f64,
    /// Whether it is the single-byte code 32, to which word spacing applies.
    pub(super) is_space_code: bool,
}

impl Font {
    pub(super) fn new(font: &Dictionary, document: &Document, max_stream_bytes: usize) -> Self {
        let to_unicode = font.get(b"ToUnicode").ok();
        let to_unicode = to_unicode.map(|map| CMap::read(map, document, max_stream_bytes)).unwrap_or_default();
        if name(font, b"Subtype", document) == b"Type0" {
            Self::composite(font, document, to_unicode, max_stream_bytes)
        } else {
            Self::simple(font, document, to_unicode)
        }
    }

    /// The font in place of one that is missing, as in other programs: Helvetica.
    pub(super) fn substitute(document: &Document) -> Self {
        let font = dictionary! {
            "Subtype" => "Type1",
            "BaseFont" => "Helvetica",
            "Encoding" => "WinAnsiEncoding",
        };
        Self::simple(&font, document, CMap::default())
    }

    fn composite(font: &Dictionary, document: &Document, to_unicode: CMap, max_stream_bytes: usize) -> Self {
        let descendants = font.get_deref(b"DescendantFonts", document).ok();
        let descendant = descendants.and_then(|fonts| match fonts {
            Object::Array(fonts) => document.dereference(fonts.first()?).ok()?.1.as_dict().ok(),
            font => font.as_dict().ok(),
        });
        let encoding = CompositeEncoding::read(font.get(b"Encoding").ok(), document, max_stream_bytes);
        let map = descendant.and_then(|font| font.get_deref(b"CIDToGIDMap", document).and_then(Object::as_stream).ok());
        let map = map.and_then(|stream| stream.get_plain_content_with_limit(max_stream_bytes).ok());
        let number = |key: &[u8]| number(descendant?.get_deref(key, document).ok()?);
        let is_vertical = encoding.is_vertical;
        Self {
            is_vertical,
            kind: FontKind::Composite { encoding, glyph_of_cid: map.map_or(GlyphOfCid::Same, GlyphOfCid::Map) },
            to_unicode,
            widths: descendant.filter(|_| !is_vertical).map(|font| cid_widths(font, document)).unwrap_or_default(),
            default_width: if is_vertical { 1.0 } else { number(b"DW").unwrap_or(1000.0) / 1000.0 },
            em: 1.0,
            program_source: descendant.and_then(|font| program_source(font, document)),
            program: OnceCell::new(),
        }
    }

    fn simple(font: &Dictionary, document: &Document, to_unicode: CMap) -> Self {
        let is_type3 = name(font, b"Subtype", document) == b"Type3";
        let matrix = numbers(font, b"FontMatrix", document);
        let unit = if is_type3 { matrix.first().map_or(0.001, |x| x.abs()) } else { 0.001 };
        let first = font.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
        let widths: HashMap<u32, f64> = numbers(font, b"Widths", document)
            .into_iter()
            .take(256)
            .enumerate()
            .filter_map(|(index, width)| Some((u32::try_from(first).ok()?.checked_add(index as u32)?, width * unit)))
            .collect();
        let encoding = encoding(font, document);
        let (widths, default_width) = with_default(widths, unit, &encoding, font, document);
        Self {
            kind: FontKind::Simple(encoding),
            em: if is_type3 { type3_em(font, document, &matrix) } else { 1.0 },
            default_width,
            widths,
            to_unicode,
            is_vertical: false,
            program_source: program_source(font, document),
            program: OnceCell::new(),
        }
    }

    /// Calls `each` with the characters of a shown string.
    pub(super) fn show(
        &self,
        bytes: &[u8],
        document: &Document,
        max_stream_bytes: usize,
        mut each: impl FnMut(ShownChar),
    ) {
        let program = || {
            let source = self.program_source?;
            Some(self.program.get_or_init(|| FontProgram::read(source, document, max_stream_bytes)))
        };
        match &self.kind {
            FontKind::Simple(encoding) => {
                for byte in bytes {
                    let text = self.to_unicode.text(u32::from(*byte)).or_else(|| {
                        let glyph = encoding.get(usize::from(*byte))?;
                        let built_in = || program()?.code(*byte);
                        let by_index = || program()?.glyph(glyph.index?);
                        let built_in = if glyph.is_built_in { built_in() } else { None };
                        built_in.or_else(|| glyph.text.clone()).or_else(by_index)
                    });
                    each(self.char(u32::from(*byte), self.char_text(u32::from(*byte), text), *byte == b' '));
                }
            }
            FontKind::Composite { encoding, glyph_of_cid } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let CharCode { code, bytes, cid, own_char } = encoding.next_code(rest);
                    let text = self
                        .to_unicode
                        .text(code)
                        .or_else(|| own_char.map(|c| Rc::from(c.to_string())))
                        .or_else(|| program()?.glyph(glyph_of_cid.get(cid?)?));
                    let text = self.char_text(code, text);
                    let mut shown = self.char(cid.unwrap_or(u32::MAX), text, bytes == 1 && code == 32);
                    if cid.is_none() && bytes == 1 {
                        shown.advance /= 2.0;
                    }
                    each(shown);
                    rest = rest.get(bytes.max(1)..).unwrap_or_default();
                }
            }
        }
    }

    fn char_text(&self, code: u32, text: Option<Rc<str>>) -> CharText {
        match text {
            _ if self.to_unicode.is_textless(code) => CharText::PartOfAnother,
            Some(text) => CharText::Text(text),
            None => CharText::Unmapped,
        }
    }

    fn char(&self, code: u32, text: CharText, is_space_code: bool) -> ShownChar {
        ShownChar { text, advance: self.widths.get(&code).copied().unwrap_or(self.default_width), is_space_code }
    }
}

/// The widths of a simple font's codes and that of all others, in ems. `unit` is the font's own unit in ems. The
/// standard 14 fonts may leave out their widths (ISO 32000-1, 9.6.2.2).
fn with_default(
    widths: HashMap<u32, f64>,
    unit: f64,
    encoding: &[EncodedGlyph],
    font: &Dictionary,
    document: &Document,
) -> (HashMap<u32, f64>, f64) {
    let descriptor = font.get_deref(b"FontDescriptor", document).and_then(Object::as_dict).ok();
    let described = |key: &[u8]| {
        let width = descriptor?.get_deref(key, document).ok().and_then(number)?;
        Some(width * unit).filter(|width| *width > 0.0)
    };
    if !widths.is_empty() {
        return (widths, described(b"MissingWidth").unwrap_or(0.0));
    }
    let default = described(b"AvgWidth").or_else(|| described(b"MissingWidth")).unwrap_or(UNKNOWN_WIDTH);
    let Some(standard) = StandardFont::named(name(font, b"BaseFont", document)) else { return (widths, default) };
    let width = |(code, glyph): (u8, &EncodedGlyph)| {
        Some((u32::from(code), standard.width(code, glyph.text.as_deref())? * unit))
    };
    ((0..=u8::MAX).zip(encoding).filter_map(width).collect(), default)
}

fn program_source(font: &Dictionary, document: &Document) -> Option<ProgramSource> {
    ProgramSource::of(font.get_deref(b"FontDescriptor", document).and_then(Object::as_dict).ok()?)
}

fn name<'a>(dictionary: &'a Dictionary, key: &[u8], document: &'a Document) -> &'a [u8] {
    dictionary.get_deref(key, document).and_then(Object::as_name).unwrap_or_default()
}

fn number(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from).filter(|number| number.is_finite())
}

fn numbers(dictionary: &Dictionary, key: &[u8], document: &Document) -> Vec<f64> {
    let array = dictionary.get_deref(key, document).and_then(Object::as_array);
    let value = |item| document.dereference(item).ok().and_then(|(_, item)| number(item)).unwrap_or(0.0);
    array.map(|array| array.iter().take(1024).map(value).collect()).unwrap_or_default()
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

/// What the font's encoding says of each code: a base encoding and its `Differences`.
fn encoding(font: &Dictionary, document: &Document) -> Vec<EncodedGlyph> {
    let object = font.get_deref(b"Encoding", document).ok();
    let (base, differences) = match object {
        Some(Object::Name(name)) => (name.clone(), None),
        Some(Object::Dictionary(dictionary)) => {
            let differences = dictionary.get_deref(b"Differences", document).and_then(Object::as_array).ok();
            (name(dictionary, b"BaseEncoding", document).to_vec(), differences)
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
                    *entry = EncodedGlyph {
                        text: glyph_name::text(glyph).map(Rc::from),
                        index: glyph_name::index(glyph),
                        is_built_in: false,
                    };
                }
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    table
}

/// The tables of `lopdf` are private, but it resolves the encoding of a font dictionary.
fn base_encoding(base: &[u8]) -> Vec<EncodedGlyph> {
    let supported = [&b"WinAnsiEncoding"[..], b"MacRomanEncoding", b"MacExpertEncoding"];
    let known = supported.into_iter().find(|supported| *supported == base);
    let is_built_in = known.is_none() && base != b"StandardEncoding";
    let name = known.unwrap_or(b"StandardEncoding").to_vec();
    let font = dictionary! { "Type" => "Font", "Encoding" => Object::Name(name) };
    let document = Document::new();
    let encoding = font.get_font_encoding(&document).ok();
    let text = |byte: u8| {
        let text = encoding.as_ref()?.bytes_to_string(&[byte]).ok().filter(|text| !text.is_empty());
        text.map(Rc::from)
    };
    (0..=255).map(|byte| EncodedGlyph { text: text(byte), index: None, is_built_in }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a string shown in a font, with `?` for what has none.
    fn shown(font: &Dictionary, document: &Document, bytes: &[u8]) -> String {
        let mut text = String::new();
        let font = Font::new(font, document, 1 << 20);
        font.show(bytes, document, 1 << 20, |shown| match shown.text {
            CharText::Text(shown) => text.push_str(&shown),
            CharText::PartOfAnother => {}
            CharText::Unmapped => text.push('?'),
        });
        text
    }

    fn add_map(document: &mut Document, source: &str) -> Object {
        Object::Reference(document.add_object(lopdf::Stream::new(Dictionary::new(), source.as_bytes().to_vec())))
    }

    #[test]
    fn cid_widths_have_lists_and_ranges() {
        let w = vec![1.into(), Object::Array(vec![500.into(), 600.into()]), 10.into(), 12.into(), 250.into()];
        let widths = cid_widths(&dictionary! { "W" => w }, &Document::new());
        assert_eq!((widths.get(&2), widths.get(&12), widths.get(&13)), (Some(&0.6), Some(&0.25), None));
    }

    #[test]
    fn standard_font_has_widths_of_its_own() {
        let advances = |font: &Dictionary, bytes: &[u8]| {
            let mut advances = Vec::new();
            let document = Document::new();
            Font::new(font, &document, 1 << 20).show(bytes, &document, 1 << 20, |shown| {
                advances.push((shown.advance * 1000.0).round());
            });
            advances
        };
        let with = |base_font: &str, entries: Dictionary| {
            let mut font =
                dictionary! { "Subtype" => "Type1", "BaseFont" => base_font, "Encoding" => "WinAnsiEncoding" };
            entries.iter().for_each(|(key, value)| font.set(key.clone(), value.clone()));
            font
        };
        let none = Dictionary::new;
        assert_eq!(advances(&with("Helvetica", none()), b"iW\xE9"), [222.0, 944.0, 556.0]);
        assert_eq!(advances(&with("ABCDEF+Arial,Bold", none()), b"iW"), [278.0, 944.0]);
        assert_eq!(advances(&with("TimesNewRomanPS-ItalicMT", none()), b"iW"), [278.0, 833.0]);
        assert_eq!(advances(&with("Courier", none()), b"iW"), [600.0, 600.0]);
        assert_eq!(advances(&with("Symbol", none()), b"a"), [631.0]);
        let differences = dictionary! { "Differences" => vec![65.into(), Object::from("i"), Object::from("f_i")] };
        assert_eq!(advances(&with("Helvetica", dictionary! { "Encoding" => differences }), b"AB"), [222.0, 500.0]);
        // Its own widths count, and MissingWidth for all others.
        let own = dictionary! { "FirstChar" => 65, "Widths" => vec![300.into()] };
        assert_eq!(advances(&with("Helvetica", own.clone()), b"AB"), [300.0, 0.0]);
        let mut missing = own;
        missing.set("FontDescriptor", dictionary! { "MissingWidth" => 250, "AvgWidth" => 400 });
        assert_eq!(advances(&with("Other", missing), b"AB"), [300.0, 250.0]);
        assert_eq!(advances(&with("Other", none()), b"iW"), [500.0, 500.0]);
        for (key, width) in [("AvgWidth", 400), ("MissingWidth", 250)] {
            let descriptor = dictionary! { "FontDescriptor" => dictionary! { key => width } };
            assert_eq!(advances(&with("Other", descriptor), b"i"), [f64::from(width)]);
        }
    }

    #[test]
    fn code_length_is_that_of_the_encoding() {
        let mut document = Document::new();
        // A ToUnicode map may declare other lengths than the encoding has.
        let map = add_map(
            &mut document,
            "1 begincodespacerange <00> <FF> endcodespacerange 2 beginbfchar <41> <0627> <0042> <06CC> endbfchar",
        );
        let two = dictionary! { "Subtype" => "Type0", "Encoding" => "Identity-H", "ToUnicode" => map.clone() };
        assert_eq!(shown(&two, &document, b"\0A\0B\0C"), "ای?");
        let one = dictionary! { "Subtype" => "TrueType", "Encoding" => "WinAnsiEncoding", "ToUnicode" => map };
        assert_eq!(shown(&one, &document, b"ABC"), "ایC");
        let mixed = add_map(
            &mut document,
            "2 begincodespacerange <00> <7F> <8000> <FFFF> endcodespacerange 1 begincidrange <00> <FF> 0 endcidrange",
        );
        let map = add_map(&mut document, "2 beginbfchar <41> <0041> <8001> <06CC> endbfchar");
        let font = dictionary! { "Subtype" => "Type0", "Encoding" => mixed, "ToUnicode" => map };
        assert_eq!(shown(&font, &document, b"A\x80\x01A"), "AیA");
    }

    #[test]
    fn to_unicode_may_be_a_name_or_based_on_one() {
        let mut document = Document::new();
        for map in [Object::from("Identity-H"), add_map(&mut document, "/Identity-H usecmap")] {
            let font = dictionary! { "Subtype" => "Type0", "Encoding" => "Identity-H", "ToUnicode" => map };
            assert_eq!(shown(&font, &document, b"\x06\x27\0A"), "اA");
        }
    }

    #[test]
    fn differences_have_text_by_their_names() {
        let names: Vec<Object> = [Object::from(65)]
            .into_iter()
            .chain(["uni06CC.fina", "u06A9", "f_i", "g7", ".notdef"].map(Object::from))
            .collect();
        let encoding = dictionary! { "Differences" => names };
        let font = dictionary! { "Subtype" => "Type1", "Encoding" => encoding };
        assert_eq!(shown(&font, &Document::new(), b"ABCDEF"), "یکfi??F");
    }

    #[test]
    fn code_mapped_to_nothing_has_the_text_of_the_encoding() {
        let mut document = Document::new();
        let map = add_map(&mut document, "2 beginbfchar <41> <0000> <42> <FFFD> endbfchar");
        let font = dictionary! { "Subtype" => "Type1", "Encoding" => "WinAnsiEncoding", "ToUnicode" => map.clone() };
        assert_eq!(shown(&font, &document, b"AB"), "AB");
        let font = dictionary! { "Subtype" => "Type0", "Encoding" => "Identity-H", "ToUnicode" => map };
        assert_eq!(shown(&font, &document, b"\0A\0B"), "??");
    }

    #[test]
    fn code_mapped_to_an_empty_string_is_a_part_of_another_character() {
        let mut document = Document::new();
        let map =
            add_map(&mut document, "1 beginbfchar <41> <> endbfchar 1 beginbfrange <42> <43> [<> <0628>] endbfrange");
        let font = dictionary! { "Subtype" => "Type1", "Encoding" => "WinAnsiEncoding", "ToUnicode" => map };
        assert_eq!(shown(&font, &document, b"ABC"), "ب");
    }
}
