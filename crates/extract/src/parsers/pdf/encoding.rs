//! Encodings of composite fonts: how strings divide into character codes (ISO 32000-1, 9.7.5).

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};
use lopdf::{Document, Object};

use super::cmap::CMap;

/// The encoding of a composite font.
#[derive(Debug)]
pub(super) struct CompositeEncoding {
    kind: Kind,
    /// Whether its text is written from top to bottom.
    pub(super) is_vertical: bool,
}

#[derive(Debug)]
enum Kind {
    /// Two bytes a code, which is the glyph (CID).
    Identity,
    /// A CMap of the file.
    Map(Box<CMap>),
    /// A predefined CMap whose codes are Unicode.
    Unicode(UnicodeForm),
    /// A predefined CMap whose codes are those of an older character set.
    CharacterSet(&'static Encoding),
    /// JIS X 0208 in two bytes of seven bits.
    Jis,
}

#[derive(Debug, Clone, Copy)]
enum UnicodeForm {
    Utf8,
    Utf16,
    Utf32,
}

/// A character code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CharCode {
    pub(super) code: u32,
    /// Its length in bytes, at least 1.
    pub(super) bytes: usize,
    /// The glyph; `None` if it is not known.
    pub(super) cid: Option<u32>,
    /// The character that the code itself says.
    pub(super) own_char: Option<char>,
}

impl CompositeEncoding {
    /// The `Encoding` of a font: the name of a predefined CMap, or a CMap. Two bytes a code if it is neither.
    pub(super) fn read(object: Option<&Object>, document: &Document, max_stream_bytes: usize) -> Self {
        let object = object.and_then(|object| document.dereference(object).ok()).map(|(_, object)| object);
        match object {
            Some(Object::Name(name)) => Self { kind: predefined(name), is_vertical: name.ends_with(b"V") },
            Some(object @ Object::Stream(stream)) => {
                let map = CMap::read(object, document, max_stream_bytes);
                let name = stream.dict.get(b"CMapName").and_then(Object::as_name).unwrap_or_default();
                let is_vertical = map.is_vertical;
                let kind = if map.has_code_space() { Kind::Map(Box::new(map)) } else { predefined(name) };
                Self { kind, is_vertical }
            }
            _ => Self { kind: Kind::Identity, is_vertical: false },
        }
    }

    /// The code at the start of a string that is not empty.
    pub(super) fn next_code(&self, string: &[u8]) -> CharCode {
        let (bytes, own_char) = match &self.kind {
            Kind::Map(map) => {
                let (code, bytes) = map.next_code(string);
                return CharCode { code, bytes, cid: map.cid(code), own_char: None };
            }
            Kind::Identity => {
                let bytes = string.len().min(2);
                let code = number(&string[..bytes]);
                return CharCode { code, bytes, cid: Some(code), own_char: None };
            }
            Kind::Unicode(form) => unicode(*form, string),
            Kind::CharacterSet(encoding) => {
                let bytes = code_bytes(encoding, string).min(string.len());
                (bytes, decoded(encoding, &string[..bytes]))
            }
            Kind::Jis => {
                let bytes = string.len().min(2);
                let shifted: Vec<u8> = string[..bytes].iter().map(|byte| byte | 0x80).collect();
                (bytes, decoded(EUC_JP, &shifted))
            }
        };
        CharCode { code: number(&string[..bytes]), bytes, cid: None, own_char }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |code, byte| code << 8 | u32::from(*byte))
}

