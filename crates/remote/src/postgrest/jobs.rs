//! Jobs and their leases, and counts of their outcomes. One request each.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::PostgrestCatalog;
use super::client::PostgrestClient;
use super::lists::{bad_cursor, page};
use super::rows::{self, OutcomeRow};
use mfctl_core::domain::job::{JobOutcome, JobStatus};
use mfctl_core::domain::job_lease::{CatalogJob, JobRecord, StoredLease};
use mfctl_core::domain::{JobEpoch, JobFence, JobId, LeaseState, OutcomeCounts, Tenant};
use mfctl_core::ports::{
    CursorPage, JobCatalog, LeaseAnswer, LeaseEnd, LeaseRequest, OutcomeCountsPage, Result, lease_lost,
};

/// The most jobs of a page: a specification may have many paths.
const MAX_JOBS: usize = 1_000;
/// The most outcomes that one request counts, as `media.count_outcomes` has it.
const MAX_COUNTED: usize = 20_000;

/// A row of `media.jobs`, as `media.job_json` has it.
#[derive(Debug, Deserialize)]
struct JobRow {
    tenant: Tenant,
    job_id: JobId,
    recorded_at: Timestamp,
    actor: Option<String>,
    spec: Option<serde_json::Value>,
    status: Option<JobStatus>,
    reason: Option<String>,
    started_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    discovered: Option<u64>,
    lease_owner: Option<String>,
    lease_host: Option<String>,
    lease_epoch: Option<i64>,
    lease_taken_at: Option<Timestamp>,
    lease_expires_at: Option<Timestamp>,
    lease_expired: bool,
}

impl JobRow {
    /// What the holders recorded. All of it is there as soon as there is a lease.
    fn record(&self) -> Option<JobRecord> {
        let state = match self.lease_expires_at {
            None => LeaseState::Ended,
            Some(_) if self.lease_expired => LeaseState::Expired,
            Some(_) => LeaseState::Held,
        };
        Some(JobRecord {
            actor: self.actor.clone()?,
            spec: self.spec.clone()?,
            status: self.status?,
            reason: self.reason.clone(),
            started_at: self.started_at?,
            updated_at: self.updated_at?,
            finished_at: self.finished_at,
            discovered: self.discovered,
            lease: StoredLease {
                owner: self.lease_owner.clone()?,
                host: self.lease_host.clone()?,
                epoch: JobEpoch(self.lease_epoch?),
                state,
                taken_at: self.lease_taken_at?,
                expires_at: self.lease_expires_at,
            },
        })
    }
}

impl From<JobRow> for CatalogJob {
    fn from(row: JobRow) -> Self {
        let record = row.record();
        Self { job_id: row.job_id, tenant: row.tenant, recorded_at: row.recorded_at, record }
    }
}

/// Whether the epoch of a request is the stored one.
#[derive(Debug, Deserialize)]
struct FenceAnswer {
    is_stored: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TakeAnswer {
    Taken(i64),
    Stored(Box<JobRow>),
}

/// A duration in whole milliseconds.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl JobCatalog for PostgrestCatalog {
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseAnswer> {
        let LeaseRequest { job, owner, replaces, lifetime } = request;
        let body = json!({
            "tenant": job.tenant,
            "job_id": job.job_id,
            "actor": job.actor,
            "host": job.host,
            "spec": job.spec,
            "at": rows::time(job.at),
            "owner": owner,
            "replaces": replaces.map(|epoch| epoch.0),
            "lifetime_ms": milliseconds(lifetime),
        });
        let answer: TakeAnswer =
            self.client.call("take a job's lease", "rpc/take_job_lease", rows::json(&body)?).await?;
        Ok(match answer {
            TakeAnswer::Taken(epoch) => LeaseAnswer::Taken(JobEpoch(epoch)),
            TakeAnswer::Stored(row) => LeaseAnswer::Refused(row.record().map(|record| record.lease)),
        })
    }

    async fn renew_lease(&self, fence: &JobFence, lifetime: Duration, discovered: Option<u64>) -> Result<bool> {
        let body = json!({
            "tenant": fence.tenant,
            "job_id": fence.job_id,
            "epoch": fence.epoch,
            "lifetime_ms": milliseconds(lifetime),
            "discovered": discovered,
        });
        let answer: FenceAnswer =
            self.client.call("renew a job's lease", "rpc/renew_job_lease", rows::json(&body)?).await?;
        Ok(answer.is_stored)
    }

    async fn end_lease(&self, fence: &JobFence, end: &LeaseEnd) -> Result<bool> {
        let body = json!({
            "tenant": fence.tenant,
            "job_id": fence.job_id,
            "epoch": fence.epoch,
            "status": end.status,
            "reason": end.reason,
            "discovered": end.discovered,
            "at": rows::time(end.at),
        });
        let answer: FenceAnswer =
            self.client.call("end a job's lease", "rpc/end_job_lease", rows::json(&body)?).await?;
        Ok(answer.is_stored)
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Option<CatalogJob>> {
        let body = json!({ "tenant": tenant, "job_id": job });
        let rows: Vec<JobRow> = self.client.call("read a job", "rpc/read_jobs", rows::json(&body)?).await?;
        Ok(rows.into_iter().next().map(CatalogJob::from))
    }

    async fn jobs(&self, tenant: &Tenant, cursor: Option<&str>, limit: usize) -> Result<CursorPage<CatalogJob>> {
        let before = cursor.map(|text| text.parse::<JobId>().map_err(|_| bad_cursor(text))).transpose()?;
        let limit = limit.clamp(1, MAX_JOBS);
        let body = json!({ "tenant": tenant, "before": before, "wanted": limit + 1 });
        let rows: Vec<JobRow> = self.client.call("list jobs", "rpc/read_jobs", rows::json(&body)?).await?;
        let jobs = rows.into_iter().map(CatalogJob::from).collect();
        Ok(page(jobs, limit, |job: &CatalogJob| job.job_id.to_string()))
    }

    async fn count_outcomes(&self, job: JobId, cursor: Option<&str>, limit: usize) -> Result<OutcomeCountsPage> {
        #[derive(Deserialize)]
        struct CountAnswer {
            accepted: u64,
            rejected: u64,
            failed: u64,
            bytes: u64,
            last: Option<String>,
        }
        let limit = limit.clamp(1, MAX_COUNTED);
        let body = json!({ "job_id": job, "path": cursor, "wanted": limit });
        let CountAnswer { accepted, rejected, failed, bytes, last } =
            self.client.call("count a job's outcomes", "rpc/count_outcomes", rows::json(&body)?).await?;
        let counts = OutcomeCounts { accepted, rejected, failed, bytes };
        let is_full = counts.files() >= limit as u64;
        Ok(OutcomeCountsPage { counts, next: last.filter(|_| is_full) })
    }
}

/// Records outcomes under the epoch of a job's lease, no path twice.
pub(super) async fn record_outcomes(
    client: &PostgrestClient,
    fence: &JobFence,
    outcomes: impl Iterator<Item = &JobOutcome>,
) -> Result<()> {
    let what = "record files' outcomes";
    let (tenant, job_id, epoch) = (rows::json(&fence.tenant)?, rows::json(&fence.job_id)?, fence.epoch.0);
    for array in rows::arrays(outcomes.map(OutcomeRow::from))? {
        let body = format!("{{\"tenant\":{tenant},\"job_id\":{job_id},\"epoch\":{epoch},\"rows\":{array}}}");
        let answer: FenceAnswer = client.call(what, "rpc/record_outcomes", body).await?;
        if !answer.is_stored {
            return Err(lease_lost(fence.job_id));
        }
    }
    Ok(())
}
