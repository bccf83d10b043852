//! CMaps: how a shown string divides into character codes, and the text or the glyph (CID) of each code (ISO 32000-1, 9.7.5
//! and 9.10.3).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use lopdf::{Document, Object};

use super::lexer::{Lexer, Token};

/// Entries of one map, at most; further ones are dropped.
const MAX_ENTRIES: usize = 70_000;
/// Longer ranges are kept as ranges.
const MAX_EXPANDED: u32 = 256;
/// Ranges that are kept as such, and code space ranges, at most: they are searched one by one.
const MAX_RANGES: usize = 256;
/// CMaps that are based on others, at most.
const MAX_BASES: usize = 8;
/// The last code of two bytes.
const LAST_OF_TWO_BYTES: u32 = 0xFFFF;

/// A CMap.
#[derive(Debug, Default)]
pub(super) struct CMap {
    texts: HashMap<u32, Rc<str>>,
    /// Codes whose text is nothing: their glyphs are parts of others.
    textless: HashSet<u32>,
    text_ranges: Vec<TextRange>,
    cids: HashMap<u32, u32>,
    cid_ranges: Vec<CidRange>,
    spaces: Vec<CodeSpace>,
    /// Whether its text is written from top to bottom.
    pub(super) is_vertical: bool,
}

/// Codes whose texts differ in their last character, which increases with the code.
#[derive(Debug)]
struct TextRange {
    first: u32,
    last: u32,
    stem: String,
    last_char: u32,
}

#[derive(Debug)]
struct CidRange {
    first: u32,
    last: u32,
    cid: u32,
}

/// Codes of one length; each of their bytes is in the range of the bytes of these two.
#[derive(Debug, Clone, Copy)]
struct CodeSpace {
    bytes: usize,
    first: u32,
    last: u32,
}

impl CodeSpace {
    fn contains(&self, code: u32) -> bool {
        let byte = |code: u32, index: usize| code >> (8 * index) & 0xFF;
        (0..self.bytes).all(|index| (byte(self.first, index)..=byte(self.last, index)).contains(&byte(code, index)))
    }
}

impl CMap {
    /// Reads a CMap with what it is based on: a stream, or the name of a predefined one. Invalid parts are skipped. Of the
    /// predefined ones it has only the identity; [`super::encoding`] knows the others.
    pub(super) fn read(object: &Object, document: &Document, max_stream_bytes: usize) -> Self {
        let mut map = Self::default();
        map.add(object, document, max_stream_bytes, 0);
        map
    }

    fn add(&mut self, object: &Object, document: &Document, max_stream_bytes: usize, bases: usize) {
        match document.dereference(object) {
            Ok((_, Object::Name(name))) => self.add_identity(name),
            Ok((_, Object::Stream(stream))) => {
                if let (Ok(base), true) = (stream.dict.get(b"UseCMap"), bases < MAX_BASES) {
                    self.add(base, document, max_stream_bytes, bases + 1);
                }
                self.is_vertical |= stream.dict.get(b"WMode").and_then(Object::as_i64).is_ok_and(|mode| mode == 1);
                if let Ok(source) = stream.get_plain_content_with_limit(max_stream_bytes) {
                    self.add_source(&source);
                }
            }
            _ => {}
        }
    }

    /// The codes of two bytes, each of which is its own CID and, in a `ToUnicode` map, its own UTF-16 unit.
    fn add_identity(&mut self, name: &[u8]) {
        if name.starts_with(b"Identity") || name == b"Adobe-Identity-UCS" {
            self.is_vertical = name.ends_with(b"-V");
            self.spaces.push(CodeSpace { bytes: 2, first: 0, last: LAST_OF_TWO_BYTES });
            self.cid_ranges.push(CidRange { first: 0, last: LAST_OF_TWO_BYTES, cid: 0 });
            self.put_range(0, LAST_OF_TWO_BYTES, &Text { stem: String::new(), last_char: 0 });
        }
    }