/// What a predefined CMap maps (ISO 32000-1, table 118).
fn predefined(name: &[u8]) -> Kind {
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let character_sets: &[(&[u8], &'static Encoding)] = &[
        (b"RKSJ", SHIFT_JIS),
        (b"GBK2K", GB18030),
        (b"GBK", GBK),
        (b"GBpc", GBK),
        (b"GB-EUC", GBK),
        (b"ETen", BIG5),
        (b"B5", BIG5),
        (b"HKscs", BIG5),
        (b"KSC", EUC_KR),
    ];
    if has(b"UTF16") || has(b"UCS2") {
        Kind::Unicode(UnicodeForm::Utf16)
    } else if has(b"UTF32") {
        Kind::Unicode(UnicodeForm::Utf32)
    } else if has(b"UTF8") {
        Kind::Unicode(UnicodeForm::Utf8)
    } else if let Some((_, encoding)) = character_sets.iter().find(|(part, _)| has(part)) {
        Kind::CharacterSet(encoding)
    } else {
        match name {
            b"EUC-H" | b"EUC-V" => Kind::CharacterSet(EUC_JP),
            b"H" | b"V" => Kind::Jis,
            _ => Kind::Identity,
        }
    }
}

fn unicode(form: UnicodeForm, string: &[u8]) -> (usize, Option<char>) {
    match form {
        UnicodeForm::Utf16 => {
            let unit = |at: usize| string.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let units: Vec<u16> = [unit(0), unit(2)].into_iter().flatten().collect();
            match char::decode_utf16(units).next() {
                Some(Ok(c)) => (2 * c.len_utf16(), Some(c)),
                _ => (string.len().min(2), None),
            }
        }
        UnicodeForm::Utf32 => {
            let bytes = string.len().min(4);
            (bytes, char::from_u32(number(&string[..bytes])))
        }
        UnicodeForm::Utf8 => {
            let head = &string[..string.len().min(4)];
            let valid = match std::str::from_utf8(head) {
                Ok(valid) => valid,
                Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
            };
            valid.chars().next().map_or((1, None), |c| (c.len_utf8(), Some(c)))
        }
    }
}

/// The length of the code at the start of a string.
fn code_bytes(encoding: &'static Encoding, string: &[u8]) -> usize {
    let is_lead = |byte: u8| match byte {
        0xA0..=0xDF if encoding == SHIFT_JIS => false,
        _ => matches!(byte, 0x81..=0xFE),
    };
    match string {
        [lead, 0x30..=0x39, ..] if encoding == GB18030 && is_lead(*lead) => 4,
        [lead, ..] if is_lead(*lead) => 2,
        _ => 1,
    }
}

fn decoded(encoding: &'static Encoding, code: &[u8]) -> Option<char> {
    let (text, had_errors) = encoding.decode_without_bom_handling(code);
    text.chars().next().filter(|_| !had_errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, mut string: &[u8]) -> String {
        let name = Object::Name(name.as_bytes().to_vec());
        let encoding = CompositeEncoding::read(Some(&name), &Document::new(), 1 << 20);
        let mut text = String::new();
        while !string.is_empty() {
            let code = encoding.next_code(string);
            text.extend(code.own_char.or(Some('?')));
            string = &string[code.bytes..];
        }
        text
    }

    #[test]
    fn predefined_cmaps_are_read() {
        assert_eq!(read("UniGB-UCS2-H", b"\x4E\x2D\x65\x87"), "中文");
        assert_eq!(read("UniJIS-UTF16-V", b"\xD8\x40\xDC\x0B\x65\x87"), "𠀋文");
        assert_eq!(read("UniCNS-UTF32-H", b"\0\0\x4E\x2D"), "中");
        assert_eq!(read("UniKS-UTF8-H", "한a".as_bytes()), "한a");
        assert_eq!(read("90ms-RKSJ-H", b"\x93\xFA\x96\x7BA\xB1"), "日本Aｱ");
        assert_eq!(read("GBK-EUC-H", b"\xD6\xD0\xCE\xC4a"), "中文a");
        assert_eq!(read("GBK2K-V", b"\xD6\xD0\x81\x30\x81\x30"), "中\u{80}");
        assert_eq!(read("ETen-B5-H", b"\xA4\xA4\xA4\xE5"), "中文");
        assert_eq!(read("KSCms-UHC-H", b"\xC7\xD1"), "한");
        assert_eq!(read("EUC-H", b"\xC6\xFC"), "日");
        assert_eq!(read("H", b"\x46\x7C"), "日");
        assert_eq!(read("Identity-H", b"\0\x41\0"), "??", "the code of a glyph says nothing");
    }
}
