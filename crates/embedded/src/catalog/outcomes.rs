//! The outcomes of files: recorded per job, read per file and per job.

use rusqlite::{Connection, OptionalExtension, params};

use super::jobs;
use super::rows::{OUTCOME_COLUMNS, outcome};
use crate::db::SqlContext;
use crate::sql;
use mfctl_core::domain::job::{FileOutcome, JobOutcome};
use mfctl_core::domain::{JobFence, JobId, SourcePath, Tenant};
use mfctl_core::ports::{CursorPage, Result};

/// See [`mfctl_core::ports::Catalog::record_outcomes`].
pub(super) fn record_outcomes(tx: &Connection, fence: Option<&JobFence>, outcomes: &[JobOutcome]) -> Result<()> {
    match fence {
        Some(fence) => jobs::check_fence(tx, fence)?,
        None => jobs::record_jobs(tx, outcomes)?,
    }
    let what = "record files' outcomes";
    let mut upsert = tx
        .prepare_cached(
            "INSERT INTO media_job_outcomes (tenant, path, job_id, outcome, asset_id, event_id, size_bytes,
                 refusal_kind, refusal_reason, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT DO UPDATE SET outcome = excluded.outcome, asset_id = excluded.asset_id,
                 event_id = excluded.event_id, size_bytes = excluded.size_bytes, refusal_kind = excluded.refusal_kind,
                 refusal_reason = excluded.refusal_reason, at = excluded.at",
        )
        .during(what)?;
    let is_fenced = |row: &&JobOutcome| fence.is_none_or(|fence| fence.covers(row.job_id, &row.tenant));
    for row in outcomes.iter().filter(is_fenced) {
        upsert
            .execute(params![
                row.tenant.as_str(),
                row.path.as_str(),
                row.job_id.0.as_bytes(),
                sql::variant_index(FileOutcome::ALL, &row.outcome),
                row.asset_id.map(|asset| asset.0.into_bytes()),
                row.event_id.map(|event| event.0.into_bytes()),
                row.size_bytes.map(sql::count),
                row.refusal.as_ref().map(|refusal| refusal.kind.as_str()),
                row.refusal.as_ref().map(|refusal| refusal.reason.as_str()),
                sql::time(row.at),
            ])
            .during(what)?;
    }
    Ok(())
}

/// Seeks from file to file, so that the rows of earlier jobs are not read.
pub(super) fn latest_outcomes(
    connection: &Connection,
    after: Option<(Tenant, SourcePath)>,
    limit: usize,
) -> Result<CursorPage<JobOutcome>> {
    let what = "list files' latest outcomes";
    let query = format!("{OUTCOME_COLUMNS} WHERE (tenant, path) > (?1, ?2) ORDER BY tenant, path, job_id DESC LIMIT 1");
    let mut select = connection.prepare_cached(&query).during(what)?;
    let (mut tenant, mut path) =
        after.map_or_else(Default::default, |(tenant, path)| (tenant.to_string(), path.to_string()));
    let mut outcomes: Vec<JobOutcome> = Vec::with_capacity(limit + 1);
    while outcomes.len() <= limit {
        let next = select.query_row(params![tenant, path], outcome).optional().during(what)?;
        let Some(next) = next else { break };
        tenant = next.tenant.to_string();
        path = next.path.to_string();
        outcomes.push(next);
    }
    Ok(sql::page(outcomes, limit, file_cursor))
}

/// See [`mfctl_core::ports::Catalog::job_outcomes`].
pub(super) fn job_outcomes(
    connection: &Connection,
    job: JobId,
    after: Option<String>,
    limit: usize,
) -> Result<CursorPage<JobOutcome>> {
    // No path is empty, so every path sorts after "".
    let after = after.unwrap_or_default();
    let rows = connection
        .prepare_cached(&format!("{OUTCOME_COLUMNS} WHERE job_id = ?1 AND path > ?2 ORDER BY path LIMIT ?3"))
        .and_then(|mut select| select.query_map(params![job.0.as_bytes(), after, limit as i64 + 1], outcome)?.collect())
        .during("list a job's outcomes")?;
    Ok(sql::page(rows, limit, |row: &JobOutcome| row.path.to_string()))
}

/// `<tenant>/<path>`: a tenant has no slash, so the first one separates them.
fn file_cursor(row: &JobOutcome) -> String {
    format!("{}/{}", row.tenant, row.path)
}

pub(super) fn parse_file_cursor(cursor: &str) -> Result<(Tenant, SourcePath)> {
    let parts = cursor.split_once('/').and_then(|(tenant, path)| Some((Tenant::new(tenant).ok()?, path)));
    let (tenant, path) = parts.ok_or_else(|| sql::invalid_cursor(cursor))?;
    Ok((tenant, SourcePath::from_text(path)))
}
