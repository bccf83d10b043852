//! The job journal: each file's journey through an ingest job, on the host that runs it.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Page, Result};
use crate::domain::job::{FileRefusal, FileStep, Job, JobCounts, JobStatus, JournalFile};
use crate::domain::{AssetId, EventId, JobId, ObjectKey, Sha256, SourcePath, Tenant};

/// A job to begin.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub job_id: JobId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Who began it.
    pub actor: String,
    /// Where.
    pub host: String,
    /// Its roots and options, canonical.
    pub spec: serde_json::Value,
    /// When.
    pub at: Timestamp,
}

/// A file as the walk found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// The file.
    pub path: SourcePath,
    /// A fresh event id, kept only if the file is new to the job.
    pub event_id: EventId,
    /// Where its bytes would go, kept likewise.
    pub staging_key: ObjectKey,
}

/// A step of a file's journey.
#[derive(Debug, Clone, PartialEq)]
pub struct FileUpdate {
    /// The file.
    pub path: SourcePath,
    /// Where it stands now.
    pub step: FileStep,
    /// Its size when read.
    pub size_bytes: Option<u64>,
    /// Its modification time when read.
    pub modified_ns: Option<i64>,
    /// Its content.
    pub sha256: Option<Sha256>,
    /// Its type by content.
    pub media_type: Option<String>,
    /// The asset it is.
    pub asset_id: Option<AssetId>,
    /// Why it was not taken.
    pub refusal: Option<FileRefusal>,
    /// When its bytes were staged.
    pub staged_at: Option<Timestamp>,
}

/// Which files of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only these steps; empty means all.
    pub steps: Vec<FileStep>,
}

/// The right to work on a job; freed when dropped or when the process dies.
pub trait JobLease: Send + Sync {}

/// The journal.
///
/// Contract: every write is durable when it returns. A (job, path) has one row. Two processes never hold one job's
/// lease at once.
#[async_trait]
pub trait JobJournal: Send + Sync {
    /// Begins a job. A job of that id that is there is `Conflict`.
    async fn begin(&self, job: NewJob) -> Result<()>;

    /// The lease of a job; [`super::ErrorKind::Locked`] while another process has it, naming that process where known.
    async fn lease(&self, job: JobId) -> Result<Box<dyn JobLease>>;

    /// Whether some process holds the job's lease now.
    async fn is_leased(&self, job: JobId) -> Result<bool>;

    /// A job; `None` if it is unknown here.
    async fn job(&self, job: JobId) -> Result<Option<Job>>;

    /// Jobs, latest first, from the cursor on.
    async fn jobs(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Job>>;

    /// The latest job with this spec that is not finished.
    async fn unfinished(&self, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>>;

    /// Sets how a job stands; `finished` also sets its end.
    async fn set_status(&self, job: JobId, status: JobStatus, reason: Option<&str>, at: Timestamp) -> Result<()>;

    /// Says that the walk came to its end.
    async fn set_walk_complete(&self, job: JobId, at: Timestamp) -> Result<()>;

    /// Adds files as `planned`; one that is there keeps its row. Answers each file's row, in order.
    async fn plan(&self, job: JobId, files: Vec<PlannedFile>) -> Result<Vec<JournalFile>>;

    /// Moves files on. A field that is `None` keeps what was known, but a refusal goes when the step is none. A file that
    /// was not planned is `NotFound`, and none of the batch is moved.
    async fn update(&self, job: JobId, files: Vec<FileUpdate>, at: Timestamp) -> Result<()>;

    /// Makes `failed` files `planned` again, keeping their event ids; answers how many.
    async fn retry_failed(&self, job: JobId, at: Timestamp) -> Result<u64>;

    /// A job's files by path, from the cursor on.
    async fn files(
        &self,
        job: JobId,
        filter: &JobFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<JournalFile>>;

    /// Those of these files that the job has a row of.
    async fn existing_paths(&self, job: JobId, paths: Vec<SourcePath>) -> Result<HashSet<SourcePath>>;

    /// Counts of a job's files; `bytes` are those of files whose content is known.
    async fn counts(&self, job: JobId) -> Result<JobCounts>;
}
