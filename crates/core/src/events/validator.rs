//! Validation of values against a compiled schema.

use jsonschema::Validator;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Maximum length of a message in characters: a value in it may be as long as a record.
const MAX_MESSAGE_CHARS: usize = 500;

/// A compiled schema. References out of its document are not resolved.
#[derive(Debug)]
pub struct SchemaValidator(Validator);

/// A violation of a schema by a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SchemaViolation {
    /// JSON pointer into the value; empty for the whole value.
    pub pointer: String,
    /// What is wrong at that location.
    pub message: String,
}

impl SchemaValidator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why it is not a valid schema, or which reference cannot be resolved.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::validator_for(schema).map(Self).map_err(|error| truncated(&error.to_string()))
    }

    /// The first violation with its location as a sentence; `None` for a valid value.
    #[must_use]
    pub fn first_violation(&self, value: &Value) -> Option<String> {
        // Nearly every value is valid, and `is_valid` takes a fraction of the time of collecting errors.
        if self.0.is_valid(value) {
            return None;
        }
        let violation = self.violations(value, 1).pop()?;
        let pointer = if violation.pointer.is_empty() { "/" } else { violation.pointer.as_str() };
        Some(truncated(&format!("at {pointer}: {}", violation.message)))
    }

    /// The violations of a value, at most `limit`.
    #[must_use]
    pub fn violations(&self, value: &Value, limit: usize) -> Vec<SchemaViolation> {
        let violation = |error: jsonschema::ValidationError<'_>| SchemaViolation {
            pointer: error.instance_path().to_string(),
            message: truncated(&error.to_string()),
        };
        self.0.iter_errors(value).take(limit).map(violation).collect()
    }
}

fn truncated(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}
