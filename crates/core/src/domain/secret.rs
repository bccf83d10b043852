//! Secrets in memory, which cannot be printed.

use std::fmt;

use serde_json::Value;

/// The content of a secret. It has no `Display` and no `Serialize`, and its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the content of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The content. Call it only where the secret is sent or compared.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The JSON value of a secret's field, which keeps its type when it is written back. It cannot be printed either.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Value);

impl SecretValue {
    /// Wraps the value of a field.
    #[must_use]
    pub const fn new(value: Value) -> Self {
        Self(value)
    }

    /// The value. Call it only where it is sent or compared.
    #[must_use]
    pub const fn expose(&self) -> &Value {
        &self.0
    }

    /// Whether the field holds nothing that could be used: null or an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_null() || self.0.as_str().is_some_and(str::is_empty)
    }
}

impl From<Secret> for SecretValue {
    fn from(secret: Secret) -> Self {
        Self(Value::String(secret.0))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_output_never_has_the_value() {
        for value in [json!("hunter2"), json!({"password": "hunter2"}), json!(["hunter2"])] {
            assert!(!format!("{:?}", SecretValue::new(value)).contains("hunter2"));
        }
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
