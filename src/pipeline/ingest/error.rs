//! Why an ingest did not start, or did not finish.

use mfctl_core::domain::{JobId, SourcePath};
use mfctl_core::ports;

/// Why an ingest did not start, or did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A backend's error.
    #[error(transparent)]
    Port(#[from] ports::Error),
    /// The options are invalid. The text continues "the ingest's specification".
    #[error("the ingest's specification {0}")]
    Spec(String),
    /// A manifest or list cannot be read.
    #[error("cannot read {what}")]
    Input {
        /// The manifest's or list's path.
        what: String,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// An ignore file cannot be read or applied: what it leaves out is not known, so nothing below it is taken.
    #[error("{file}{}: {reason}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    IgnoreFile {
        /// The ignore file.
        file: SourcePath,
        /// The line that is invalid, counted from 1; none if the file cannot be read.
        line: Option<u64>,
        /// Why.
        reason: String,
    },
    /// The journal does not have this job.
    #[error("job {0} is not in this data folder's journal")]
    UnknownJob(JobId),
    /// The job would leave too little of the disk free.
    #[error("{0}")]
    NoRoom(String),
}
