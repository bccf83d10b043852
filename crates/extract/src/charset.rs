//! Finds the character set of a text by its bytes, and decodes it.
//!
//! A byte order mark decides. Without one, ASCII with the escape sequences of ISO-2022-JP is that; other text is UTF-8
//! unless most bytes speak against it; then UTF-32 or UTF-16 if the bytes make sense as such; else what a document
//! declares, or what the letters look like.

mod utf8;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

use utf8::{decode_utf8, is_utf8};

/// The bytes that are inspected where not all have to be.
const SAMPLE_BYTES: usize = 256 * 1024;
/// The bytes that are inspected for UTF-16 and UTF-32 without a byte order mark; a multiple of four.
const UNMARKED_SAMPLE_BYTES: usize = 8 * 1024;
/// Fewer characters are too few to recognise UTF-16 or UTF-32 without a byte order mark.
const MIN_UNMARKED_CHARS: usize = 4;

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// One of the WHATWG Encoding Standard.
    Standard(&'static Encoding),
    /// UTF-32, little-endian.
    Utf32Le,
    /// UTF-32, big-endian.
    Utf32Be,
}

impl Charset {
    /// Its name in lower case: `utf-8`, `windows-1256`, …
    pub(crate) fn name(self) -> String {
        match self {
            Self::Standard(encoding) => encoding.name().to_lowercase(),
            Self::Utf32Le => "utf-32le".to_owned(),
            Self::Utf32Be => "utf-32be".to_owned(),
        }
    }

    /// The text without its byte order mark. What is no text in this character set becomes U+FFFD.
    pub(crate) fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Standard(encoding) if encoding == UTF_8 => decode_utf8(bytes),
            Self::Standard(encoding) => encoding.decode_with_bom_removal(bytes).0.into_owned(),
            Self::Utf32Le => decode_utf32(bytes, u32::from_le_bytes),
            Self::Utf32Be => decode_utf32(bytes, u32::from_be_bytes),
        }
    }
}

/// The character set of a text, which may be cut at its end. `declared` is the one that the document states.
pub(crate) fn detect(bytes: &[u8], declared: Option<&'static Encoding>) -> Charset {
    // In ISO-2022-JP every byte is ASCII.
    let declared_first = declared.filter(|encoding| *encoding == ISO_2022_JP && bytes.contains(&0x1B));
    let start = &bytes[..bytes.len().min(UNMARKED_SAMPLE_BYTES)];
    marked(start)
        .or_else(|| declared_first.or_else(|| is_iso_2022_jp(bytes).then_some(ISO_2022_JP)).map(Charset::Standard))
        .or_else(|| is_utf8(bytes).then_some(Charset::Standard(UTF_8)))
        .or_else(|| unmarked_wide(bytes))
        .or_else(|| declared.map(Charset::Standard))
        .unwrap_or_else(|| Charset::Standard(legacy(bytes)))
}

/// Whether the start of a file is text, by its bytes.
///
/// Text may have a few control characters, and NULs before or after it; how few depends on how certain its character set is.
pub(crate) fn is_text(sample: &[u8]) -> bool {
    if let Some(charset) = marked(sample) {
        return match charset {
            Charset::Standard(encoding) if encoding == UTF_8 => is_utf8_text(sample),
            charset => sample.len() <= 4 || Plausibility::of(charset.decode(sample).trim_matches('\0')).is_decoded(),
        };
    }
    !sample.is_empty() && (is_utf8_text(sample) || unmarked_wide(sample).is_some() || is_eight_bit_text(sample))
}

/// The character set whose byte order mark the bytes begin with. UTF-32's little-endian mark begins with that of UTF-16, so
/// the bytes after it have to make sense.
fn marked(bytes: &[u8]) -> Option<Charset> {
    match bytes {
        [0, 0, 0xFE, 0xFF, ..] => Some(Charset::Utf32Be),
        [0xFF, 0xFE, 0, 0, rest @ ..] if Plausibility::of(&decode_utf32(rest, u32::from_le_bytes)).is_decoded() => {
            Some(Charset::Utf32Le)
        }
        _ => Encoding::for_bom(bytes).map(|(encoding, _)| Charset::Standard(encoding)),
    }
}

