//! The fields of a JSON object, each as its text, so that a number of any length keeps its digits. A field that is
//! given twice with different values is an error, at any depth: one of them would be lost.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use mfctl_core::domain::json_numbers::with_quoted_numbers;

/// The fields of an object.
pub(super) type JsonFields<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an object.
///
/// # Errors
/// The parser's; that of a text which is JSON and no object says so. A field with two values.
pub(super) fn fields(text: &[u8]) -> Result<JsonFields<'_>, serde_json::Error> {
    if matches!(text.trim_ascii_start().first(), None | Some(b'{')) {
        return serde_json::from_slice(text).map(|Fields(fields)| fields);
    }
    let IgnoredAny = serde_json::from_slice(text)?;
    Err(de::Error::custom("it is not a JSON object"))
}

/// The fields of an object, each with one value.
struct Fields<'a>(JsonFields<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = JsonFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = JsonFields::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            match fields.get(&name) {
                Some(other) if !is_same_value(other, value) => return Err(given_twice(&name)),
                _ => fields.insert(name, value),
            };
        }
        Ok(fields)
    }
}

/// Whether two texts are of one value: they may differ in white space and escape sequences.
fn is_same_value(one: &RawValue, other: &RawValue) -> bool {
    let [one, other] = [one, other].map(RawValue::get);
    let value = |text: &str| serde_json::from_str::<Value>(&with_quoted_numbers(text)).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}

/// The error for a field with two values.
fn given_twice<E: de::Error>(name: &str) -> E {
    E::custom(format!("the field {name:?} is given twice, with different values"))
}

/// A value in which no field has two values.
struct UnambiguousValue(Value);

impl<'de> Deserialize<'de> for UnambiguousValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(UnambiguousValue(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some((name, UnambiguousValue(value))) = map.next_entry::<String, _>()? {
            match fields.get(&name) {
                Some(other) if *other != value => return Err(given_twice(&name)),
                _ => fields.insert(name, value),
            };
        }
        Ok(Value::Object(fields))
    }
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
/// The parser's, for a value that is nested too deeply; a field with two values.
pub(super) fn value_as_typed(value: &RawValue) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&with_quoted_numbers(value.get())).map(|UnambiguousValue(value)| value)
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
    fn a_field_with_two_values_is_an_error_at_any_depth() {
        let reason = |text: &str| reason_in_line(&fields(text.as_bytes()).unwrap_err());
        let doubled = "the field \"title\" is given twice, with different values at column 25";
        assert_eq!(reason(r#"{"title":"a","title":"b"}"#), doubled);
        assert!(reason(r#"{"title":"a","ti\u0074le":null}"#).contains("\"title\" is given twice"));
        assert_eq!(fields(br#"{"title":"a","title":"a"}"#).unwrap().len(), 1);
        let nested = |text: &str| value_as_typed(serde_json::from_str(text).unwrap());
        for text in [r#"{"d":{"e":1,"e":2}}"#, r#"[{"e":1,"e":[]}]"#] {
            assert!(nested(text).unwrap_err().to_string().contains("\"e\" is given twice"), "{text}");
        }
        assert_eq!(nested(r#"{"e":1,"e":1}"#).unwrap(), serde_json::json!({"e": 1}));
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
