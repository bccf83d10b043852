//! The job journal: the progress of each file of an ingest job, kept on the host that runs the job.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{CursorPage, Result};
use crate::domain::job::{FileRefusal, FileStep, InputKind, Job, JobCounts, JobInput, JobStatus, JournalFile};
use crate::domain::{AssetId, EventId, ImportedLease, JobId, ObjectKey, Sha256, SourcePath, Tenant};

/// An ingest job to be created.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Id of the new job.
    pub job_id: JobId,
    /// Tenant of its assets.
    pub tenant: Tenant,
    /// Who started it.
    pub actor: String,
    /// Host that runs it.
    pub host: String,
    /// Roots and options as canonical JSON: an equal spec means the same job.
    pub spec: serde_json::Value,
    /// Start time.
    pub at: Timestamp,
}

/// A file that the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path of the file.
    pub path: SourcePath,
    /// New event id, used only if the file is new to the job.
    pub event_id: EventId,
    /// Key for its staged bytes, used only if the file is new to the job.
    pub staging_key: ObjectKey,
}

/// A change of a file's row in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct FileUpdate {
    /// Path of the file.
    pub path: SourcePath,
    /// Step reached.
    pub step: FileStep,
    /// Size in bytes when it was read.
    pub size_bytes: Option<u64>,
    /// Modification time when it was read, in nanoseconds since 1970. Where it is set, the next three are set with it.
    pub modified_ns: Option<i64>,
    /// Time of the last change of its data or metadata when it was read, in nanoseconds since 1970; `None` where it is not
    /// known to tell every later change.
    pub changed_ns: Option<i64>,
    /// Device of the file when it was read.
    pub device: Option<u64>,
    /// Inode of the file when it was read.
    pub inode: Option<u64>,
    /// Digest of its content.
    pub sha256: Option<Sha256>,
    /// Media type by content.
    pub media_type: Option<String>,
    /// Asset of its content.
    pub asset_id: Option<AssetId>,
    /// Why it was refused.
    pub refusal: Option<FileRefusal>,
    /// Time of staging.
    pub staged_at: Option<Timestamp>,
}

/// Conditions on the files of a job to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only files at these steps; empty means all.
    pub steps: Vec<FileStep>,
}

/// Exclusive right to run a job; released when dropped and when the process dies.
pub trait JobLease: Send + Sync {}

/// The job journal.
///
/// Contract: every write is durable when it returns. A (job, path) has one row. A job's lease has one holder at a time.
#[async_trait]
pub trait JobJournal: Send + Sync {
    /// The journal's stable identity, created with it.
    fn identity(&self) -> &str;

    /// Creates a job. `Conflict` when its id exists.
    async fn begin(&self, job: NewJob) -> Result<()>;

    /// Acquires the lease of a job; [`super::ErrorKind::Locked`] while another process holds it, naming that process
    /// where known.
    async fn lease(&self, job: JobId) -> Result<Box<dyn JobLease>>;

    /// Whether a process holds the job's lease.
    async fn is_leased(&self, job: JobId) -> Result<bool>;

    /// A job; `None` if this journal does not have it.
    async fn job(&self, job: JobId) -> Result<Option<Job>>;

    /// Jobs, latest first, from the cursor on.
    async fn jobs(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Job>>;

    /// The latest unfinished job of this tenant with this spec.
    async fn unfinished(&self, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>>;

    /// Sets a job's status; `finished` also sets its end time.
    async fn set_status(&self, job: JobId, status: JobStatus, reason: Option<&str>, at: Timestamp) -> Result<()>;

    /// What the journal has of the outcomes that were recorded under a job's leases; `None` before it was set.
    async fn imported_lease(&self, job: JobId) -> Result<Option<ImportedLease>>;

    /// Sets what the journal has of the outcomes that were recorded under a job's leases.
    async fn set_imported_lease(&self, job: JobId, imported: ImportedLease) -> Result<()>;

    /// Records that the walk is complete.
    async fn set_walk_complete(&self, job: JobId, at: Timestamp) -> Result<()>;

    /// Adds a part of a job's list or manifest, or updates the one of the same kind and number.
    async fn put_input(&self, job: JobId, input: JobInput, at: Timestamp) -> Result<()>;

    /// Removes a part of a job's list or manifest, if it exists.
    async fn remove_input(&self, job: JobId, kind: InputKind, part: u32, at: Timestamp) -> Result<()>;

    /// The parts of a job's lists and manifests, by kind and number.
    async fn inputs(&self, job: JobId) -> Result<Vec<JobInput>>;

    /// Adds files as `planned`; an existing file keeps its row. Returns each file's row, in order.
    async fn plan(&self, job: JobId, files: Vec<PlannedFile>) -> Result<Vec<JournalFile>>;

    /// Updates files. A field that is `None` keeps its value, except that a refusal is cleared by a step other than
    /// `rejected` and `failed`. A file that was not planned is `NotFound`, and nothing of the batch is applied.
    async fn update(&self, job: JobId, files: Vec<FileUpdate>, at: Timestamp) -> Result<()>;

    /// Resets `failed` files to `planned`, with their event ids, except what was cut off of an input: only the whole input tells
    /// what it is. Returns how many.
    async fn retry_failed(&self, job: JobId, at: Timestamp) -> Result<u64>;

    /// Removes those of these files that are `planned`: they turned out to be no files.
    async fn forget_planned(&self, job: JobId, paths: Vec<SourcePath>, at: Timestamp) -> Result<()>;

    /// Files of a job, sorted by path, from the cursor on.
    async fn files(
        &self,
        job: JobId,
        filter: &JobFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<JournalFile>>;

    /// The given paths that the job has a row for.
    async fn existing_paths(&self, job: JobId, paths: Vec<SourcePath>) -> Result<HashSet<SourcePath>>;

    /// Counts of a job's files; `bytes` covers the files whose content is known.
    async fn counts(&self, job: JobId) -> Result<JobCounts>;
}