/// Whether the bytes are ASCII with escape sequences that select a Japanese character set, and valid as ISO-2022-JP.
fn is_iso_2022_jp(bytes: &[u8]) -> bool {
    const SELECTIONS: [&[u8]; 4] = [b"\x1B$B", b"\x1B$@", b"\x1B(J", b"\x1B(I"];
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    if !sample.is_ascii() || !sample.windows(3).any(|window| SELECTIONS.contains(&window)) {
        return false;
    }
    let mut decoder = ISO_2022_JP.new_decoder_without_bom_handling();
    let Some(max_bytes) = decoder.max_utf8_buffer_length(sample.len()) else { return false };
    let mut text = String::with_capacity(max_bytes);
    // The sample may end within a character.
    let (_, _, has_errors) = decoder.decode_to_string(sample, &mut text, false);
    !has_errors
}

/// The single-byte or multi-byte character set of a text that is not Unicode, by its letters.
fn legacy(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(SAMPLE_BYTES)], true);
    detector.guess(None, Utf8Detection::Deny)
}

/// Text as [`is_utf8`], with few control characters.
fn is_utf8_text(sample: &[u8]) -> bool {
    let content = trim_nuls(sample);
    let controls = control_runs(content);
    is_utf8(content) && !content.is_empty() && controls * 8 <= content.len() && controls <= 1 + content.len() / 50 && {
        let moving = content.iter().filter(|byte| matches!(byte, 7 | 8 | 0x0B)).count();
        moving * 2 <= content.len()
    }
}

/// Text in some other character set: in random bytes, every tenth is a control character.
fn is_eight_bit_text(sample: &[u8]) -> bool {
    let content = trim_nuls(sample);
    !content.is_empty() && control_runs(content) * 64 <= content.len()
}

/// A control character that has no place in a text: not one that moves the cursor, rings or starts an escape sequence.
fn is_binary_byte(byte: u8) -> bool {
    matches!(byte, 0..=6 | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F)
}

/// The control characters that have no place in a text; a run of NULs, which fills up a record, counts as one.
fn control_runs(content: &[u8]) -> usize {
    let mut previous = 1;
    content
        .iter()
        .filter(|byte| {
            let is_repeated = **byte == 0 && previous == 0;
            previous = **byte;
            is_binary_byte(**byte) && !is_repeated
        })
        .count()
}

