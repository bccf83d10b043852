//! Jobs and their leases, and counts of their outcomes. The rule for a lease is that of
//! [`mfctl_core::domain::job_lease`].

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteCatalog;
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::job::{FileOutcome, JobOutcome, JobStatus};
use mfctl_core::domain::job_lease::{self, CatalogJob, JobRecord, OutcomeCounts, StoredLease};
use mfctl_core::domain::{JobEpoch, JobFence, JobId, LeaseState, Tenant};
use mfctl_core::ports::{
    CursorPage, JobCatalog, LeaseAnswer, LeaseEnd, LeaseRequest, OutcomeCountsPage, Result, lease_lost,
};

/// The columns that [`job`] reads, in its order.
const COLUMNS: &str = "SELECT tenant, job_id, recorded_at, lease_epoch, lease_owner, lease_host, lease_taken_at, \
    lease_expires_at, actor, spec, status, reason, started_at, updated_at, finished_at, discovered FROM media_jobs";

#[async_trait]
impl JobCatalog for SqliteCatalog {
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseAnswer> {
        self.db.write("take a job's lease", move |tx| take_lease(tx, &request)).await
    }

    async fn renew_lease(&self, fence: &JobFence, lifetime: Duration, discovered: Option<u64>) -> Result<bool> {
        let fence = fence.clone();
        self.db.write("renew a job's lease", move |tx| renew_lease(tx, &fence, lifetime, discovered)).await
    }

    async fn end_lease(&self, fence: &JobFence, end: &LeaseEnd) -> Result<bool> {
        let fence = fence.clone();
        let end = end.clone();
        self.db.write("end a job's lease", move |tx| end_lease(tx, &fence, &end)).await
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Option<CatalogJob>> {
        let tenant = tenant.clone();
        self.db.read("read a job", move |connection| stored_job(connection, &tenant, job, Timestamp::now())).await
    }

    async fn jobs(&self, tenant: &Tenant, cursor: Option<&str>, limit: usize) -> Result<CursorPage<CatalogJob>> {
        let tenant = tenant.clone();
        let before =
            cursor.map(|cursor| cursor.parse::<JobId>().map_err(|_| sql::invalid_cursor(cursor))).transpose()?;
        let limit = sql::clamp_page_limit(limit);
        self.db.read("list jobs", move |connection| jobs(connection, &tenant, before, limit)).await
    }

    async fn count_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<OutcomeCountsPage> {
        let after = cursor.unwrap_or_default().to_owned();
        let limit = sql::clamp_page_limit(limit);
        self.db.read("count a job's outcomes", move |connection| count_outcomes(connection, job, &after, limit)).await
    }
}

/// A time `lifetime` from now; one that is too late for a timestamp is the latest.
fn expiry(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.checked_add(lifetime).unwrap_or(Timestamp::MAX)
}

fn take_lease(tx: &Connection, request: &LeaseRequest) -> Result<LeaseAnswer> {
    let what = "take a job's lease";
    let now = Timestamp::now();
    let LeaseRequest { job, owner, replaces, lifetime } = request;
    let stored = stored_job(tx, &job.tenant, job.job_id, now)?.and_then(|job| job.record).map(|record| record.lease);
    let Some(epoch) = job_lease::take(stored.as_ref(), owner, *replaces) else {
        return Ok(LeaseAnswer::Refused(stored));
    };
    tx.prepare_cached(
        "INSERT INTO media_jobs (tenant, job_id, recorded_at, actor, spec, status, started_at, updated_at, lease_owner,
             lease_host, lease_epoch, lease_taken_at, lease_expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?6, ?7, ?8, ?9, ?3, ?10)
         ON CONFLICT DO UPDATE SET actor = coalesce(actor, excluded.actor), spec = coalesce(spec, excluded.spec),
             status = 0, reason = NULL, started_at = coalesce(started_at, excluded.started_at),
             updated_at = excluded.updated_at, finished_at = NULL, lease_owner = excluded.lease_owner,
             lease_host = excluded.lease_host, lease_epoch = excluded.lease_epoch,
             lease_taken_at = excluded.lease_taken_at, lease_expires_at = excluded.lease_expires_at",
    )
    .and_then(|mut upsert| {
        upsert.execute(params![
            job.tenant.as_str(),
            job.job_id.0.as_bytes(),
            sql::time(now),
            job.actor,
            job.spec.to_string(),
            sql::time(job.at),
            owner,
            job.host,
            epoch.0,
            sql::time(expiry(now, *lifetime)),
        ])
    })
    .during(what)?;
    Ok(LeaseAnswer::Taken(epoch))
}

fn renew_lease(tx: &Connection, fence: &JobFence, lifetime: Duration, discovered: Option<u64>) -> Result<bool> {
    let renewed = tx
        .prepare_cached(
            "UPDATE media_jobs SET lease_expires_at = ?4, discovered = coalesce(max(discovered, ?5), discovered, ?5)
             WHERE tenant = ?1 AND job_id = ?2 AND lease_epoch = ?3 AND lease_expires_at IS NOT NULL",
        )
        .and_then(|mut update| {
            let expires_at = sql::time(expiry(Timestamp::now(), lifetime));
            let (tenant, job) = (fence.tenant.as_str(), fence.job_id.0.as_bytes());
            update.execute(params![tenant, job, fence.epoch.0, expires_at, discovered.map(sql::count)])
        })
        .during("renew a job's lease")?;
    Ok(renewed > 0)
}