    /// Adds the definitions of a CMap's program.
    fn add_source(&mut self, source: &[u8]) {
        let mut lexer = Lexer::new(source);
        let mut operands: Vec<Object> = Vec::new();
        while let Some(token) = lexer.token() {
            match token {
                Token::Object(object) if operands.len() < 3 * MAX_ENTRIES => operands.push(object),
                Token::Word(word) => {
                    match word {
                        b"endbfchar" => self.add_chars(&operands),
                        b"endbfrange" => self.add_ranges(&operands),
                        b"endcidchar" => self.add_cids(&operands),
                        b"endcidrange" => self.add_cid_ranges(&operands),
                        b"endcodespacerange" => self.add_spaces(&operands),
                        b"usecmap" => {
                            if let Some(Object::Name(name)) = operands.last() {
                                self.add_identity(name);
                            }
                        }
                        b"def" => {
                            if let [.., Object::Name(name), Object::Integer(1)] = operands.as_slice() {
                                self.is_vertical |= name == b"WMode";
                            }
                        }
                        _ => {}
                    }
                    operands.clear();
                }
                _ => {}
            }
        }
    }

    /// The text of a code; `None` if it has none, which also U+0000 and U+FFFD say.
    pub(super) fn text(&self, code: u32) -> Option<Rc<str>> {
        if let Some(text) = self.texts.get(&code) {
            return Some(Rc::clone(text)).filter(|text| !text.is_empty());
        }
        let range = self.text_ranges.iter().rev().find(|range| (range.first..=range.last).contains(&code))?;
        let last = char::from_u32(range.last_char.checked_add(code - range.first)?).filter(is_meaningful)?;
        Some(Rc::from(format!("{}{last}", range.stem)))
    }

    /// Whether the text of a code is nothing, because its glyph is a part of another: its target is an empty string.
    pub(super) fn is_textless(&self, code: u32) -> bool {
        self.textless.contains(&code)
    }

    /// The glyph of a code.
    pub(super) fn cid(&self, code: u32) -> Option<u32> {
        self.cids.get(&code).copied().or_else(|| {
            let range = self.cid_ranges.iter().rev().find(|range| (range.first..=range.last).contains(&code))?;
            range.cid.checked_add(code - range.first)
        })
    }

    /// Whether it says how strings divide into codes.
    pub(super) fn has_code_space(&self) -> bool {
        !self.spaces.is_empty()
    }

    /// The code at the start of a string, and its length in bytes, at least 1. Bytes outside of the code space make a code
    /// of the shortest length (ISO 32000-1, 9.7.6.3).
    pub(super) fn next_code(&self, string: &[u8]) -> (u32, usize) {
        let code = |length: usize| string[..length].iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
        let valid = |length: &usize| {
            let code = code(*length);
            self.spaces.iter().any(|space| space.bytes == *length && space.contains(code))
        };
        let length = (1..=string.len().min(4)).find(valid).unwrap_or_else(|| {
            let shortest = self.spaces.iter().map(|space| space.bytes).min().unwrap_or(1);
            shortest.min(string.len())
        });
        (code(length), length.max(1))
    }

    fn add_spaces(&mut self, operands: &[Object]) {
        for [first, last] in operands.as_chunks::<2>().0 {
            let (Object::String(bytes, _), Some(first), Some(last)) = (first, code(first), code(last)) else {
                continue;
            };
            if self.spaces.len() < MAX_RANGES && !bytes.is_empty() {
                self.spaces.push(CodeSpace { bytes: bytes.len(), first, last });
            }
        }
    }

    fn add_chars(&mut self, operands: &[Object]) {
        for [source, target] in operands.as_chunks::<2>().0 {
            if let Some(code) = code(source) {
                self.put_target(code, target);
            }
        }
    }

    fn put_target(&mut self, code: u32, target: &Object) {
        match Text::of(target) {
            Some(text) => self.put(code, &text),
            None if target.as_str().is_ok_and(<[u8]>::is_empty) && self.textless.len() < MAX_ENTRIES => {
                self.textless.insert(code);
            }
            None => {}
        }
    }

