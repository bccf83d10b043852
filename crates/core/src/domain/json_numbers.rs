//! Numbers in JSON as they are typed.
//!
//! A number of a [`Value`] is an integer of 64 bits or a double, so that one of 23 digits, or 1.10, is not written as it was
//! read.

use std::borrow::Cow;

use serde_json::Value;

/// Valid JSON in which each number that would not be written as it is typed is in quotes; borrowed where there is none.
#[must_use]
pub fn with_quoted_numbers(json: &str) -> Cow<'_, str> {
    let mut quoted = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = json.as_bytes();
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'"' => string_length(&bytes[at..]),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                bytes[at..].iter().take_while(is_of_number).count()
            }
            _ => 1,
        };
        let part = json.get(at..at + length).unwrap_or_default();
        let is_number = matches!(byte, b'-' | b'0'..=b'9');
        let written = || serde_json::from_str::<Value>(part).ok().map(|number| number.to_string());
        if is_number && written().as_deref() != Some(part) {
            quoted.push_str(json.get(copied..at).unwrap_or_default());
            quoted.push('"');
            quoted.push_str(part);
            quoted.push('"');
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    quoted.push_str(json.get(copied..).unwrap_or_default());
    Cow::Owned(quoted)
}

/// The length of a string at the beginning of a text, with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_would_change_are_quoted() {
        for same in ["{\"a\":[1,-2,0.5,18446744073709551615]}", "\"1.10\"", "[\"\\\"\",true,null]"] {
            assert!(matches!(with_quoted_numbers(same), Cow::Borrowed(text) if text == same), "{same}");
        }
        for (json, quoted) in [
            ("1.10", "\"1.10\""),
            ("[1e3,7,-0]", "[\"1e3\",7,\"-0\"]"),
            ("{\"1.10\":1e999 }", "{\"1.10\":\"1e999\" }"),
            ("[\"\\\\\",18446744073709551616]", "[\"\\\\\",\"18446744073709551616\"]"),
        ] {
            assert_eq!(with_quoted_numbers(json), quoted);
        }
    }
}
