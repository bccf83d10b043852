//! Jobs: their rows and their counts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::unknown;
use crate::db::SqlContext;
use crate::sql::{self, Cells};
use mfctl_core::domain::job::{FileStep, Job, JobCounts, JobStatus};
use mfctl_core::domain::{JobId, Tenant};
use mfctl_core::ports::{Error, ErrorKind, NewJob, Page, Result};

const COLUMNS: &str = "SELECT job_id, tenant, status, reason, actor, host, spec, started_at, updated_at, finished_at, \
                       walk_complete FROM journal_jobs";

pub(super) fn begin(tx: &Connection, job: &NewJob) -> Result<()> {
    let added = tx
        .prepare_cached(
            "INSERT INTO journal_jobs (job_id, tenant, status, actor, host, spec, started_at, updated_at)
             VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?6) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut insert| {
            let (id, spec) = (job.job_id.0.as_bytes(), job.spec.to_string());
            insert.execute(params![id, job.tenant.as_str(), job.actor, job.host, spec, sql::time(job.at)])
        })
        .during("begin a job")?;
    if added == 0 {
        return Err(Error::new(ErrorKind::Conflict, format!("job {} is there already", job.job_id)));
    }
    Ok(())
}

/// The number that a job's rows are kept under.
pub(super) fn number(connection: &Connection, job: JobId) -> Result<i64> {
    connection
        .prepare_cached("SELECT job_no FROM journal_jobs WHERE job_id = ?1")
        .and_then(|mut select| select.query_row([job.0.as_bytes()], |row| row.get(0)).optional())
        .during("find a job")?
        .ok_or_else(|| unknown(job))
}

pub(super) fn one(connection: &Connection, job: JobId) -> Result<Option<Job>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE job_id = ?1"))
        .and_then(|mut select| select.query_row([job.0.as_bytes()], read).optional())
        .during("read a job")
}

pub(super) fn list(connection: &Connection, before: Option<JobId>, limit: usize) -> Result<Page<Job>> {
    // 17 bytes of the highest value stand after every id.
    let before = before.map_or_else(|| vec![0xff; 17], |job| job.0.as_bytes().to_vec());
    let rows = connection
        .prepare_cached(&format!("{COLUMNS} WHERE job_id < ?1 ORDER BY job_id DESC LIMIT ?2"))
        .and_then(|mut select| select.query_map(params![before, limit as i64 + 1], read)?.collect())
        .during("list jobs")?;
    Ok(sql::page(rows, limit, |job: &Job| job.job_id.to_string()))
}

/// Compares specs as values: the same keys in another order are the same spec.
pub(super) fn unfinished(connection: &Connection, tenant: &Tenant, spec: &serde_json::Value) -> Result<Option<Job>> {
    let what = "look for an unfinished job";
    let query = format!("{COLUMNS} WHERE status <> 2 AND tenant = ?1 ORDER BY job_id DESC");
    let mut select = connection.prepare_cached(&query).during(what)?;
    let jobs = select.query_map([tenant.as_str()], read).during(what)?;
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
            let status = sql::place(JobStatus::ALL, &status);
            update.execute(params![job.0.as_bytes(), status, reason, sql::time(at)])
        })
        .during("say how a job stands")?;
    if changed == 0 { Err(unknown(job)) } else { Ok(()) }
}

pub(super) fn set_walk_complete(tx: &Connection, job: JobId, at: Timestamp) -> Result<()> {
    let changed = tx
        .prepare_cached("UPDATE journal_jobs SET walk_complete = 1, updated_at = max(updated_at, ?2) WHERE job_id = ?1")
        .and_then(|mut update| update.execute(params![job.0.as_bytes(), sql::time(at)]))
        .during("end a job's walk")?;
    if changed == 0 { Err(unknown(job)) } else { Ok(()) }
}

/// Notes that a job's files changed.
pub(super) fn touch(tx: &Connection, job_no: i64, at: Timestamp) -> Result<()> {
    tx.prepare_cached("UPDATE journal_jobs SET updated_at = max(updated_at, ?2) WHERE job_no = ?1")
        .and_then(|mut update| update.execute(params![job_no, sql::time(at)]))
        .during("note a job's change")?;
    Ok(())
}

pub(super) fn counts(connection: &Connection, job: JobId) -> Result<JobCounts> {
    let job_no = number(connection, job)?;
    let by_step: Vec<(FileStep, u64, u64)> = connection
        .prepare_cached("SELECT step, files, bytes FROM journal_counts WHERE job_no = ?1")
        .and_then(|mut select| {
            let rows = select.query_map([job_no], |row| {
                let mut cells = Cells::of(row);
                Ok((cells.one_of(FileStep::ALL)?, cells.count()?, cells.count()?))
            })?;
            rows.collect()
        })
        .during("count a job's files")?;
    Ok(by_step.into_iter().fold(JobCounts::default(), add))
}

fn add(mut counts: JobCounts, (step, files, bytes): (FileStep, u64, u64)) -> JobCounts {
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

fn read(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut cells = Cells::of(row);
    Ok(Job {
        job_id: cells.id(JobId)?,
        tenant: cells.text()?,
        status: cells.one_of(JobStatus::ALL)?,
        reason: cells.plain()?,
        actor: cells.plain()?,
        host: cells.plain()?,
        spec: cells.json()?,
        started_at: cells.time()?,
        updated_at: cells.time()?,
        finished_at: cells.maybe_time()?,
        walk_complete: cells.plain()?,
    })
}
