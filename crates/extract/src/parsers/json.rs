//! Text in JSON.

/// The text with the characters that escape sequences in its strings mean (RFC 8259, 7). Sequences that are not valid
/// stay as they are.
pub(super) fn unescaped(text: String) -> String {
    if !text.contains('\\') {
        return text;
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut is_in_string = false;
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['"', '\\', '\n']) {
        unescaped.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match escaped_char(rest).filter(|_| is_in_string) {
            Some((c, length)) => {
                unescaped.push(c);
                length
            }
            None => {
                // A string has no line break, so a quote without another affects one line only.
                is_in_string = match rest.as_bytes().first() {
                    Some(b'"') => !is_in_string,
                    Some(b'\\') => is_in_string,
                    _ => false,
                };
                unescaped.push_str(&rest[..1]);
                1
            }
        };
        rest = &rest[length..];
    }
    unescaped.push_str(rest);
    unescaped
}

/// The character that the escape sequence at the start of the text means, and the length of the sequence in bytes.
fn escaped_char(text: &str) -> Option<(char, usize)> {
    let sequence = text.strip_prefix('\\')?;
    let c = match sequence.as_bytes().first()? {
        c @ (b'"' | b'\\' | b'/') => char::from(*c),
        b'b' => '\u{08}',
        b'f' => '\u{0C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let units = std::iter::once(code_unit(text)?).chain(text.get(6..).and_then(code_unit));
            let c = char::decode_utf16(units).next()?.ok()?;
            return Some((c, 6 * c.len_utf16()));
        }
        _ => return None,
    };
    Some((c, 2))
}

/// The UTF-16 code unit of `\u06AF` at the start of the text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_strings_are_decoded() {
        for (json, text) in [
            (r#"{"\u06AF\u0632": "\u0627"}"#, r#"{"گز": "ا"}"#),
            (r#""a\n\t\"b\"\\c\/d""#, "\"a\n\t\"b\"\\c/d\""),
            (r#""\ud83d\ude00 \\u0627""#, r#""😀 \u0627""#),
            // Not valid, or in no string.
            (r#""\ud83d \ude00 \u06 \u+06A \q""#, r#""\ud83d \ude00 \u06 \u+06A \q""#),
            (r#""\uzzzz\u0627""#, r#""\uzzzzا""#),
            (r#""\ud83d\u0627""#, r#""\ud83dا""#),
            (r"\u0627 \n", r"\u0627 \n"),
            ("\"open\n\"\\u0627\"", "\"open\n\"ا\""),
            (r#""cut \u06"#, r#""cut \u06"#),
            ("\"cut \\", "\"cut \\"),
            ("", ""),
        ] {
            assert_eq!(unescaped(json.to_owned()), text, "{json}");
        }
    }
}
