//! The job journal in the data folder's file, with a lock file for the lease of each job.

mod files;
mod inputs;
mod jobs;
mod lease;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;

use super::db::Db;
use super::sql;
use mfctl_core::domain::job::{InputKind, Job, JobCounts, JobInput, JobStatus, JournalFile};
use mfctl_core::domain::{ImportedLease, JobId, SourcePath, Tenant};
use mfctl_core::ports::{CursorPage, FileUpdate, JobFilter, JobJournal, JobLease, NewJob, PlannedFile, Result};

/// The job journal of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    db: Db,
    leases_dir: PathBuf,
}

impl SqliteJournal {
    /// The journal in this file, with lock files in `<locks_dir>/jobs`.
    #[must_use]
    pub fn new(db: Db, locks_dir: &Path) -> Self {
        Self { db, leases_dir: locks_dir.join("jobs") }
    }
}

#[async_trait]
impl JobJournal for SqliteJournal {
    fn identity(&self) -> &str {
        self.db.identity()
    }

    async fn begin(&self, job: NewJob) -> Result<()> {
        self.db.write("begin a job", move |tx| jobs::begin(tx, &job)).await
    }

    async fn lease(&self, job: JobId) -> Result<Box<dyn JobLease>> {
        lease::acquire(&self.leases_dir, job).await
    }

    async fn is_leased(&self, job: JobId) -> Result<bool> {
        lease::is_leased(&self.leases_dir, job)
    }

    async fn job(&self, job: JobId) -> Result<Option<Job>> {
        self.db.read("read a job", move |connection| jobs::job(connection, job)).await
    }

    async fn jobs(&self, cursor: Option<&str>, limit: usize) -> Result<CursorPage<Job>> {
        let before =
            cursor.map(|cursor| cursor.parse::<JobId>().map_err(|_| sql::invalid_cursor(cursor))).transpose()?;
        let limit = sql::clamp_page_limit(limit);
        self.db.read("list jobs", move |connection| jobs::jobs(connection, before, limit)).await
    }

    async fn unfinished(&self, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>> {
        let tenant = tenant.clone();
        let spec = spec.clone();
        self.db.read("find an unfinished job", move |connection| jobs::unfinished(connection, &tenant, &spec)).await
    }

    async fn set_status(&self, job: JobId, status: JobStatus, reason: Option<&str>, at: Timestamp) -> Result<()> {
        let reason = reason.map(str::to_owned);
        self.db.write("set a job's status", move |tx| jobs::set_status(tx, job, status, reason.as_deref(), at)).await
    }

    async fn imported_lease(&self, job: JobId) -> Result<Option<ImportedLease>> {
        self.db.read("read a job's imported lease", move |connection| jobs::imported_lease(connection, job)).await
    }

    async fn set_imported_lease(&self, job: JobId, imported: ImportedLease) -> Result<()> {
        self.db.write("set a job's imported lease", move |tx| jobs::set_imported_lease(tx, job, imported)).await
    }

    async fn set_walk_complete(&self, job: JobId, at: Timestamp) -> Result<()> {
        self.db.write("mark a job's walk as complete", move |tx| jobs::set_walk_complete(tx, job, at)).await
    }

    async fn put_input(&self, job: JobId, input: JobInput, at: Timestamp) -> Result<()> {
        self.db.write("record a job's input", move |tx| inputs::put(tx, job, &input, at)).await
    }

    async fn remove_input(&self, job: JobId, kind: InputKind, part: u32, at: Timestamp) -> Result<()> {
        self.db.write("remove a job's input", move |tx| inputs::remove(tx, job, kind, part, at)).await
    }

    async fn inputs(&self, job: JobId) -> Result<Vec<JobInput>> {
        self.db.read("read a job's inputs", move |connection| inputs::all(connection, job)).await
    }

    async fn plan(&self, job: JobId, files: Vec<PlannedFile>) -> Result<Vec<JournalFile>> {
        self.db.write("plan a job's files", move |tx| files::plan(tx, job, files)).await
    }

    async fn update(&self, job: JobId, files: Vec<FileUpdate>, at: Timestamp) -> Result<()> {
        self.db.write("update a job's files", move |tx| files::update(tx, job, &files, at)).await
    }

    async fn retry_failed(&self, job: JobId, at: Timestamp) -> Result<u64> {
        self.db.write("retry a job's failed files", move |tx| files::retry_failed(tx, job, at)).await
    }

    async fn files(
        &self,
        job: JobId,
        filter: &JobFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CursorPage<JournalFile>> {
        let limit = sql::clamp_page_limit(limit);
        let mut files: Vec<JournalFile> = Vec::new();
        let mut after = cursor.map(SourcePath::from_text);
        // Several short reads instead of one long one, even if few of very many files match.
        while files.len() <= limit {
            let steps = filter.steps.clone();
            let wanted = limit + 1 - files.len();
            let scan = move |c: &rusqlite::Connection| files::scan(c, job, &steps, after.as_ref(), wanted);
            let scanned = self.db.read("list a job's files", scan).await?;
            files.extend(scanned.files);
            after = scanned.continue_after;
            if after.is_none() {
                break;
            }
        }
        Ok(sql::page(files, limit, |file| file.path.to_string()))
    }

    async fn forget_planned(&self, job: JobId, paths: Vec<SourcePath>, at: Timestamp) -> Result<()> {
        self.db.write("forget a job's files", move |tx| files::forget_planned(tx, job, &paths, at)).await
    }

    async fn existing_paths(&self, job: JobId, paths: Vec<SourcePath>) -> Result<HashSet<SourcePath>> {
        self.db.read("check for a job's files", move |connection| files::existing_paths(connection, job, paths)).await
    }

    async fn counts(&self, job: JobId) -> Result<JobCounts> {
        self.db.read("count a job's files", move |connection| jobs::counts(connection, job)).await
    }
}
