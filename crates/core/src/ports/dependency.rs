//! The systems that a worker depends on.

use std::fmt;

/// A system whose failure is no fault of a record. Each has its own breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// The event log: polls and commits.
    Log,
    /// The catalog: claims, asset rows.
    Catalog,
    /// The object store.
    Objects,
    /// The schema registry.
    Registry,
    /// The search index.
    Search,
    /// The parser's process, as far as this machine and the limits let it run.
    Parser,
    /// This machine's folder for temporary files.
    Scratch,
}

impl Dependency {
    /// Stable name for logs, metrics and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Catalog => "catalog",
            Self::Objects => "objects",
            Self::Registry => "registry",
            Self::Search => "search",
            Self::Parser => "parser",
            Self::Scratch => "scratch",
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
