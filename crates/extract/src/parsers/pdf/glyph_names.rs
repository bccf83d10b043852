//! The names that a font program gives its glyphs, all of them in one pass: `ttf-parser` searches its table anew for each
//! glyph.

use std::collections::HashMap;

use ttf_parser::{Face, GlyphId, Tag, cff, post};

/// The names of the `post` table's standard glyphs.
const MACINTOSH_NAMES: u16 = 258;
/// The names that every font in Compact Font Format has.
const STANDARD_STRINGS: u16 = 391;

/// The glyphs of an OpenType font that have a name.
pub(super) fn open_type<'a>(face: &Face<'a>) -> Vec<(u16, &'a str)> {
    let table = |tag: &[u8; 4]| face.raw_face().table(Tag::from_bytes(tag));
    let mut names = match (face.tables().post, table(b"post")) {
        (Some(table), Some(data)) => post_names(&table, data),
        _ => Vec::new(),
    };
    if let (Some(table), Some(data)) = (face.tables().cff, table(b"CFF ")) {
        names.extend(compact(&table, data));
    }
    names
}

fn post_names<'a>(table: &post::Table<'a>, data: &'a [u8]) -> Vec<(u16, &'a str)> {
    let indexes = data.get(32..).filter(|_| data.starts_with(&[0, 2, 0, 0])).and_then(numbers).unwrap_or_default();
    indexed(&indexes, table.names(), |glyph| table.glyph_name(GlyphId(glyph)))
}

/// The names of glyphs by their indexes into the standard names and, behind them, the font's own.
fn indexed<'a>(
    indexes: &[u16],
    own: impl Iterator<Item = &'a str>,
    standard: impl Fn(u16) -> Option<&'a str>,
) -> Vec<(u16, &'a str)> {
    let own: Vec<&str> = own.take(usize::from(u16::MAX - MACINTOSH_NAMES) + 1).collect();
    let name = |glyph: u16, index: u16| match index.checked_sub(MACINTOSH_NAMES) {
        Some(index) => own.get(usize::from(index)).copied(),
        None => standard(glyph),
    };
    (0..=u16::MAX).zip(indexes).filter_map(|(glyph, index)| Some((glyph, name(glyph, *index)?))).collect()
}

/// The glyphs of a font in Compact Font Format that have a name (Adobe Technical Note 5176).
pub(super) fn compact<'a>(table: &cff::Table<'a>, data: &'a [u8]) -> Vec<(u16, &'a str)> {
    let glyphs = table.number_of_glyphs();
    match CompactNames::read(data) {
        // The others have a table that is predefined or lists each glyph.
        Some(names) if names.has_ranges() => names.of_ranges(glyphs, |glyph| table.glyph_name(GlyphId(glyph))),
        _ => (0..glyphs).filter_map(|glyph| Some((glyph, table.glyph_name(GlyphId(glyph))?))).collect(),
    }
}

/// What a font in Compact Font Format says of its glyphs' names.
struct CompactNames<'a> {
    /// The font's own names.
    strings: Vec<&'a [u8]>,
    /// From its format on: which glyph has which name.
    charset: &'a [u8],
}

impl<'a> CompactNames<'a> {
    /// `None` if its glyphs have no names or the predefined ones.
    fn read(data: &'a [u8]) -> Option<Self> {
        let rest = data.get(usize::from(*data.get(2)?)..)?;
        let (_, rest) = index(rest)?;
        let (fonts, rest) = index(rest)?;
        let (strings, _) = index(rest)?;
        let charset = charset_offset(fonts.first()?)?;
        Some(Self { strings, charset: data.get(charset..)? })
    }

    /// Whether the glyphs' names are in ranges, which can only be read from the first on.
    fn has_ranges(&self) -> bool {
        matches!(self.charset, [1 | 2, ..])
    }

    fn of_ranges(&self, glyphs: u16, standard: impl Fn(u16) -> Option<&'a str>) -> Vec<(u16, &'a str)> {
        let [format, ranges @ ..] = self.charset else { return Vec::new() };
        let range_bytes = if *format == 1 { 3 } else { 4 };
        let strings = ranges.chunks_exact(range_bytes).flat_map(|range| {
            let first = u16::from_be_bytes([range[0], range[1]]);
            let more = range[2..].iter().fold(0, |more, byte| more << 8 | u16::from(*byte));
            first..=first.saturating_add(more)
        });
        let mut standard_names: HashMap<u16, Option<&str>> = HashMap::new();
        let mut name = |glyph: u16, string: u16| match string.checked_sub(STANDARD_STRINGS) {
            Some(own) => std::str::from_utf8(self.strings.get(usize::from(own))?).ok(),
            None => *standard_names.entry(string).or_insert_with(|| standard(glyph)),
        };
        // Glyph 0 is `.notdef` and not in the ranges.
        (1..glyphs).zip(strings).filter_map(|(glyph, string)| Some((glyph, name(glyph, string)?))).collect()
    }
}

/// A number of 16 bits and so many more of them, or as many as there are.
fn numbers(data: &[u8]) -> Option<Vec<u16>> {
    let (count, rest) = data.split_first_chunk()?;
    let numbers = rest.as_chunks::<2>().0.iter().map(|number| u16::from_be_bytes(*number));
    Some(numbers.take(usize::from(u16::from_be_bytes(*count))).collect())
}

