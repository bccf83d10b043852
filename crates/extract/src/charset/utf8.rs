//! UTF-8 that is not always valid: whether a text is in it, and what it says.

use super::{trim_nuls, unmarked_wide};

/// A run of UTF-8, or a sequence that is not UTF-8 and stands for one character.
enum Utf8Part<'a> {
    Text(&'a str),
    /// An unpaired or paired surrogate, an overlong form, or a character beyond Unicode: a whole sequence in the form of UTF-8.
    IllFormed(&'a [u8]),
    /// Bytes that are no sequence, or the beginning of one.
    Bad,
    /// The beginning of a sequence, which the end of the bytes cuts.
    Cut,
}

fn utf8_parts(bytes: &[u8]) -> impl Iterator<Item = Utf8Part<'_>> {
    let mut rest = bytes;
    let mut bad = None;
    std::iter::from_fn(move || {
        if let Some(length) = bad.take() {
            return Some(non_utf8(&mut rest, length));
        }
        if rest.is_empty() {
            return None;
        }
        let (valid, length) = match std::str::from_utf8(rest) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                (std::str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
            }
        };
        rest = rest.get(valid.len()..).unwrap_or_default();
        match length {
            Some(length) if valid.is_empty() => Some(non_utf8(&mut rest, length)),
            length => {
                bad = length;
                Some(Utf8Part::Text(valid))
            }
        }
    })
}

/// Takes what is not UTF-8 from the start of `rest`: `length` bytes, or all if the end cuts a sequence.
fn non_utf8<'a>(rest: &mut &'a [u8], length: Option<usize>) -> Utf8Part<'a> {
    let (part, length) = match (sequence_bytes(rest), length) {
        (Some(sequence), _) => (Utf8Part::IllFormed(sequence), sequence.len()),
        (None, Some(length)) => (Utf8Part::Bad, length),
        (None, None) => (Utf8Part::Cut, rest.len()),
    };
    *rest = rest.get(length..).unwrap_or_default();
    part
}

/// A lead byte with all its continuation bytes, whatever character they would make.
fn sequence_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.first()? {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => return None,
    };
    let sequence = bytes.get(..length)?;
    sequence[1..].iter().all(|byte| is_continuation(*byte)).then_some(sequence)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// The UTF-16 code unit that three bytes in the form of UTF-8 stand for, if it is a surrogate.
fn surrogate(sequence: &[u8]) -> Option<u16> {
    match *sequence {
        [0xED, second @ 0xA0..=0xBF, third] => Some(0xD000 | (u16::from(second & 0x3F) << 6) | u16::from(third & 0x3F)),
        _ => None,
    }
}

/// Each maximal part of a sequence that is not UTF-8 becomes one U+FFFD, as in the WHATWG Encoding Standard; so does half a
/// surrogate pair and an overlong form, each as a whole. A surrogate pair becomes its character (CESU-8, Unicode Technical
/// Report 26).
pub(super) fn decode_utf8(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    let mut high = None;
    for part in utf8_parts(bytes) {
        let unit = match part {
            Utf8Part::IllFormed(sequence) => surrogate(sequence),
            _ => None,
        };
        if let (Some(first), Some(second)) = (high.take(), unit)
            && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
        {
            text.pop();
            text.push(c);
            continue;
        }
        high = unit;
        match part {
            Utf8Part::Text(part) => text.push_str(part),
            _ => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
    text
}

/// Whether the bytes are UTF-8 but for a few, or have words in UTF-8 among others; the last character may be cut.
///
/// In other character sets, few pairs of bytes have the form of UTF-8, and most of the bytes beyond ASCII do not.
pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    let mut ascii = 0;
    let mut continuations = 0;
    let mut controls = 0;
    let mut bad = 0;
    let mut cut = false;
    for part in utf8_parts(bytes) {
        match part {
            Utf8Part::Text(text) => {
                controls += text.bytes().filter(u8::is_ascii_control).count();
                for byte in text.bytes() {
                    ascii += usize::from(byte.is_ascii());
                    continuations += usize::from(is_continuation(byte));
                }
            }
            Utf8Part::IllFormed(sequence) => continuations += sequence.len() - 1,
            Utf8Part::Bad => bad += 1,
            Utf8Part::Cut => cut = true,
        }
    }
    // Nothing else speaks for a cut sequence at the end: it is a letter of another character set.
    bad += usize::from(cut && continuations == 0 && bytes.last().is_some_and(|byte| !is_continuation(*byte)));
    // Of UTF-16 and UTF-32 in most scripts, every other byte is a control character.
    let is_wide = controls * 4 > trim_nuls(bytes).len() && unmarked_wide(bytes).is_some();
    let needed = if ascii * 4 > bytes.len() * 3 { bad } else { bad * 2 };
    !is_wide && (continuations >= needed || letters_in_words(bytes) >= (bad / 4).max(MIN_LETTERS_IN_WORDS))
}

/// Fewer letters of UTF-8 words are in short texts of other character sets by chance.
pub(super) const MIN_LETTERS_IN_WORDS: usize = 6;

/// The letters beyond ASCII that follow one another in valid UTF-8 and are of one script.
///
/// In other character sets, hardly two sequences in a row have the form of UTF-8, and few of those make letters of one
/// script. In Thai (windows-874), many syllables have the form of the rarer Cyrillic letters, which do not count.
pub(super) fn letters_in_words(bytes: &[u8]) -> usize {
    let mut count = 0;
    for part in utf8_parts(bytes) {
        let Utf8Part::Text(text) = part else { continue };
        let mut length = 0;
        let mut script = None;
        for c in text.chars() {
            let is_letter = !c.is_ascii() && c.is_alphabetic() && !matches!(c, '\u{460}'..='\u{52F}');
            let of_letter = is_letter.then(|| script_block(c));
            if of_letter.is_none() || of_letter != script {
                length = 0;
            }
            script = of_letter;
            length += usize::from(of_letter.is_some());
            count += match length {
                0 | 1 => 0,
                2 => 2,
                _ => 1,
            };
        }
    }
    count
}

/// The block of 256 characters; of East Asian scripts, which have many, all are one.
fn script_block(c: char) -> u32 {
    (u32::from(c) >> 8).min(0x30)
}
