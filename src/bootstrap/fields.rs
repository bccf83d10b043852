//! A resource as a map of fields, and the difference between two such maps. A field never holds a secret, only a
//! placeholder that shows that it is set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Placeholder of a secret value.
pub const SENSITIVE: &str = "(sensitive)";
/// Characters of a value that [`FieldChange::summary`] shows; the rest is cut off.
const MAX_SHOWN_CHARS: usize = 200;

/// A resource's live or desired state, as values by field name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ResourceFields(pub BTreeMap<String, Value>);

/// A field whose live value differs from the desired one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// The field, e.g. `partitions` or `settings.retention.ms`.
    pub field: String,
    /// Live value; null where the field is absent.
    pub from: Option<Value>,
    /// Desired value; null where the field is to be removed.
    pub to: Option<Value>,
}

impl ResourceFields {
    /// Sets a field.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(field.into(), value.into());
        self
    }

    /// Sets a field if there is a value.
    #[must_use]
    pub fn with_some(self, field: impl Into<String>, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// Value of a field; `None` where it is absent.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Value of a numeric field; 0 where it is absent or not an unsigned integer.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.get(field).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Changes that turn this into `desired`, sorted by field.
    #[must_use]
    pub fn changes_to(&self, desired: &Self) -> Vec<FieldChange> {
        let mut changes: Vec<FieldChange> = desired
            .0
            .iter()
            .filter(|(field, to)| self.0.get(*field) != Some(*to))
            .map(|(field, to)| FieldChange {
                field: field.clone(),
                from: self.0.get(field).cloned(),
                to: Some(to.clone()),
            })
            .collect();
        let removed = self.0.iter().filter(|(field, _)| !desired.0.contains_key(*field));
        changes.extend(removed.map(|(field, from)| FieldChange {
            field: field.clone(),
            from: Some(from.clone()),
            to: None,
        }));
        changes.sort_by(|a, b| a.field.cmp(&b.field));
        changes
    }
}

impl FieldChange {
    /// The field with both values on one line, for a terminal; long values are cut off.
    #[must_use]
    pub fn summary(&self) -> String {
        match (&self.from, &self.to) {
            (None, Some(to)) => format!("{}: {}", self.field, display_value(to)),
            (Some(from), None) => format!("{}: {} -> (gone)", self.field, display_value(from)),
            (Some(from), Some(to)) => format!("{}: {} -> {}", self.field, display_value(from), display_value(to)),
            (None, None) => self.field.clone(),
        }
    }
}

fn display_value(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text == SENSITIVE => text.clone(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_show_added_changed_and_removed_fields() {
        let live = ResourceFields::default().with("a", 1).with("b", "x").with("c", true);
        let desired = ResourceFields::default().with("a", 1).with("b", "y").with("d", SENSITIVE);
        let summaries: Vec<String> = live.changes_to(&desired).iter().map(FieldChange::summary).collect();
        assert_eq!(summaries, ["b: \"x\" -> \"y\"", "c: true -> (gone)", "d: (sensitive)"]);
        assert!(live.changes_to(&live.clone()).is_empty());
    }
}
