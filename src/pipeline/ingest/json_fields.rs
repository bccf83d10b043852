//! The fields of a JSON object, each as its text, so that a number of any length keeps its digits.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use mfctl_core::domain::json_numbers::with_quoted_numbers;

/// The fields of an object.
pub(super) type JsonFields<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an object.
///
/// # Errors
/// The parser's; that of a text which is JSON and no object says so.
pub(super) fn fields(text: &[u8]) -> Result<JsonFields<'_>, serde_json::Error> {
    if matches!(text.trim_ascii_start().first(), None | Some(b'{')) {
        return serde_json::from_slice(text);
    }
    let IgnoredAny = serde_json::from_slice(text)?;
    Err(serde::de::Error::custom("it is not a JSON object"))
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonKind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl JsonKind {
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::Text,
            Some(b'[') => Self::List,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// The value. A number that JSON would have as another text, such as 1.10, 1e3 or one of 23 digits, becomes its text as it is
/// typed.
///
/// # Errors
/// The parser's, for a value that is nested too deeply.
pub(super) fn value_as_typed(value: &RawValue) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&with_quoted_numbers(value.get()))
}

/// Why a text of one line is not JSON: the parser's message with the column alone.
pub(super) fn reason_in_line(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(json: &str) -> Value {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        value_as_typed(raw).unwrap()
    }

    #[test]
    fn a_number_keeps_its_digits() {
        for same in ["0", "7", "-7", "1.5", "0.1", "9007199254740993", "18446744073709551615", "-9223372036854775808"] {
            assert_eq!(typed(same), serde_json::from_str::<Value>(same).unwrap(), "{same}");
            assert_eq!(typed(same).to_string(), same);
        }
        for text in [
            "12345678901234567890123",
            "97860012345678901234",
            "-12345678901234567890123",
            "1.10",
            "1e3",
            "1E+3",
            "-0",
            "1e999",
            "0.1234567890123456789",
        ] {
            assert_eq!(typed(text), Value::from(text));
            let nested = typed(&format!(r#"{{"a \" 1.10": [ {text},7], "b\\":"{text} \\\" 1.10","c": {text} }}"#));
            let text_with_quotes = format!("{text} \\\" 1.10");
            assert_eq!(nested, serde_json::json!({"a \" 1.10": [text, 7], "b\\": text_with_quotes, "c": text}));
        }
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert!(value_as_typed(serde_json::from_str(&deep).unwrap()).is_err());
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["", "7", "[]", "null", "{", "{\"a\":01}", "{\"a\":1.}"] {
            assert!(fields(text.as_bytes()).is_err(), "{text}");
        }
        let error = fields(b"{\"a\": nope}").unwrap_err();
        assert_eq!(reason_in_line(&error), "expected ident at column 8");
    }
}