/// The items of the INDEX at the start, and what follows it.
fn index(data: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (count, rest) = data.split_first_chunk()?;
    let count = usize::from(u16::from_be_bytes(*count));
    if count == 0 {
        return Some((Vec::new(), rest));
    }
    let (offset_bytes, rest) = rest.split_first()?;
    let offset_bytes = usize::from(*offset_bytes);
    if !(1..=4).contains(&offset_bytes) {
        return None;
    }
    let (offsets, items) = rest.split_at_checked((count + 1) * offset_bytes)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let offsets: Vec<usize> = offsets.chunks_exact(offset_bytes).map(number).collect();
    // Offsets count from the byte before the items.
    let item = |pair: &[usize]| items.get(pair[0].checked_sub(1)?..pair[1].checked_sub(1)?);
    let found = offsets.windows(2).map(item).collect::<Option<Vec<_>>>()?;
    Some((found, items.get(offsets.last()?.checked_sub(1)?..)?))
}

/// Where the charset is, if it is none of the three predefined ones.
fn charset_offset(dictionary: &[u8]) -> Option<usize> {
    let mut operand = None;
    let mut rest = dictionary;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            15 => return operand.and_then(|offset| usize::try_from(offset).ok()).filter(|offset| *offset > 2),
            12 => rest = rest.get(1..)?,
            0..=21 => {}
            28 => {
                let (number, after) = rest.split_first_chunk()?;
                operand = Some(i32::from(i16::from_be_bytes(*number)));
                rest = after;
            }
            29 => {
                let (number, after) = rest.split_first_chunk()?;
                operand = Some(i32::from_be_bytes(*number));
                rest = after;
            }
            // A real number ends in a nibble of ones.
            30 => rest = rest.get(rest.iter().position(|byte| byte & 0xF == 0xF || byte >> 4 == 0xF)? + 1..)?,
            32..=246 => operand = Some(i32::from(*byte) - 139),
            247..=254 => {
                let (low, after) = rest.split_first()?;
                let sign = if *byte < 251 { 1 } else { -1 };
                let base = if *byte < 251 { 247 } else { 251 };
                operand = Some(sign * ((i32::from(*byte) - base) * 256 + i32::from(*low) + 108));
                rest = after;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_name_is_read_once() {
        let own: Vec<String> = (0..60_000).map(|number| format!("uni{number:04X}")).collect();
        let indexes: Vec<u16> = (0..60_000).map(|glyph| MACINTOSH_NAMES + glyph).rev().collect();
        let read = Cell::new(0);
        let own = own.iter().map(String::as_str).inspect(|_| read.set(read.get() + 1));
        let names = indexed(&indexes, own, |_| None);
        assert_eq!((names.len(), read.get()), (60_000, 60_000));
        assert_eq!((names[0], names[59_999]), ((0, "uniEA5F"), (59_999, "uni0000")));
    }

    #[test]
    fn names_that_are_missing_are_none() {
        let names = indexed(&[3, 258, 259, 65_535, 0], ["own"].into_iter(), |glyph| {
            [Some("space"), None][usize::from(glyph > 0)]
        });
        assert_eq!(names, [(0, "space"), (1, "own")]);
    }

    /// An INDEX of items that are shorter than 256 bytes in total.
    fn index_of(items: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0, items.len() as u8];
        if !items.is_empty() {
            bytes.extend([1, 1]);
            let ends = items.iter().scan(1, |end, item| {
                *end += item.len() as u8;
                Some(*end)
            });
            bytes.extend(ends);
            bytes.extend(items.concat());
        }
        bytes
    }

    /// A font in Compact Font Format with this charset and two names of its own.
    fn compact_font(charset: &[u8]) -> Vec<u8> {
        let build = |offset: usize| {
            let dictionary =
                [&[139, 12, 3, 30, 0x1A, 0x5F, 17, 28, (offset >> 8) as u8, offset as u8, 15][..]].concat();
            let head = [&[1, 0, 4, 1][..], &index_of(&[b"F"]), &index_of(&[&dictionary])].concat();
            [head, index_of(&[b"uni06A9", b"uni06CC"])].concat()
        };
        let offset = build(0).len();
        [build(offset), charset.to_vec()].concat()
    }

    #[test]
    fn ranges_of_names_are_read_once() {
        // "A" is the standard string 34.
        for charset in [&[1, 0, 34, 1, 1, 135, 1][..], &[2, 0, 34, 0, 1, 1, 135, 0, 1]] {
            let font = compact_font(charset);
            let names = CompactNames::read(&font).unwrap();
            assert!(names.has_ranges());
            let asked = Cell::new(0);
            let standard = |glyph: u16| {
                asked.set(asked.get() + 1);
                Some(if glyph == 1 { "A" } else { "B" })
            };
            let found = names.of_ranges(100, standard);
            assert_eq!(found, [(1, "A"), (2, "B"), (3, "uni06A9"), (4, "uni06CC")]);
            assert_eq!(asked.get(), 2);
        }
        let ranges = [&[1][..], &[0, 34, 0].repeat(60_000)].concat();
        let font = compact_font(&ranges);
        let asked = Cell::new(0);
        let names = CompactNames::read(&font).unwrap().of_ranges(60_001, |_| {
            asked.set(asked.get() + 1);
            Some("A")
        });
        assert_eq!((names.len(), asked.get()), (60_000, 1), "the same name is asked for once");
    }

    #[test]
    fn damaged_compact_font_has_no_ranges() {
        let font = compact_font(&[1, 0, 34, 1, 1, 135, 1]);
        for end in 0..font.len() {
            if let Some(names) = CompactNames::read(&font[..end]) {
                let _ = names.of_ranges(10, |_| None);
            }
        }
        let predefined = compact_font(&[]);
        assert!(CompactNames::read(&predefined).is_some_and(|names| !names.has_ranges()));
    }
}
