//! The rows of jobs, and the counts of their files.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::job::{FileStep, Job, JobCounts, JobStatus};
use mfctl_core::domain::{ImportedLease, JobEpoch, JobId, Tenant};
use mfctl_core::ports::{CursorPage, Error, ErrorKind, NewJob, Result};

const COLUMNS: &str = "SELECT job_id, tenant, status, reason, actor, host, spec, started_at, updated_at, finished_at, \
                       walk_complete FROM journal_jobs";

pub(super) fn begin(tx: &Connection, job: &NewJob) -> Result<()> {
    let added = tx
        .prepare_cached(
            "INSERT INTO journal_jobs (job_id, tenant, status, actor, host, spec, started_at, updated_at)
             VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?6) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut insert| {
            let id = job.job_id.0.as_bytes();
            let spec = job.spec.to_string();
            insert.execute(params![id, job.tenant.as_str(), job.actor, job.host, spec, sql::time(job.at)])
        })
        .during("begin a job")?;
    if added == 0 {
        return Err(Error::new(ErrorKind::Conflict, format!("job {} exists already", job.job_id)));
    }
    Ok(())
}

/// The key of a job's rows: shorter than its id.
pub(super) fn job_no(connection: &Connection, job: JobId) -> Result<i64> {
    connection
        .prepare_cached("SELECT job_no FROM journal_jobs WHERE job_id = ?1")
        .and_then(|mut select| select.query_row([job.0.as_bytes()], |row| row.get(0)).optional())
        .during("find a job")?
        .ok_or_else(|| no_such_job(job))
}

/// See [`mfctl_core::ports::JobJournal::job`].
pub(super) fn job(connection: &Connection, job: JobId) -> Result<Option<Job>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE job_id = ?1"))
        .and_then(|mut select| select.query_row([job.0.as_bytes()], job_row).optional())
        .during("read a job")
}

/// Jobs older than `before`, latest first.
pub(super) fn jobs(connection: &Connection, before: Option<JobId>, limit: usize) -> Result<CursorPage<Job>> {
    // 17 bytes of the highest value sort after every 16-byte id.
    let before = before.map_or_else(|| vec![0xff; 17], |job| job.0.as_bytes().to_vec());
    let rows = connection
        .prepare_cached(&format!("{COLUMNS} WHERE job_id < ?1 ORDER BY job_id DESC LIMIT ?2"))
        .and_then(|mut select| select.query_map(params![before, limit as i64 + 1], job_row)?.collect())
        .during("list jobs")?;
    Ok(sql::page(rows, limit, |job: &Job| job.job_id.to_string()))
}

