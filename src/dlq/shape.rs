//! The shape of an error message: the part that is equal for all records with the same error.

/// Upper bound of a shape, in characters.
const MAX_CHARS: usize = 200;
/// Punctuation around a word that is not part of it.
const PUNCTUATION: &[char] =
    &['"', '\'', '`', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';', ':', '.', '!', '?', '='];

/// A message with its varying parts replaced: ids, digests, times, paths, addresses and numbers.
#[must_use]
pub fn message_shape(message: &str) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for word in message.split_whitespace() {
        let word = word_shape(word);
        let length = word.chars().count() + 1;
        if chars + length > MAX_CHARS {
            out.push('…');
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
        chars += length;
    }
    out
}

fn word_shape(word: &str) -> String {
    let core = word.trim_matches(PUNCTUATION);
    let Some(start) = word.find(core).filter(|_| !core.is_empty()) else { return word.to_owned() };
    let before = &word[..start];
    let after = &word[start + core.len()..];
    match core.split_once('=') {
        Some((name, value)) if !value.is_empty() => format!("{before}{name}={}{after}", word_shape(value)),
        _ => format!("{before}{}{after}", core_shape(core)),
    }
}

fn core_shape(core: &str) -> String {
    if is_uuid(core) {
        return "<id>".to_owned();
    }
    if is_time(core) {
        return "<time>".to_owned();
    }
    if core.starts_with('/') || core.matches('/').count() >= 2 {
        return "<path>".to_owned();
    }
    if is_hex(core) {
        return "<hex>".to_owned();
    }
    replace_numbers(core)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 19
        && bytes[0].is_ascii_digit()
        && bytes[4] == b'-'
        && matches!(bytes[10], b'T' | b't')
        && text.is_ascii()
        && bytes[13] == b':'
}

/// At least 8 hexadecimal digits, a decimal digit and a letter among them; or any number of them after `0x`.
fn is_hex(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    text.len() >= 8
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Replaces each number, with its thousands and decimal separators, by `<n>`.
fn replace_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_numeric()) {
        out.push_str(&rest[..start]);
        out.push_str("<n>");
        let tail = &rest[start..];
        let mut end = 0;
        let mut chars = tail.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let joins = matches!(c, '.' | ',' | '_') && chars.peek().is_some_and(|(_, next)| next.is_numeric());
            if !c.is_numeric() && !joins {
                break;
            }
            end = at + c.len_utf8();
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_digests_times_paths_and_numbers_are_replaced() {
        let cases = [
            ("schema 12 is of subject \"x-value\"", "schema <n> is of subject \"x-value\""),
            ("object default/sha256/ab/cd/abcd is missing", "object <path> is missing"),
            ("cannot open /var/lib/x.pdf: 17 pages, 1,234.5 MiB", "cannot open <path>: <n> pages, <n> MiB"),
            ("asset ed6de839-bf6e-5531-a0eb-2be63a35ce0a: gone", "asset <id>: gone"),
            ("digest=e3b0c44298fc1c14 at 2026-11-24T03:40:58Z", "digest=<hex> at <time>"),
            ("read media.ingested:3:42 (0x1f)", "read media.ingested:<n>:<n> (<hex>)"),
            ("60000x60000 pixels", "<n>x<n> pixels"),
            ("۶۰۰۰۰ پیکسل", "<n> پیکسل"),
            ("deadbeef is a word", "deadbeef is a word"),
            ("", ""),
            ("\"\" ()", "\"\" ()"),
        ];
        for (message, expected) in cases {
            assert_eq!(message_shape(message), expected, "{message}");
        }
    }

    #[test]
    fn a_shape_is_bounded() {
        let long = message_shape(&"ф word 1 ".repeat(500));
        assert!(long.chars().count() <= MAX_CHARS + 1, "{}", long.chars().count());
        assert!(message_shape(&"x".repeat(5000)).chars().count() <= MAX_CHARS + 1);
    }

    proptest::proptest! {
        #[test]
        fn the_shape_of_any_text_is_bounded(text in ".{0,300}") {
            proptest::prop_assert!(message_shape(&text).chars().count() <= MAX_CHARS + 1);
        }
    }
}