/// The bytes without the NULs that fill up the space before and after a text.
fn trim_nuls(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// UTF-32 or UTF-16 without a byte order mark.
fn unmarked_wide(bytes: &[u8]) -> Option<Charset> {
    let sample = &bytes[..bytes.len().min(UNMARKED_SAMPLE_BYTES)];
    let candidates = [
        (Charset::Utf32Le, plausible_utf32(sample, u32::from_le_bytes)),
        (Charset::Utf32Be, plausible_utf32(sample, u32::from_be_bytes)),
    ];
    if let Some((charset, _)) = candidates.into_iter().find(|(_, plausible)| plausible.is_some()) {
        return Some(charset);
    }
    // Pairs of bytes of a Chinese or Korean character set look like UTF-16, but are no control characters.
    let content = trim_nuls(sample);
    if control_runs(content) * 32 <= content.len() {
        return None;
    }
    let candidates = [
        (UTF_16LE, plausible_utf16(sample, u16::from_le_bytes)),
        (UTF_16BE, plausible_utf16(sample, u16::from_be_bytes)),
    ];
    let plausible = candidates.into_iter().filter_map(|(encoding, blocks)| Some((encoding, blocks?)));
    plausible.min_by_key(|(_, blocks)| *blocks).map(|(encoding, _)| Charset::Standard(encoding))
}

/// How many blocks of 256 characters the bytes use, if they make sense as UTF-16. A text uses few; of the same bytes in the
/// wrong order, the letters of one block are in many.
fn plausible_utf16(sample: &[u8], unit: fn([u8; 2]) -> u16) -> Option<usize> {
    let units: Vec<u16> = sample.as_chunks::<2>().0.iter().map(|pair| unit(*pair)).collect();
    // Latin letters, or small numbers, in the other order.
    if units.iter().all(|unit| unit.trailing_zeros() >= 8) {
        return None;
    }
    let text: String = char::decode_utf16(without_padding(&units).iter().copied())
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    let plausibility = Plausibility::of(&text);
    (plausibility.is_text() && !is_series(without_padding(&units).iter().copied())).then_some(plausibility.blocks)
}

/// Whether the values are those of a table of numbers, such as offsets or measurements: they go up or down for long, where those
/// of a text turn at every other character.
fn is_series(values: impl Iterator<Item = impl Into<u32>>) -> bool {
    let (mut count, mut turns) = (0_usize, 0_usize);
    let mut before: Option<u32> = None;
    let mut direction = std::cmp::Ordering::Equal;
    for value in values.map(Into::into) {
        let now = before.map_or(std::cmp::Ordering::Equal, |before| value.cmp(&before));
        if now.is_ne() {
            turns += usize::from(direction.is_ne() && now != direction);
            direction = now;
        }
        before = Some(value);
        count += 1;
    }
    turns * 8 < count
}

/// As [`plausible_utf16`], for UTF-32.
fn plausible_utf32(sample: &[u8], unit: fn([u8; 4]) -> u32) -> Option<usize> {
    let units: Vec<u32> = sample.as_chunks::<4>().0.iter().map(|bytes| unit(*bytes)).collect();
    let units = without_padding(&units);
    let text: String = units.iter().map(|unit| char::from_u32(*unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    let plausibility = Plausibility::of(&text);
    (plausibility.is_text() && !is_series(units.iter().copied())).then_some(plausibility.blocks)
}

/// The units between those at both ends that are 0.
fn without_padding<T: Copy + Default + PartialEq>(units: &[T]) -> &[T] {
    let is_padding = |unit: &T| *unit == T::default();
    let start = units.iter().position(|unit| !is_padding(unit)).unwrap_or(units.len());
    let end = units.iter().rposition(|unit| !is_padding(unit)).map_or(start, |last| last + 1);
    &units[start..end]
}

fn decode_utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> String {
    let (units, rest) = bytes.as_chunks::<4>();
    let decoded = units.iter().map(|bytes| char::from_u32(unit(*bytes)).unwrap_or(char::REPLACEMENT_CHARACTER));
    let cut = (!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
    let text: String = decoded.chain(cut).collect();
    text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text)
}

/// Counts of decoded characters that show whether the character set was right.
struct Plausibility {
    chars: usize,
    /// Characters of the scripts and symbols that most texts are made of.
    common: usize,
    /// Control characters, private and unassigned ones, and what could not be decoded.
    impossible: usize,
    /// Blocks of 256 characters that the text uses.
    blocks: usize,
}

impl Plausibility {
    fn of(text: &str) -> Self {
        let mut counts = Self { chars: 0, common: 0, impossible: 0, blocks: 0 };
        let mut blocks = std::collections::BTreeSet::new();
        let last = text.char_indices().last().map(|(at, _)| at);
        for (at, c) in text.char_indices() {
            // The end of the sample may cut a character.
            if c == char::REPLACEMENT_CHARACTER && Some(at) == last {
                continue;
            }
            counts.chars += 1;
            counts.common += usize::from(is_common(c));
            counts.impossible += usize::from(is_impossible(c));
            blocks.insert(u32::from(c) >> 8);
        }
        counts.blocks = blocks.len();
        counts
    }

    /// Whether it was text, and in this character set.
    fn is_text(&self) -> bool {
        self.chars >= MIN_UNMARKED_CHARS && self.impossible * 50 <= self.chars && self.common * 10 >= self.chars * 9
    }

    /// Whether it was text, its character set being known.
    fn is_decoded(&self) -> bool {
        self.impossible * 20 <= self.chars
    }
}

/// Whether this is a character of a living script, punctuation, or a symbol of everyday texts.
fn is_common(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{A0}'..='\u{52F}' | '\u{531}'..='\u{6FF}' | '\u{750}'..='\u{77F}')
        || matches!(c, '\u{900}'..='\u{E7F}' | '\u{10A0}'..='\u{10FF}' | '\u{1E00}'..='\u{1FFE}')
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2010}'..='\u{2027}' | '\u{202A}'..='\u{203E}' | '\u{20A0}'..='\u{20C0}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{3000}'..='\u{301F}' | '\u{3041}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}')
        || matches!(c, '\u{AC00}'..='\u{D7A3}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFF}' | '\u{FF01}'..='\u{FFEE}')
        || matches!(c, '\u{1F300}'..='\u{1FAFF}' | '\u{20000}'..='\u{323AF}')
}

fn is_impossible(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{0C}' | '\u{1B}' | '\u{85}');
    is_control
        || c == char::REPLACEMENT_CHARACTER
        || matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'.. | '\u{FDD0}'..='\u{FDEF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests;
