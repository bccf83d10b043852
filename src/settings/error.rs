//! Errors of the configuration: location, message and hint.

use super::origin::SourceLocation;

/// Kind of a configuration error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsErrorKind {
    /// The command line lacks something that it must specify.
    Usage,
    /// A file, variable or flag has an invalid value.
    Invalid,
    /// Something named does not exist.
    NotFound,
    /// A safety check refuses the combination.
    Refused,
}

/// An unusable configuration. Never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.location.as_ref()))]
pub struct Error {
    kind: SettingsErrorKind,
    location: Option<SourceLocation>,
    message: String,
    hint: Option<String>,
}

fn prefix(location: Option<&SourceLocation>) -> String {
    location.map(|location| format!("{location}: ")).unwrap_or_default()
}

impl Error {
    pub(super) fn new(kind: SettingsErrorKind, message: impl Into<String>) -> Self {
        Self { kind, location: None, message: message.into(), hint: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(SettingsErrorKind::Invalid, message)
    }

    pub(super) fn at(mut self, location: SourceLocation) -> Self {
        self.location = Some(location);
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Kind of the error.
    #[must_use]
    pub const fn kind(&self) -> SettingsErrorKind {
        self.kind
    }

    /// Hint on what to do next, if there is one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
