//! What a call tells the breaker: the dependencies it uses, its record, and how it failed.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::domain::RecordAddress;
use crate::ports::{Dependency, Error, ErrorKind};

/// An error that may be the failure of a dependency.
pub trait DependencyFault: Display {
    /// Whether a dependency failed, as [`crate::ports::ErrorKind::is_dependency`].
    fn is_dependency(&self) -> bool;

    /// The dependency, where the error names it.
    fn dependency(&self) -> Option<Dependency>;

    /// Whether a disk, store or quota is full, or the host has run out of open files, memory or processes: never the fault of
    /// one record.
    fn is_full(&self) -> bool;

    /// Whether the dependency throttles its clients.
    fn is_throttled(&self) -> bool;
}

impl DependencyFault for Error {
    fn is_dependency(&self) -> bool {
        self.kind().is_dependency()
    }

    fn dependency(&self) -> Option<Dependency> {
        Self::dependency(self)
    }

    fn is_full(&self) -> bool {
        self.kind() == ErrorKind::Full
    }

    fn is_throttled(&self) -> bool {
        self.kind() == ErrorKind::Throttled
    }
}

/// Where a call is made.
#[derive(Debug, Clone, Copy)]
pub struct CallSite<'a> {
    /// The dependencies that the call uses. The first is taken for the one that failed where the error names none of them.
    pub uses: &'a [Dependency],
    /// The record that the call is made for; `None` when it is made for several, or for none.
    pub record: Option<&'a RecordAddress>,
}

impl CallSite<'_> {
    pub(super) fn dependency_of(&self, error: &impl DependencyFault) -> Dependency {
        let named = error.dependency().filter(|named| self.uses.contains(named));
        named.or_else(|| self.uses.first().copied()).unwrap_or(Dependency::Log)
    }
}

/// How long a dependency may fail for one record alone before that is the record's failure. Both bounds have to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimit {
    /// Failed calls.
    pub failures: u32,
    /// Time since the first of them began; three times as long while the dependency throttles.
    pub lasting: Duration,
}

impl Default for RecordLimit {
    fn default() -> Self {
        Self { failures: 3, lasting: Duration::from_secs(20) }
    }
}

/// The failures of one record's call in a row, outages left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordFailures {
    pub(super) count: u32,
    since: Instant,
}

impl RecordFailures {
    pub(super) fn new(since: Instant) -> Self {
        Self { count: 0, since }
    }
}

impl RecordLimit {
    pub(super) fn is_reached(&self, failed: RecordFailures, throttled: bool) -> bool {
        let lasting = if throttled { self.lasting.saturating_mul(3) } else { self.lasting };
        failed.count >= self.failures && failed.since.elapsed() >= lasting
    }
}
