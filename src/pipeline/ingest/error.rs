//! Why an ingest did not start, or did not finish.

use mfctl_core::domain::job::InputKind;
use mfctl_core::domain::{JobId, SourcePath};
use mfctl_core::ports;
use mfctl_core::stop::StopReason;

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
    /// A list or manifest is not the one that the job was begun with.
    #[error("{what} does not begin with what the job has of its {kind}")]
    AnotherInput {
        /// The path of the list or manifest.
        what: String,
        /// Which of them it is.
        kind: InputKind,
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
    /// An input was given to a job that has all of it, or that never had one.
    #[error("job {job} cannot take a {kind}: {why}")]
    InputNotWanted {
        /// The job.
        job: JobId,
        /// What was given.
        kind: InputKind,
        /// Why it is refused.
        why: &'static str,
    },
    /// A stop was requested before the job began.
    #[error("{0} before the job began")]
    Stopped(StopReason),
    /// The job would leave too little of the disk free.
    #[error("{0}")]
    NoRoom(String),
}