    fn add_ranges(&mut self, operands: &[Object]) {
        for [first, last, target] in operands.as_chunks::<3>().0 {
            let (Some(first), Some(last)) = (code(first), code(last)) else { continue };
            if let Object::Array(texts) = target {
                for (code, target) in (first..=last).zip(texts) {
                    self.put_target(code, target);
                }
            } else if let Some(text) = Text::of(target) {
                self.put_range(first, last, &text);
            }
        }
    }

    /// The last character increases with the code, beyond its last byte too: many programs write one range for all codes.
    fn put_range(&mut self, first: u32, last: u32, text: &Text) {
        if last.saturating_sub(first) < MAX_EXPANDED {
            for code in first..=last {
                let last_char = text.last_char.saturating_add(code - first);
                self.put(code, &Text { stem: text.stem.clone(), last_char });
            }
        } else if self.text_ranges.len() < MAX_RANGES {
            self.text_ranges.push(TextRange { first, last, stem: text.stem.clone(), last_char: text.last_char });
        }
    }

    fn put(&mut self, code: u32, text: &Text) {
        if self.texts.len() < MAX_ENTRIES {
            self.texts.insert(code, text.joined());
        }
    }

    fn add_cids(&mut self, operands: &[Object]) {
        for [source, cid] in operands.as_chunks::<2>().0 {
            if let (Some(code), Some(cid), true) = (code(source), number(cid), self.cids.len() < MAX_ENTRIES) {
                self.cids.insert(code, cid);
            }
        }
    }

    fn add_cid_ranges(&mut self, operands: &[Object]) {
        for [first, last, cid] in operands.as_chunks::<3>().0 {
            let (Some(first), Some(last), Some(cid)) = (code(first), code(last), number(cid)) else { continue };
            if last.saturating_sub(first) < MAX_EXPANDED && self.cids.len() < MAX_ENTRIES {
                self.cids.extend((first..=last).map(|code| (code, cid.saturating_add(code - first))));
            } else if self.cid_ranges.len() < MAX_RANGES {
                self.cid_ranges.push(CidRange { first, last, cid });
            }
        }
    }
}

/// The most units of UTF-16 of one code's text: 512 bytes (ISO 32000-1, 9.10.3, refers to Adobe technical note 5014).
const MAX_TARGET_UNITS: usize = 256;

/// A text whose last character may increase with the code. The last character is a number, because it may become valid only
/// then: ranges start at U+0000.
struct Text {
    stem: String,
    last_char: u32,
}

impl Text {
    /// A text in UTF-16BE; a single byte is its own code point. A glyph name would be valid too, but no known program writes one.
    fn of(object: &Object) -> Option<Self> {
        let Object::String(bytes, _) = object else { return None };
        if let [byte] = bytes.as_slice() {
            return Some(Self { stem: String::new(), last_char: u32::from(*byte) });
        }
        let units = bytes.as_chunks::<2>().0.iter().take(MAX_TARGET_UNITS).map(|pair| u16::from_be_bytes(*pair));
        let mut chars: Vec<char> = char::decode_utf16(units).filter_map(Result::ok).collect();
        let last = chars.pop()?;
        Some(Self { stem: chars.into_iter().filter(is_meaningful).collect(), last_char: u32::from(last) })
    }

    fn joined(&self) -> Rc<str> {
        let last = char::from_u32(self.last_char).filter(is_meaningful);
        Rc::from(self.stem.chars().chain(last).collect::<String>())
    }
}

/// U+0000 and U+FFFD stand for a glyph whose text is not known.
fn is_meaningful(c: &char) -> bool {
    !matches!(*c, '\0' | char::REPLACEMENT_CHARACTER | '\u{FFFE}' | '\u{FFFF}')
}

fn code(object: &Object) -> Option<u32> {
    let Object::String(bytes, _) = object else { return None };
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
}

