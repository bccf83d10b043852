//! Why an ingest did not start, or did not finish.

use mfctl_core::domain::job::InputKind;
use mfctl_core::domain::job_lease::StoredLease;
use mfctl_core::domain::{JobId, LeaseState, SourcePath, Tenant};
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
    /// Neither the journal nor the catalog has this job.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// The catalog has outcomes of the job, but not its paths and options.
    #[error("job {0} was begun by an earlier release on another host, which did not record its paths and options")]
    NotRecorded(JobId),
    /// The job is of another tenant.
    #[error("job {job} is of the tenant {tenant}")]
    OtherTenant {
        /// The job.
        job: JobId,
        /// Its tenant.
        tenant: Tenant,
    },
    /// Another host runs the job, or took it in the meantime.
    #[error("job {job} {}", lease_text(.lease.as_deref()))]
    HeldElsewhere {
        /// The job.
        job: JobId,
        /// The lease of the other host, as far as it is known.
        lease: Option<Box<StoredLease>>,
    },
    /// This host does not have the files of a job of another host. Nothing was changed.
    #[error("job {job} cannot be continued on this host: {what}")]
    SourceDiffers {
        /// The job.
        job: JobId,
        /// What is missing or differs, as a sentence.
        what: String,
    },
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

/// Continues a sentence with the holder of a lease.
fn lease_text(lease: Option<&StoredLease>) -> String {
    let Some(lease) = lease else { return "was taken by another host".to_owned() };
    if lease.state != LeaseState::Held {
        return format!("was run by another host in the meantime: {} since {}", lease.host, lease.taken_at);
    }
    let expiry =
        lease.expires_at.map(|at| format!("; its lease expires at {at} unless it is renewed")).unwrap_or_default();
    format!("is run by another host: {} since {}{expiry}", lease.host, lease.taken_at)
}
