//! The jobs of all hosts: those of this host's journal, and those of other hosts as the catalog has them.

use std::collections::BTreeMap;

use mfctl_core::domain::job::Job;
use mfctl_core::domain::job_lease::{CatalogJob, StoredLease};
use mfctl_core::domain::{JobId, OutcomeCounts, Tenant};
use mfctl_core::ports::{Error, JobCatalog, JobJournal, Ports, Result};

/// Outcomes that one request counts.
const COUNTED_PER_REQUEST: usize = 10_000;

/// Jobs of a page at most.
const MAX_PAGE: usize = 1_000;

/// A job, by the one who knows most of it.
#[derive(Debug, Clone, PartialEq)]
pub enum KnownJob {
    /// A job of this host's journal, with its lease in the catalog, as far as it is known.
    Own(Box<Job>, Option<StoredLease>),
    /// A job of another host, or one that another host continued.
    Elsewhere(Box<CatalogJob>),
}

impl KnownJob {
    /// The job's id.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        match self {
            Self::Own(job, _) => job.job_id,
            Self::Elsewhere(job) => job.job_id,
        }
    }

    /// Its status and since when, for people: `finished since 2026-01-02T03:04:05Z`.
    #[must_use]
    pub fn status_text(&self) -> String {
        match self {
            Self::Own(job, _) => format!("{} since {}", job.status, job.started_at),
            Self::Elsewhere(job) => match &job.record {
                Some(record) => format!("{} since {} on {}", record.status, record.started_at, record.lease.host),
                None => format!("of another host, first reported at {}", job.recorded_at),
            },
        }
    }

    /// Its id and status, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} ({})", self.job_id(), self.status_text())
    }
}

/// A job, and why the catalog could not say whether another host continued it.
#[derive(Debug)]
pub struct FoundJob {
    /// The job.
    pub job: KnownJob,
    /// The error of the catalog; then the job is this host's.
    pub catalog_error: Option<Error>,
}

/// A page of jobs, latest first.
#[derive(Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<KnownJob>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
    /// The error of the catalog; then the jobs of other hosts are missing.
    pub catalog_error: Option<Error>,
}

/// Where jobs are known from.
#[derive(Clone, Copy)]
pub struct JobSources<'a> {
    journal: &'a dyn JobJournal,
    catalog: &'a dyn JobCatalog,
    tenant: &'a Tenant,
}

impl<'a> JobSources<'a> {
    /// The journal and the catalog of these ports; of the catalog, the jobs of this tenant.
    #[must_use]
    pub fn of(ports: &'a Ports, tenant: &'a Tenant) -> Self {
        Self { journal: ports.journal.as_ref(), catalog: ports.jobs.as_ref(), tenant }
    }

    /// Finds a job; `None` if neither has it.
    ///
    /// # Errors
    /// Errors of the journal; those of the catalog if the journal does not have the job.
    pub async fn find(&self, id: JobId) -> Result<Option<FoundJob>> {
        let own = self.journal.job(id).await?;
        let (known, catalog_error) = match self.catalog.job(self.tenant, id).await {
            Ok(known) => (known, None),
            Err(error) if own.is_some() => (None, Some(error)),
            Err(error) => return Err(error),
        };
        Ok(self.known(own, known).map(|job| FoundJob { job, catalog_error }))
    }

    /// Lists jobs from the cursor on.
    ///
    /// # Errors
    /// Errors of the journal. One of the catalog is part of the page.
    pub async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<JobPage> {
        // As many as every source has in a page: a shorter page of one would leave out its jobs between the others'.
        let limit = limit.clamp(1, MAX_PAGE);
        let own = self.journal.jobs(cursor, limit).await?;
        let mut has_more = own.next.is_some();
        let mut found: BTreeMap<JobId, (Option<Job>, Option<CatalogJob>)> =
            own.items.into_iter().map(|job| (job.job_id, (Some(job), None))).collect();
        let catalog_error = match self.catalog.jobs(self.tenant, cursor, limit).await {
            Ok(page) => {
                has_more |= page.next.is_some();
                for job in page.items {
                    let (_, known) = found.entry(job.job_id).or_default();
                    *known = Some(job);
                }
                None
            }
            Err(error) => Some(error),
        };
        has_more |= found.len() > limit;
        let latest = found.into_values().rev().take(limit);
        let jobs: Vec<KnownJob> = latest.filter_map(|(own, known)| self.known(own, known)).collect();
        let next = jobs.last().filter(|_| has_more).map(|job| job.job_id().to_string());
        Ok(JobPage { jobs, next, catalog_error })
    }

    /// Counts all outcomes of a job, some of them at a time.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn count_outcomes(&self, job: JobId) -> Result<OutcomeCounts> {
        let mut counts = OutcomeCounts::default();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.catalog.count_outcomes(job, cursor.as_deref(), COUNTED_PER_REQUEST).await?;
            counts += page.counts;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(counts);
            }
        }
    }

    fn known(&self, own: Option<Job>, known: Option<CatalogJob>) -> Option<KnownJob> {
        let is_own = |lease: &StoredLease| lease.owner == self.journal.identity();
        match (own, known) {
            (None, None) => None,
            (None, Some(known)) => Some(KnownJob::Elsewhere(Box::new(known))),
            (Some(own), None) => Some(KnownJob::Own(Box::new(own), None)),
            (Some(own), Some(known)) => Some(match &known.record {
                Some(record) if !is_own(&record.lease) => KnownJob::Elsewhere(Box::new(known)),
                record => KnownJob::Own(Box::new(own), record.as_ref().map(|record| record.lease.clone())),
            }),
        }
    }
}