fn number(object: &Object) -> Option<u32> {
    object.as_i64().ok().and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &[u8]) -> CMap {
        let mut map = CMap::default();
        map.add_source(source);
        map
    }

    fn text(map: &CMap, code: u32) -> String {
        map.text(code).map(|text| text.to_string()).unwrap_or_default()
    }

    #[test]
    fn bfchar_and_bfrange_are_read() {
        let map = parse(
            b"/CIDInit /ProcSet findresource begin\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n\
              2 beginbfchar <0003> <0020> <0004><0644 0627> endbfchar % lam-alef\n\
              3 beginbfrange <0010> <0012> <0041> <0020><0021>[<06A9> <06AF>] <0030><0030><D835DC00> endbfrange",
        );
        assert_eq!(map.next_code(b"\0\x03\0"), (3, 2));
        assert_eq!(text(&map, 3), " ");
        assert_eq!(text(&map, 4), "لا");
        assert_eq!([0x10, 0x12, 0x13].map(|code| text(&map, code)), ["A", "C", ""]);
        assert_eq!((text(&map, 0x20), text(&map, 0x21)), ("ک".to_owned(), "گ".to_owned()));
        assert_eq!(text(&map, 0x30), "𝐀");
    }

    #[test]
    fn ranges_from_zero_and_beyond_the_last_byte_are_read() {
        for source in [
            &b"1 beginbfrange <0000> <FFFF> <0000> endbfrange"[..],
            b"1 beginbfrange <0001> <FFFF> <0001> endbfrange",
            b"2 beginbfrange <0000> <00FF> <0000> <0100> <FFFF> <0100> endbfrange",
            b"1 beginbfrange <0000> <7FFF> <0000> endbfrange",
            b"/Adobe-Identity-UCS usecmap",
        ] {
            let map = parse(source);
            let read: String = [0x0627, 0x06CC, 0x20, 0x41].iter().map(|code| text(&map, *code)).collect();
            assert_eq!(read, "ای A", "{}", String::from_utf8_lossy(source));
            assert_eq!([0, 0xFFFD, 0xD800].map(|code| text(&map, code)), ["", "", ""]);
        }
        let map = parse(b"2 beginbfrange <00> <7F> <06F0> <10F0> <1110> <00660610> endbfrange");
        assert_eq!((text(&map, 0x10), text(&map, 0x10FF)), ("܀".to_owned(), "f؟".to_owned()));
    }

    #[test]
    fn code_without_text_has_none() {
        let map = parse(b"4 beginbfchar <01> <0000> <02> <FFFD> <03> <> <04> <00410000> endbfchar");
        assert_eq!([1, 2, 3, 5].map(|code| map.text(code)), [const { None }; 4]);
        assert_eq!(text(&map, 4), "A");
    }

    #[test]
    fn codes_of_several_lengths_are_divided() {
        let map = parse(b"2 begincodespacerange <00> <80> <8140> <9FFC> endcodespacerange");
        assert_eq!(map.next_code(b"A\x81\x40"), (0x41, 1));
        assert_eq!(map.next_code(b"\x81\x40A"), (0x8140, 2));
        assert_eq!(map.next_code(b"\x81\x20A"), (0x81, 1), "the second byte is outside");
        assert_eq!(map.next_code(b"\xFF"), (0xFF, 1));
    }

    #[test]
    fn glyphs_of_codes_are_read() {
        let map = parse(b"1 begincidrange <20> <7E> 1 endcidrange 1 begincidchar <80> 97 endcidchar /WMode 1 def");
        assert_eq!([0x20, 0x21, 0x80, 0x81].map(|code| map.cid(code)), [Some(1), Some(2), Some(97), None]);
        assert!(map.is_vertical);
    }

    #[test]
    fn hostile_cmap_is_bounded() {
        let map = parse(&b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange ".repeat(10_000));
        assert!(map.texts.len() <= MAX_ENTRIES && map.text_ranges.len() <= MAX_RANGES);
        assert_eq!(text(&map, u32::MAX), "");
        parse(b"<<<<[[[<>>]<zz beginbfchar <1> endbfchar [<");
        parse(b"1 beginbfrange <05> <01> <0041> endbfrange");
    }
}
