//! How a worker ended, and what it did until then.

use std::fmt;

use super::dead_letter_ratio::RatioExceeded;
use mfctl_core::ports::{self, ErrorKind};
use mfctl_core::stop::StopReason;

/// Totals of one worker's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerSummary {
    /// Records committed.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records skipped as duplicates.
    pub skipped_duplicates: u64,
    /// Retries, of records and of calls to dependencies.
    pub retried: u64,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: u64,
    /// Commits that the log refused with `Fenced`.
    pub fenced: u64,
}

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEnd {
    /// The group has consumed every partition to its end.
    Drained,
    /// A stop was requested.
    Stopped(StopReason),
    /// A dependency was down for longer than [`super::Tuning::give_up_after`].
    OutageTooLong {
        /// The latest error.
        error: String,
    },
    /// The dead-letter ratio exceeded its limit.
    TooManyDeadLetters {
        /// Dead letters of one error kind among the latest records.
        dead_letters: usize,
        /// How many of the latest records were looked at.
        of: usize,
        /// That error kind.
        mostly: String,
        /// For which tenants, in words.
        tenants: String,
    },
    /// A failure that neither a retry nor a dead letter resolves.
    Failed(FatalFailure),
}

impl fmt::Display for WorkerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("nothing is left"),
            Self::Stopped(reason) => write!(f, "{reason}"),
            Self::OutageTooLong { error } => write!(f, "a dependency was down for too long: {error}"),
            Self::TooManyDeadLetters { dead_letters, of, mostly, tenants } => {
                write!(
                    f,
                    "{dead_letters} of the latest {of} records failed with kind {mostly}, {tenants}; no more are dead-lettered"
                )
            }
            Self::Failed(failure) => f.write_str(&failure.reason),
        }
    }
}

impl From<RatioExceeded> for WorkerEnd {
    fn from(exceeded: RatioExceeded) -> Self {
        let RatioExceeded { kind, dead_letters, of, tenant, failing_tenants, tenants } = exceeded;
        let most = tenant.map_or_else(|| "an unknown tenant".to_owned(), |tenant| format!("tenant {tenant}"));
        let tenants = match tenants {
            0 | 1 => format!("all of {most}"),
            _ => format!(
                "as nearly all are of {failing_tenants} of the latest {tenants} tenants, most of them of {most}"
            ),
        };
        Self::TooManyDeadLetters { dead_letters, of, mostly: kind.to_owned(), tenants }
    }
}

/// A failure that ends the worker: a retry would fail again, and the record is not at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatalFailure {
    /// The kind, which decides the exit code.
    pub kind: ErrorKind,
    /// The error with its causes.
    pub reason: String,
    /// The remedy, for the operator.
    pub hint: Option<String>,
}

impl From<&ports::Error> for FatalFailure {
    fn from(error: &ports::Error) -> Self {
        Self { kind: error.kind(), reason: error.full(), hint: error.hint_text().map(str::to_owned) }
    }
}

/// How a worker ended, and its totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOutcome {
    /// Totals since the start.
    pub summary: WorkerSummary,
    /// Why it ended.
    pub ended: WorkerEnd,
}