/// The latest unfinished job of this spec. Specs are compared as values: the order of keys does not matter.
pub(super) fn unfinished(connection: &Connection, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>> {
    let what = "find an unfinished job";
    let query = format!("{COLUMNS} WHERE status <> 2 AND tenant = ?1 ORDER BY job_id DESC");
    let mut select = connection.prepare_cached(&query).during(what)?;
    let jobs = select.query_map([tenant.as_str()], job_row).during(what)?;
    for job in jobs {
        let job = job.during(what)?;
        if job.spec == *spec {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

pub(super) fn set_status(
    tx: &Connection,
    job: JobId,
    status: JobStatus,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    let changed = tx
        .prepare_cached(
            "UPDATE journal_jobs SET status = ?2, reason = ?3, updated_at = max(updated_at, ?4),
                 finished_at = iif(?2 = 2, ?4, NULL)
             WHERE job_id = ?1",
        )
        .and_then(|mut update| {
            let status = sql::variant_index(JobStatus::ALL, &status);
            update.execute(params![job.0.as_bytes(), status, reason, sql::time(at)])
        })
        .during("set a job's status")?;
    if changed == 0 { Err(no_such_job(job)) } else { Ok(()) }
}

/// See [`mfctl_core::ports::JobJournal::imported_lease`].
pub(super) fn imported_lease(connection: &Connection, job: JobId) -> Result<Option<ImportedLease>> {
    let row = connection
        .prepare_cached("SELECT lease_epoch, expected_files FROM journal_jobs WHERE job_id = ?1")
        .and_then(|mut select| {
            let read = |row: &Row<'_>| {
                let mut columns = RowReader::new(row);
                let (epoch, expected_files) = (columns.get::<Option<i64>>()?, columns.maybe_count()?);
                Ok(epoch.map(|epoch| ImportedLease { epoch: JobEpoch(epoch), expected_files }))
            };
            select.query_row([job.0.as_bytes()], read).optional()
        })
        .during("read a job's imported lease")?;
    Ok(row.flatten())
}

pub(super) fn set_imported_lease(tx: &Connection, job: JobId, imported: ImportedLease) -> Result<()> {
    let changed = tx
        .prepare_cached("UPDATE journal_jobs SET lease_epoch = ?2, expected_files = ?3 WHERE job_id = ?1")
        .and_then(|mut update| {
            update.execute(params![job.0.as_bytes(), imported.epoch.0, imported.expected_files.map(sql::count)])
        })
        .during("set a job's imported lease")?;
    if changed == 0 { Err(no_such_job(job)) } else { Ok(()) }
}

pub(super) fn set_walk_complete(tx: &Connection, job: JobId, at: Timestamp) -> Result<()> {
    let changed = tx
        .prepare_cached("UPDATE journal_jobs SET walk_complete = 1, updated_at = max(updated_at, ?2) WHERE job_id = ?1")
        .and_then(|mut update| update.execute(params![job.0.as_bytes(), sql::time(at)]))
        .during("mark a job's walk as complete")?;
    if changed == 0 { Err(no_such_job(job)) } else { Ok(()) }
}

/// Updates the time of the job's last change.
pub(super) fn touch(tx: &Connection, job_no: i64, at: Timestamp) -> Result<()> {
    tx.prepare_cached("UPDATE journal_jobs SET updated_at = max(updated_at, ?2) WHERE job_no = ?1")
        .and_then(|mut update| update.execute(params![job_no, sql::time(at)]))
        .during("update a job's time of change")?;
    Ok(())
}

pub(super) fn counts(connection: &Connection, job: JobId) -> Result<JobCounts> {
    let job_no = job_no(connection, job)?;
    let by_step: Vec<(FileStep, u64, u64)> = connection
        .prepare_cached("SELECT step, files, bytes FROM journal_counts WHERE job_no = ?1")
        .and_then(|mut select| {
            let rows = select.query_map([job_no], |row| {
                let mut columns = RowReader::new(row);
                Ok((columns.variant(FileStep::ALL)?, columns.count()?, columns.count()?))
            })?;
            rows.collect()
        })
        .during("count a job's files")?;
    Ok(by_step.into_iter().fold(JobCounts::default(), add_step))
}

/// Adds the files and bytes of one step. A published file counts as staged too.
fn add_step(mut counts: JobCounts, (step, files, bytes): (FileStep, u64, u64)) -> JobCounts {
    counts.discovered += files;
    counts.bytes += bytes;
    match step {
        FileStep::Planned => {}
        FileStep::Staged => counts.staged += files,
        FileStep::Published => {
            counts.staged += files;
            counts.published += files;
        }
        FileStep::Deduplicated => counts.deduplicated += files,
        FileStep::Rejected => counts.rejected += files,
        FileStep::Failed => counts.failed += files,
    }
    counts
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut columns = RowReader::new(row);
    Ok(Job {
        job_id: columns.id(JobId)?,
        tenant: columns.text()?,
        status: columns.variant(JobStatus::ALL)?,
        reason: columns.get()?,
        actor: columns.get()?,
        host: columns.get()?,
        spec: columns.json()?,
        started_at: columns.time()?,
        updated_at: columns.time()?,
        finished_at: columns.maybe_time()?,
        walk_complete: columns.get()?,
    })
}

/// The error of a job that has no row.
pub(super) fn no_such_job(job: JobId) -> Error {
    Error::new(ErrorKind::NotFound, format!("job {job} is not in this data folder's journal"))
        .hint("`mfctl jobs list` shows those that are")
}
