//! A resource as fields, and in what two of them differ. A field never holds a secret: only that there is one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands for a value that is secret.
pub const SENSITIVE: &str = "(sensitive)";
/// Characters of a value that a person is shown.
const SHOWN: usize = 200;

/// A resource as it is, or as it should be: field and value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fields(pub BTreeMap<String, Value>);

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// The field, e.g. `partitions` or `settings.retention.ms`.
    pub field: String,
    /// What it is; null where it is not there.
    pub from: Option<Value>,
    /// What it should be; null where it should not be there.
    pub to: Option<Value>,
}

impl Fields {
    /// The same with a field.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(field.into(), value.into());
        self
    }

    /// The same with a field, where there is a value.
    #[must_use]
    pub fn with_some(self, field: impl Into<String>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// A field's number; 0 for one that is none.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.get(field).and_then(Value::as_u64).unwrap_or(0)
    }

    /// What would have to change for this to become `wanted`, by field.
    #[must_use]
    pub fn changes_to(&self, wanted: &Self) -> Vec<FieldChange> {
        let mut changes: Vec<FieldChange> = wanted
            .0
            .iter()
            .filter(|(field, to)| self.0.get(*field) != Some(*to))
            .map(|(field, to)| FieldChange {
                field: field.clone(),
                from: self.0.get(field).cloned(),
                to: Some(to.clone()),
            })
            .collect();
        let gone = self.0.iter().filter(|(field, _)| !wanted.0.contains_key(*field));
        changes.extend(gone.map(|(field, from)| FieldChange {
            field: field.clone(),
            from: Some(from.clone()),
            to: None,
        }));
        changes.sort_by(|a, b| a.field.cmp(&b.field));
        changes
    }
}

impl FieldChange {
    /// The field and both values on a line, for people.
    #[must_use]
    pub fn told(&self) -> String {
        match (&self.from, &self.to) {
            (None, Some(to)) => format!("{}: {}", self.field, shown(to)),
            (Some(from), None) => format!("{}: {} -> (gone)", self.field, shown(from)),
            (Some(from), Some(to)) => format!("{}: {} -> {}", self.field, shown(from), shown(to)),
            (None, None) => self.field.clone(),
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text == SENSITIVE => text.clone(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_field_by_field() {
        let is = Fields::default().with("a", 1).with("b", "x").with("c", true);
        let wanted = Fields::default().with("a", 1).with("b", "y").with("d", SENSITIVE);
        let told: Vec<String> = is.changes_to(&wanted).iter().map(FieldChange::told).collect();
        assert_eq!(told, ["b: \"x\" -> \"y\"", "c: true -> (gone)", "d: (sensitive)"]);
        assert!(is.changes_to(&is.clone()).is_empty());
    }
}
