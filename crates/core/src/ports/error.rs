//! The error of every port: a kind that decides what the caller does next, and a message for people.

use std::fmt;

use super::dependency::Dependency;
use crate::domain::error_chain;

/// Kind of an error, as far as the caller's next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The dependency cannot be reached: connection refused, no leader, 5xx.
    Unreachable,
    /// The dependency did not answer in time; the call may have been applied.
    Timeout,
    /// The dependency throttles this client.
    Throttled,
    /// The disk, store or quota is full, or this host has run out of open files, memory or processes: never the fault of one
    /// record.
    Full,
    /// The requested item does not exist.
    NotFound,
    /// Something that `bootstrap apply` creates is missing: a bucket, a table. Not the fault of the record or file.
    Unprepared,
    /// The input is not acceptable, however often it is retried.
    Invalid,
    /// A concurrent change came first, or what is to be created exists.
    Conflict,
    /// The caller was evicted or replaced: its uncommitted work is void.
    Fenced,
    /// Another process holds the lock or lease.
    Locked,
    /// The caller is not authorised.
    Denied,
    /// Stored data is damaged.
    Corrupt,
    /// The data was written by a later version of mfctl.
    TooNew,
    /// Anything else: a defect, or an unexpected answer.
    Internal,
}

impl ErrorKind {
    /// Whether a dependency failed, which is expected to recover: retried without limit, never dead-lettered.
    #[must_use]
    pub fn is_dependency(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Throttled | Self::Full)
    }

    /// Stable name for logs, metrics and JSON.
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

type BoxedCause = Box<dyn std::error::Error + Send + Sync>;

/// An error of a port. Never contains a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    source: Option<BoxedCause>,
    dependency: Option<Dependency>,
}

/// Result of a port's method.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error; `what` names the operation and its object, e.g. `read object a/b`.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, source: None, dependency: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxedCause>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds a hint on what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the system that was called, for a caller of several.
    #[must_use]
    pub fn of(mut self, dependency: Dependency) -> Self {
        self.dependency = Some(dependency);
        self
    }

    /// The system that was called, where the caller of the port named it.
    #[must_use]
    pub fn dependency(&self) -> Option<Dependency> {
        self.dependency
    }

    /// Kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Hint on what to do next, if the backend has one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message with its causes on one line, as [`error_chain`].
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
