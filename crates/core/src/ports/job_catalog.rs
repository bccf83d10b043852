//! The jobs of all hosts, in the catalog: their leases, how they ended, and counts of their outcomes.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{CursorPage, Error, ErrorKind, NewJob, Result};
use crate::domain::job::JobStatus;
use crate::domain::job_lease::{CatalogJob, JobEpoch, JobFence, OutcomeCounts, StoredLease};
use crate::domain::{JobId, Tenant};

/// A request for the lease of a job.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The job. Its actor, specification and start are recorded if no holder has recorded them; its host is the
    /// holder's.
    pub job: NewJob,
    /// Identity of the holder's journal. A journal may take its own lease again: its own lock keeps its processes
    /// apart.
    pub owner: String,
    /// The epoch that the requester saw; `None` if it saw no lease.
    pub replaces: Option<JobEpoch>,
    /// How long the lease is in force without being renewed.
    pub lifetime: Duration,
}

/// How the run of a holder ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEnd {
    /// Status of the job.
    pub status: JobStatus,
    /// Why it was interrupted.
    pub reason: Option<String>,
    /// Files that the holder has found; recorded if it says so and they are more than before.
    pub discovered: Option<u64>,
    /// When the run ended.
    pub at: Timestamp,
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The requester holds the lease.
    Taken(JobEpoch),
    /// Another holds it, or the epoch that the requester saw is not the stored one: nothing changed.
    Refused(Option<StoredLease>),
}

/// The error of a holder whose lease another took over: `Fenced`.
#[must_use]
pub fn lease_lost(job: JobId) -> Error {
    Error::new(ErrorKind::Fenced, format!("another host took over job {job}"))
        .hint("`mfctl jobs show JOB` names the host and how far it is")
}

/// Counts of some of a job's outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCountsPage {
    /// The counts of these outcomes.
    pub counts: OutcomeCounts,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// The jobs of all hosts.
///
/// Contract: every write is durable when it returns. Leases are taken by the rule of
/// [`crate::domain::job_lease::take`]. What a holder writes under an epoch that is not the stored one changes nothing.
#[async_trait]
pub trait JobCatalog: Send + Sync {
    /// Takes the lease of a job, whose status becomes `running`.
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseAnswer>;

    /// Lets the lease expire `lifetime` from now, and records how many files the holder has found, if it says so and
    /// they are more than before. Returns whether the epoch is the stored one and the lease was not given up.
    async fn renew_lease(&self, fence: &JobFence, lifetime: Duration, discovered: Option<u64>) -> Result<bool>;

    /// Gives the lease up and records how the run ended. Returns whether the epoch is the stored one.
    async fn end_lease(&self, fence: &JobFence, end: &LeaseEnd) -> Result<bool>;

    /// A job of the tenant; `None` if the catalog does not have it.
    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Option<CatalogJob>>;

    /// Jobs of the tenant, latest first, from the cursor on, which is the id of a job.
    async fn jobs(&self, tenant: &Tenant, cursor: Option<&str>, limit: usize) -> Result<CursorPage<CatalogJob>>;

    /// Counts at most `limit` outcomes of a job, by path, from the cursor on.
    async fn count_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<OutcomeCountsPage>;
}
