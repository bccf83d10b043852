//! Plain text in any character set.

use std::fs::File;
use std::io::Read;

use super::language;
use super::sink::TextSink;
use super::types::{ExtractError, Extraction, Limits};
use crate::charset;

/// Text has one control character that has no place in it, and one more for so many characters; more are binary data.
const CHARS_PER_CONTROL: u64 = 10;

/// Reads a text file, up to about twice the limit of its text, and applies `convert` to what was decoded of it.
pub(super) fn extract(
    file: File,
    limits: &Limits,
    convert: impl FnOnce(String) -> String,
) -> Result<Extraction, ExtractError> {
    let (bytes, whole) = read(file, limits)?;
    let mut extraction = Extraction::default();
    let charset = charset::detect(&bytes, None);
    let text = charset.decode(&bytes);
    drop(bytes);
    extraction.charset = Some(charset.name());
    if is_binary(&text) {
        return Err(ExtractError::malformed("the file says it is text, but most of it is binary data"));
    }
    let mut sink = TextSink::new(limits.max_text_bytes);
    push(&convert(text), &mut sink);
    (extraction.text, extraction.truncated) = sink.finish();
    extraction.truncated |= !whole;
    if let Some(text) = &extraction.text {
        extraction.languages = language::detect(text);
    }
    Ok(extraction)
}

/// Reads as many bytes as can become text within the limit. The flag is whether that is the whole file.
pub(super) fn read(file: File, limits: &Limits) -> Result<(Vec<u8>, bool), ExtractError> {
    let max_bytes = read_bytes(limits);
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes).map_err(|error| ExtractError::io("reading the text", &error))?;
    let whole = (bytes.len() as u64) < max_bytes;
    Ok((bytes, whole))
}

/// The most bytes of a file that [`read`] reads: one more than can become text, which tells that there are more.
pub(super) fn read_bytes(limits: &Limits) -> u64 {
    (limits.max_text_bytes as u64).saturating_mul(2).saturating_add(5)
}

/// Whether too many characters are control characters that have no place in a text. A run of NULs counts as one.
fn is_binary(text: &str) -> bool {
    let mut chars = 0_u64;
    let mut controls = 0_u64;
    let mut previous = ' ';
    for c in text.chars() {
        if c == '\0' && previous == '\0' {
            continue;
        }
        previous = c;
        chars += 1;
        controls += u64::from(c.is_control() && !matches!(c, '\u{07}'..='\u{0D}' | '\u{1B}' | '\u{85}'));
    }
    controls > 1 + chars / CHARS_PER_CONTROL || (controls > 0 && controls == chars)
}

/// Appends the text with `\n` for each end of a line, page or record, and without escape sequences of terminals.
fn push(text: &str, sink: &mut TextSink) {
    let mut rest = text;
    let mut previous = '\n';
    while let Some(c) = rest.chars().next() {
        if sink.is_full() {
            return;
        }
        let length = if c == ESCAPE { escape_sequence(rest) } else { c.len_utf8() };
        match c {
            '\n' if previous == '\r' => {}
            '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' => sink.push_char('\n'),
            '\0' | '\u{1C}'..='\u{1E}' => sink.line(),
            '\u{1F}' => sink.space(),
            c => sink.push_char(c),
        }
        previous = c;
        rest = rest.get(length..).unwrap_or_default();
    }
}

const ESCAPE: char = '\u{1B}';
/// A longer title or link of a terminal is not skipped.
const MAX_TERMINAL_STRING_BYTES: usize = 2048;

/// The length in bytes of the escape sequence that the text begins with: a control sequence (ECMA-48, 5.4), a character set
/// (ECMA-35) or an operating system command such as a title or link, which has to end. It is the escape character alone if it
/// begins none of these.
fn escape_sequence(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, is_part: fn(&u8) -> bool| {
        bytes.get(from..).map_or(from, |rest| from + rest.iter().take_while(|byte| is_part(byte)).count())
    };
    let ends_in = |at: usize, is_end: fn(&u8) -> bool| bytes.get(at).filter(|byte| is_end(byte)).map(|_| at + 1);
    let end = match bytes.get(1) {
        Some(b'[') => {
            let parameters = run(2, |byte| matches!(byte, 0x30..=0x3F));
            ends_in(run(parameters, |byte| matches!(byte, 0x20..=0x2F)), |byte| matches!(byte, 0x40..=0x7E))
        }
        Some(b'(' | b')' | b'*' | b'+') => ends_in(2, |byte| byte.is_ascii_alphanumeric()),
        Some(b']') => {
            // It has no control character, so that only its own part of the text is searched.
            let command = bytes.get(2..bytes.len().min(MAX_TERMINAL_STRING_BYTES)).unwrap_or_default();
            let end = command.iter().position(|byte| byte.is_ascii_control()).map(|at| at + 2);
            end.and_then(|at| match bytes.get(at..)? {
                [0x07, ..] => Some(at + 1),
                [0x1B, b'\\', ..] => Some(at + 2),
                _ => None,
            })
        }
        _ => None,
    };
    end.unwrap_or(1)
}