fn end_lease(tx: &Connection, fence: &JobFence, end: &LeaseEnd) -> Result<bool> {
    let ended = tx
        .prepare_cached(
            "UPDATE media_jobs SET status = ?4, reason = ?5, updated_at = ?6, finished_at = iif(?4 = 2, ?6, NULL),
                 lease_expires_at = NULL, discovered = coalesce(max(discovered, ?7), discovered, ?7)
             WHERE tenant = ?1 AND job_id = ?2 AND lease_epoch = ?3",
        )
        .and_then(|mut update| {
            let status = sql::variant_index(JobStatus::ALL, &end.status);
            let (tenant, job) = (fence.tenant.as_str(), fence.job_id.0.as_bytes());
            let discovered = end.discovered.map(sql::count);
            update.execute(params![tenant, job, fence.epoch.0, status, end.reason, sql::time(end.at), discovered])
        })
        .during("end a job's lease")?;
    Ok(ended > 0)
}

/// Fails as `Fenced` if the epoch is not the stored one.
pub(super) fn check_fence(tx: &Connection, fence: &JobFence) -> Result<()> {
    let is_stored = tx
        .prepare_cached("SELECT 1 FROM media_jobs WHERE tenant = ?1 AND job_id = ?2 AND lease_epoch = ?3")
        .and_then(|mut select| select.exists(params![fence.tenant.as_str(), fence.job_id.0.as_bytes(), fence.epoch.0]))
        .during("compare the epoch of a job's lease")?;
    if is_stored { Ok(()) } else { Err(lease_lost(fence.job_id)) }
}

/// Records the jobs of outcomes that were written without a lease.
pub(super) fn record_jobs(tx: &Connection, outcomes: &[JobOutcome]) -> Result<()> {
    let what = "record the jobs of outcomes";
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO media_jobs (tenant, job_id, recorded_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    for outcome in outcomes {
        insert
            .execute(params![outcome.tenant.as_str(), outcome.job_id.0.as_bytes(), sql::time(outcome.at)])
            .during(what)?;
    }
    Ok(())
}

fn stored_job(connection: &Connection, tenant: &Tenant, id: JobId, now: Timestamp) -> Result<Option<CatalogJob>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE tenant = ?1 AND job_id = ?2"))
        .and_then(|mut select| {
            select.query_row(params![tenant.as_str(), id.0.as_bytes()], |row| job(row, now)).optional()
        })
        .during("read a job")
}

fn jobs(
    connection: &Connection,
    tenant: &Tenant,
    before: Option<JobId>,
    limit: usize,
) -> Result<CursorPage<CatalogJob>> {
    let now = Timestamp::now();
    let before = before.map_or([0xff; 16], |job| job.0.into_bytes());
    let rows = connection
        .prepare_cached(&format!("{COLUMNS} WHERE tenant = ?1 AND job_id < ?2 ORDER BY job_id DESC LIMIT ?3"))
        .and_then(|mut select| {
            select.query_map(params![tenant.as_str(), before, limit as i64 + 1], |row| job(row, now))?.collect()
        })
        .during("list jobs")?;
    Ok(sql::page(rows, limit, |job: &CatalogJob| job.job_id.to_string()))
}

fn job(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<CatalogJob> {
    let mut columns = RowReader::new(row);
    let (tenant, job_id, recorded_at) = (columns.text()?, columns.id(JobId)?, columns.time()?);
    let record = match columns.get()? {
        Some(epoch) => Some(record(&mut columns, JobEpoch(epoch), now)?),
        None => None,
    };
    Ok(CatalogJob { job_id, tenant, recorded_at, record })
}

/// The columns after the lease's epoch.
fn record(columns: &mut RowReader<'_>, epoch: JobEpoch, now: Timestamp) -> rusqlite::Result<JobRecord> {
    let (owner, host, taken_at) = (columns.get()?, columns.get()?, columns.time()?);
    let expires_at = columns.maybe_time()?;
    let lease = StoredLease { owner, host, epoch, state: LeaseState::at(now, expires_at), taken_at, expires_at };
    Ok(JobRecord {
        actor: columns.get()?,
        spec: columns.json()?,
        status: columns.variant(JobStatus::ALL)?,
        reason: columns.get()?,
        started_at: columns.time()?,
        updated_at: columns.time()?,
        finished_at: columns.maybe_time()?,
        discovered: columns.maybe_count()?,
        lease,
    })
}

fn count_outcomes(connection: &Connection, job: JobId, after: &str, limit: usize) -> Result<OutcomeCountsPage> {
    let what = "count a job's outcomes";
    let mut select = connection
        .prepare_cached(
            "SELECT path, outcome, size_bytes FROM media_job_outcomes
             WHERE job_id = ?1 AND path > ?2 ORDER BY path LIMIT ?3",
        )
        .during(what)?;
    let mut rows = select.query(params![job.0.as_bytes(), after, limit as i64]).during(what)?;
    let mut counts = OutcomeCounts::default();
    let mut last = None;
    while let Some(row) = rows.next().during(what)? {
        let mut columns = RowReader::new(row);
        last = Some(columns.get::<String>().during(what)?);
        *match columns.variant(FileOutcome::ALL).during(what)? {
            FileOutcome::Accepted => &mut counts.accepted,
            FileOutcome::Rejected => &mut counts.rejected,
            FileOutcome::Failed => &mut counts.failed,
        } += 1;
        counts.bytes += columns.maybe_count().during(what)?.unwrap_or(0);
    }
    let is_full = counts.files() == limit as u64;
    Ok(OutcomeCountsPage { counts, next: last.filter(|_| is_full) })
}
