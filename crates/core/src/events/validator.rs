//! A schema ready to check values with, and what it says of one that breaks it.

use jsonschema::Validator;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Characters of a sentence that are kept: a value may be as long as a record.
const MOST_TOLD: usize = 500;

/// A compiled schema. Follows no reference out of its document.
#[derive(Debug)]
pub struct SchemaValidator(Validator);

/// One way in which a value breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Breach {
    /// Where in the value, a JSON pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl SchemaValidator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why it is no schema, or refers to what is not in it.
    pub fn of(schema: &Value) -> Result<Self, String> {
        jsonschema::validator_for(schema).map(Self).map_err(|error| told(&error.to_string()))
    }

    /// The first breach: its place and a sentence.
    #[must_use]
    pub fn first(&self, value: &Value) -> Option<String> {
        // Nearly every value is valid, and to say so takes a fraction of what it takes to say what is wrong.
        if self.0.is_valid(value) {
            return None;
        }
        let breach = self.breaches(value, 1).pop()?;
        let place = if breach.pointer.is_empty() { "/" } else { breach.pointer.as_str() };
        Some(told(&format!("at {place}: {}", breach.message)))
    }

    /// The breaches, at most so many.
    #[must_use]
    pub fn breaches(&self, value: &Value, most: usize) -> Vec<Breach> {
        let breach = |error: jsonschema::ValidationError<'_>| Breach {
            pointer: error.instance_path().to_string(),
            message: told(&error.to_string()),
        };
        self.0.iter_errors(value).take(most).map(breach).collect()
    }
}

fn told(text: &str) -> String {
    text.chars().take(MOST_TOLD).collect()
}
