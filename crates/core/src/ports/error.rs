//! The one error of every port: a kind that decides what happens next, and words for people.

use std::fmt;

use crate::domain::error_chain;

/// What went wrong, as far as the caller's next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The dependency cannot be reached.
    Unreachable,
    /// It did not answer in time; the call may have been applied.
    Timeout,
    /// It asked to go slower.
    Throttled,
    /// It has no room left.
    Full,
    /// What was asked for does not exist.
    NotFound,
    /// What `bootstrap apply` makes is not there: a bucket, a table. No fault of what was being worked on.
    Unprepared,
    /// What was given cannot be accepted, however often it is tried.
    Invalid,
    /// Somebody else changed it first.
    Conflict,
    /// Another took this caller's place; its unsettled work is void.
    Fenced,
    /// Another process holds the lock.
    Locked,
    /// The caller lacks the right.
    Denied,
    /// Stored data is not what was stored.
    Corrupt,
    /// Written by a later version of mfctl.
    TooNew,
    /// Anything else: a defect, or an answer nobody foresaw.
    Internal,
}

impl ErrorKind {
    /// Whether this is a failure of the dependency, which passes: retried without limit, never a dead letter.
    #[must_use]
    pub fn is_dependency(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Throttled | Self::Full)
    }

    /// A stable word for logs, metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::Full => "full",
            Self::NotFound => "not_found",
            Self::Unprepared => "unprepared",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Locked => "locked",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::TooNew => "too_new",
            Self::Internal => "internal",
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A port's error. Never holds a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    source: Option<Source>,
}

/// A port's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind; `what` says what was being done to what, e.g. `read object a/b`.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next, where the backend knows.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message with its chain of causes, on one line.
    #[must_use]
    pub fn full(&self) -> String {
        error_chain(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
