//! A PDF, which may begin behind other content.

use super::SAMPLE_BYTES;
use super::signatures::{has, is_archive, looks_like_text};

const HEADER: &[u8] = b"%PDF-";
/// Readers accept a header within so many bytes.
const FIRST_KIB: usize = 1024;
/// What only the end of a file has, or that of an earlier version of it.
const ENDS: [&[u8]; 3] = [b"trailer", b"startxref", b"%%EOF"];

/// Whether the sample is of a PDF.
///
/// Content before the header does not hide the format, except that of an archive, which has the PDF as a member. Text about
/// PDF may quote a header, so behind text it has to be followed by objects and nothing else. Behind the header of a
/// printer's job or of a message, the whole sample counts.
pub(super) fn is_pdf(sample: &[u8]) -> bool {
    let mut headers = sample.windows(HEADER.len()).enumerate().filter(|(_, window)| *window == HEADER);
    headers.any(|(at, _)| {
        let before = &sample[..at];
        let is_blank = at <= 3 || before.iter().all(u8::is_ascii_whitespace);
        let is_line = before.last().is_none_or(|byte| matches!(byte, b'\n' | b'\r'));
        let objects = first_object(&sample[at..]);
        is_blank
            || is_line && is_protocol(before) && objects.is_some()
            || at < FIRST_KIB
                && if looks_like_text(before) {
                    let is_binary = is_line && !is_utf8(sample);
                    objects.is_some_and(|rest| is_binary || has_only_objects(rest, sample.len() < SAMPLE_BYTES))
                } else {
                    !is_archive(sample)
                }
    })
}

/// Whether it is the start of a printer's job (PJL), or the header of a message (MIME, HTTP).
fn is_protocol(before: &[u8]) -> bool {
    const CONTENT_TYPE: &[u8] = b"content-type:";
    before.starts_with(b"\x1B%-12345X")
        || before.starts_with(b"@PJL")
        || before.windows(CONTENT_TYPE.len()).any(|window| window.eq_ignore_ascii_case(CONTENT_TYPE))
}

/// Whether it is UTF-8; the last character may be cut.
fn is_utf8(sample: &[u8]) -> bool {
    std::str::from_utf8(sample).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// What follows `1 0 obj` behind a header, if only comments are between them.
fn first_object(sample: &[u8]) -> Option<&[u8]> {
    let mut rest = sample;
    while rest.starts_with(b"%") {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        rest = rest[end..].trim_ascii_start();
    }
    object(rest)
}

/// What follows `1 0 obj` at the start.
fn object(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    for _ in 0..2 {
        let number = rest.trim_ascii_start();
        rest = &number[number.iter().take_while(|byte| byte.is_ascii_digit()).count()..];
        if rest.len() == number.len() || !rest.first()?.is_ascii_whitespace() {
            return None;
        }
    }
    rest.trim_ascii_start().strip_prefix(b"obj")
}

/// Whether the first object is followed by another or by the end of a PDF, and the end by no text. `is_whole` is whether
/// these are the last bytes of the file.
fn has_only_objects(objects: &[u8], is_whole: bool) -> bool {
    const END: &[u8] = b"endobj";
    let is_followed = match objects.windows(END.len()).position(|window| window == END) {
        Some(end) => {
            let rest = objects[end + END.len()..].trim_ascii_start();
            let is_part = |part: &[u8]| rest.starts_with(part);
            object(rest).is_some() || is_part(b"xref") || ENDS.into_iter().any(is_part)
        }
        None => !is_whole && has(objects, b"stream", objects.len()),
    };
    let has_end = !is_whole || ENDS.into_iter().any(|end| has(objects, end, objects.len()));
    is_followed && has_end && last_end(objects).is_none_or(is_behind_end)
}

/// What follows the last end-of-file marker.
fn last_end(bytes: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"%%EOF";
    let at = bytes.windows(END.len()).rposition(|window| window == END)?;
    bytes.get(at + END.len()..)
}

/// Whether this can follow the end of a PDF: padding, or an update.
fn is_behind_end(bytes: &[u8]) -> bool {
    let rest = bytes.trim_ascii_start();
    rest.is_empty() || !looks_like_text(rest) || !is_utf8(rest) || object(rest).is_some()
}
