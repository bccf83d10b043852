//! What an embedded font program says of the text of its glyphs, for codes that the PDF itself does not map.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, ObjectId};
use ttf_parser::{Face, cff, cmap};

use super::lexer::{Lexer, Token};
use super::{glyph_name, glyph_names};

/// Characters that a program's own map is asked for: the Basic Multilingual Plane without private use, and the planes' parts
/// that fonts for text have. (A map that lists its characters itself may list four thousand million.)
const CHARS: [std::ops::Range<u32>; 4] = [0x20..0xD800, 0xF900..0xFFFD, 0x1_D400..0x1_D800, 0x1_F000..0x1_FB00];

/// Maps of one program, at most. One that maps many characters to one glyph says nothing of the glyph's text.
const MAX_MAPS: usize = 16;

/// Where the font program is, by the font's descriptor (ISO 32000-1, table 126).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramSource {
    Type1(ObjectId),
    TrueType(ObjectId),
    /// Compact Font Format, or OpenType with it.
    Compact(ObjectId),
}

impl ProgramSource {
    pub(super) fn of(descriptor: &Dictionary) -> Option<Self> {
        let at = |key: &[u8]| descriptor.get(key).and_then(Object::as_reference).ok();
        None.or_else(|| at(b"FontFile2").map(Self::TrueType))
            .or_else(|| at(b"FontFile3").map(Self::Compact))
            .or_else(|| at(b"FontFile").map(Self::Type1))
    }
}

/// The texts of a font program's glyphs.
#[derive(Debug, Default)]
pub(super) struct FontProgram {
    by_glyph: HashMap<u16, Rc<str>>,
    /// By the program's own encoding of one byte.
    by_code: HashMap<u8, Rc<str>>,
}

impl FontProgram {
    /// Reads the program; one that cannot be read has no texts.
    pub(super) fn read(source: ProgramSource, document: &Document, max_stream_bytes: usize) -> Self {
        let (ProgramSource::Type1(id) | ProgramSource::TrueType(id) | ProgramSource::Compact(id)) = source;
        let stream = document.get_object(id).and_then(Object::as_stream);
        let Ok(data) = stream.and_then(|stream| stream.get_plain_content_with_limit(max_stream_bytes)) else {
            return Self::default();
        };
        match source {
            ProgramSource::Type1(_) => Self::type1(&data),
            ProgramSource::Compact(_) if !data.starts_with(b"OTTO") => Self::compact(&data),
            _ => Self::open_type(&data),
        }
    }

    /// The text of a glyph, by its index (in a font without CIDs: the CID).
    pub(super) fn glyph(&self, index: u16) -> Option<Rc<str>> {
        self.by_glyph.get(&index).cloned()
    }

    /// The text of a code in the program's own encoding.
    pub(super) fn code(&self, code: u8) -> Option<Rc<str>> {
        self.by_code.get(&code).cloned()
    }

    fn open_type(data: &[u8]) -> Self {
        let Ok(face) = Face::parse(data, 0) else { return Self::default() };
        let mut program = Self::default();
        let maps: Vec<cmap::Subtable<'_>> = face
            .tables()
            .cmap
            .iter()
            .flat_map(|table| table.subtables)
            .take(MAX_MAPS)
            .filter(|map| !matches!(map.format, cmap::Format::ManyToOneRangeMappings(_)))
            .collect();
        for map in maps.iter().filter(|map| map.is_unicode()) {
            for c in CHARS.iter().cloned().flatten() {
                if let (Some(glyph), Some(c)) = (map.glyph_index(c), char::from_u32(c)) {
                    program.by_glyph.entry(glyph.0).or_insert_with(|| Rc::from(c.to_string()));
                }
            }
        }
        for (glyph, name) in glyph_names::open_type(&face) {
            if let Entry::Vacant(entry) = program.by_glyph.entry(glyph)
                && let Some(text) = glyph_name::text(name.as_bytes())
            {
                entry.insert(Rc::from(text));
            }
        }
        // Codes of a symbolic font: ISO 32000-1, 9.6.6.4.
        for code in 0..=u8::MAX {
            let glyph = maps
                .iter()
                .filter(|map| !map.is_unicode() || matches!(map.format, cmap::Format::ByteEncodingTable(_)))
                .find_map(|map| map.glyph_index(u32::from(code)).or_else(|| map.glyph_index(0xF000 + u32::from(code))));
            if let Some(text) = glyph.and_then(|glyph| program.by_glyph.get(&glyph.0).cloned()) {
                program.by_code.insert(code, text);
            }
        }
        program
    }

    fn compact(data: &[u8]) -> Self {
        let Some(table) = cff::Table::parse(data) else { return Self::default() };
        let mut program = Self::default();
        for (glyph, name) in glyph_names::compact(&table, data) {
            program.by_glyph.extend(glyph_name::text(name.as_bytes()).map(|text| (glyph, Rc::from(text))));
        }
        for code in 0..=u8::MAX {
            let text = table.glyph_index(code).and_then(|glyph| program.by_glyph.get(&glyph.0).cloned());
            program.by_code.extend(text.map(|text| (code, text)));
        }
        program
    }

    /// The `Encoding` of a Type 1 program, which is in its part that is not encrypted: `dup 65 /A put`, repeated.
    fn type1(data: &[u8]) -> Self {
        let clear = data.windows(5).position(|window| window == b"eexec").map_or(data, |end| &data[..end]);
        let mut lexer = Lexer::new(clear);
        let mut program = Self::default();
        let mut code = None;
        while let Some(token) = lexer.token() {
            match token {
                Token::Object(Object::Integer(number)) => code = u8::try_from(number).ok(),
                Token::Object(Object::Name(name)) => {
                    if let (Some(code), Some(text)) = (code.take(), glyph_name::text(&name)) {
                        program.by_code.insert(code, Rc::from(text));
                    }
                }
                _ => code = None,
            }
        }
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_of_a_type1_program_is_read() {
        let program = FontProgram::type1(
            b"%!PS-AdobeFont-1.0: F\n/Encoding 256 array\n0 1 255 {1 index exch /.notdef put} for\n\
              dup 65 /uni06A9 put\ndup 66 /f_i put\ndup 67 /g12 put\nreadonly def\ncurrentfile eexec dup 68 /A put",
        );
        assert_eq!(program.code(65).as_deref(), Some("ک"));
        assert_eq!(program.code(66).as_deref(), Some("fi"));
        assert_eq!((program.code(67), program.code(68)), (None, None));
    }

    #[test]
    fn damaged_program_has_no_texts() {
        for data in [&b""[..], b"\0\x01\0\0\0\x20garbage", b"\x01\0\x04\x01garbage", b"OTTO"] {
            assert!(FontProgram::open_type(data).by_glyph.is_empty());
            assert!(FontProgram::compact(data).by_glyph.is_empty());
        }
    }
}
