//! What is wrong with the configuration, where, and what to do.

use super::origin::SourceLocation;

/// What the caller's next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsErrorKind {
    /// The command line leaves open what it must say.
    Usage,
    /// A file, variable or flag has a value that cannot be.
    Invalid,
    /// Something named does not exist.
    NotFound,
    /// A guard says no.
    Refused,
}

/// A configuration that cannot be used. Never holds a secret's value.
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

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> SettingsErrorKind {
        self.kind
    }

    /// What to do next, if there is anything to say.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
