//! Differences between two JSON documents, by JSON pointer.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// One difference between two documents.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// JSON pointer of the value; empty for the whole document.
    pub pointer: String,
    /// Value before; absent where one was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Value after; absent where one was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Every difference between two documents, at the deepest pointer possible. Arrays of strings are compared as sets, since
/// the order of `required` or `enum` has no meaning.
#[must_use]
pub fn json_differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(at: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let at = format!("{at}/{}", escaped(name));
                match new.get(name) {
                    Some(other) => compare(&at, value, other, found),
                    None => found.push(Difference { pointer: at, before: Some(value.clone()), after: None }),
                }
            }
            for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                let pointer = format!("{at}/{}", escaped(name));
                found.push(Difference { pointer, before: None, after: Some(value.clone()) });
            }
        }
        (Value::Array(old), Value::Array(new)) if all_strings(old) && all_strings(new) => {
            compare_sets(at, old, new, found);
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{at}/{index}"), old, new, found);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            found.push(Difference { pointer: at.to_owned(), before: Some(before.clone()), after: Some(after.clone()) })
        }
    }
}

fn compare_sets(at: &str, old: &[Value], new: &[Value], found: &mut Vec<Difference>) {
    for value in old.iter().filter(|value| !new.contains(value)) {
        found.push(Difference { pointer: format!("{at}/-"), before: Some(value.clone()), after: None });
    }
    for value in new.iter().filter(|value| !old.contains(value)) {
        found.push(Difference { pointer: format!("{at}/-"), before: None, after: Some(value.clone()) });
    }
}

fn all_strings(list: &[Value]) -> bool {
    list.iter().all(Value::is_string)
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_have_pointers_and_ignore_the_order_of_strings() {
        let before =
            json!({ "required": ["a", "b"], "properties": { "a/b": { "maxLength": 5 }, "gone": {} }, "n": [1] });
        let after = json!({ "required": ["b", "a", "c"], "properties": { "a/b": { "maxLength": 9 } }, "n": [1, 2] });
        let lines: Vec<String> = json_differences(&before, &after)
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    one.pointer,
                    one.before.as_ref().map_or("-".into(), Value::to_string),
                    one.after.as_ref().map_or("-".into(), Value::to_string),
                )
            })
            .collect();
        assert_eq!(
            lines,
            ["/n [1] [1,2]", "/properties/a~1b/maxLength 5 9", "/properties/gone {} -", "/required/- - \"c\""]
        );
        assert!(json_differences(&before, &before.clone()).is_empty());
    }
}
