//! The job journal in the data folder's file, with a lock file for each job that is being worked on.

mod files;
mod jobs;
mod lease;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;

use super::db::Db;
use super::sql;
use mfctl_core::domain::job::{FileStep, Job, JobCounts, JobStatus, JournalFile};
use mfctl_core::domain::{JobId, SourcePath, Tenant};
use mfctl_core::ports::{
    Error, ErrorKind, FileUpdate, JobFilter, JobJournal, JobLease, NewJob, Page, PlannedFile, Result,
};

/// The job journal of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    db: Db,
    locks: PathBuf,
}

impl SqliteJournal {
    /// The journal in this file; leases are lock files in `<locks>/jobs`.
    #[must_use]
    pub fn new(db: Db, locks: &Path) -> Self {
        Self { db, locks: locks.join("jobs") }
    }
}

#[async_trait]
impl JobJournal for SqliteJournal {
    async fn begin(&self, job: NewJob) -> Result<()> {
        self.db.write("begin a job", move |tx| jobs::begin(tx, &job)).await
    }

    async fn lease(&self, job: JobId) -> Result<Box<dyn JobLease>> {
        lease::take(&self.locks, job).await
    }

    async fn is_leased(&self, job: JobId) -> Result<bool> {
        lease::is_taken(&self.locks, job)
    }

    async fn job(&self, job: JobId) -> Result<Option<Job>> {
        self.db.read("read a job", move |connection| jobs::one(connection, job)).await
    }

    async fn jobs(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        let before = cursor.map(|cursor| cursor.parse::<JobId>().map_err(|_| sql::bad_cursor(cursor))).transpose()?;
        let limit = sql::page_limit(limit);
        self.db.read("list jobs", move |connection| jobs::list(connection, before, limit)).await
    }

    async fn unfinished(&self, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>> {
        let (tenant, spec) = (tenant.clone(), spec.clone());
        self.db.read("look for an unfinished job", move |connection| jobs::unfinished(connection, &tenant, &spec)).await
    }

    async fn set_status(&self, job: JobId, status: JobStatus, reason: Option<&str>, at: Timestamp) -> Result<()> {
        let reason = reason.map(str::to_owned);
        self.db.write("say how a job stands", move |tx| jobs::set_status(tx, job, status, reason.as_deref(), at)).await
    }

    async fn set_walk_complete(&self, job: JobId, at: Timestamp) -> Result<()> {
        self.db.write("end a job's walk", move |tx| jobs::set_walk_complete(tx, job, at)).await
    }

    async fn plan(&self, job: JobId, files: Vec<PlannedFile>) -> Result<Vec<JournalFile>> {
        self.db.write("plan a job's files", move |tx| files::plan(tx, job, files)).await
    }

    async fn update(&self, job: JobId, files: Vec<FileUpdate>, at: Timestamp) -> Result<()> {
        self.db.write("move a job's files on", move |tx| files::update(tx, job, &files, at)).await
    }

    async fn retry_failed(&self, job: JobId, at: Timestamp) -> Result<u64> {
        self.db.write("plan a job's failed files again", move |tx| files::retry_failed(tx, job, at)).await
    }

    async fn files(
        &self,
        job: JobId,
        filter: &JobFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<JournalFile>> {
        let limit = sql::page_limit(limit);
        let mut found: Vec<JournalFile> = Vec::new();
        let mut after = cursor.map(SourcePath::from_text);
        // Each read is short even where few of very many files are wanted.
        while found.len() <= limit {
            let (steps, from, wanted) = (filter.steps.clone(), after, limit + 1 - found.len());
            let read =
                move |connection: &rusqlite::Connection| files::scan(connection, job, &steps, from.as_ref(), wanted);
            let scanned = self.db.read("list a job's files", read).await?;
            found.extend(scanned.files);
            match scanned.passed {
                Some(passed) => after = Some(passed),
                None => break,
            }
        }
        Ok(sql::page(found, limit, |file| file.path.to_string()))
    }

    async fn holds(&self, job: JobId, paths: Vec<SourcePath>) -> Result<HashSet<SourcePath>> {
        self.db.read("look for a job's files", move |connection| files::holds(connection, job, paths)).await
    }

    async fn counts(&self, job: JobId) -> Result<JobCounts> {
        self.db.read("count a job's files", move |connection| jobs::counts(connection, job)).await
    }
}

/// The error of a job that the journal does not know.
fn unknown(job: JobId) -> Error {
    Error::new(ErrorKind::NotFound, format!("job {job} is not in this data folder's journal"))
        .hint("`mfctl jobs list` shows those that are")
}

/// Whether a file that stands here was refused.
fn is_refused(step: FileStep) -> bool {
    matches!(step, FileStep::Rejected | FileStep::Failed)
}
