//! The rows of a job's files: planned once, then updated step by step.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::jobs::{self, no_such_job};
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::job::{FileStep, JournalFile, RefusalKind};
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetId, EventId, JobId, SourcePath, Tenant};
use mfctl_core::ports::{Error, ErrorKind, FileUpdate, PlannedFile, Result};

/// Rows scanned in one read.
const SCAN_ROWS: usize = 20_000;

const COLUMNS: &str = "SELECT path, step, event_id, staging_key, size_bytes, modified_ns, changed_ns, device, inode, sha256, \
                       media_type, asset_id, refusal_kind, refusal_reason, staged_at FROM journal_files";

/// What all of a job's files share.
struct JobKey {
    job_no: i64,
    tenant: Tenant,
    job: JobId,
}

impl JobKey {
    fn load(connection: &Connection, job: JobId) -> Result<Self> {
        let read = |row: &Row<'_>| {
            let mut columns = RowReader::new(row);
            Ok(Self { job_no: columns.get()?, tenant: columns.text()?, job })
        };
        connection
            .prepare_cached("SELECT job_no, tenant FROM journal_jobs WHERE job_id = ?1")
            .and_then(|mut select| select.query_row([job.0.as_bytes()], read).optional())
            .during("find a job")?
            .ok_or_else(|| no_such_job(job))
    }

    fn file(&self, row: &Row<'_>) -> rusqlite::Result<JournalFile> {
        let mut columns = RowReader::new(row);
        let path = SourcePath::from_text(columns.get::<String>()?);
        let step = columns.variant(FileStep::ALL)?;
        let event_id = columns.id(EventId)?;
        let staging_key =
            columns.maybe_text()?.unwrap_or_else(|| object_keys::staging(&self.tenant, self.job, event_id));
        Ok(JournalFile {
            path,
            step,
            event_id,
            staging_key,
            size_bytes: columns.maybe_count()?,
            modified_ns: columns.get()?,
            changed_ns: columns.get()?,
            device: columns.get::<Option<i64>>()?.map(i64::cast_unsigned),
            inode: columns.get::<Option<i64>>()?.map(i64::cast_unsigned),
            sha256: columns.maybe_sha256()?,
            media_type: columns.get()?,
            asset_id: columns.maybe_id(AssetId)?,
            refusal: columns.refusal()?,
            staged_at: columns.maybe_time()?,
        })
    }
}

/// See [`mfctl_core::ports::JobJournal::plan`].
pub(super) fn plan(tx: &Connection, job: JobId, files: Vec<PlannedFile>) -> Result<Vec<JournalFile>> {
    let what = "plan a job's files";
    let job = JobKey::load(tx, job)?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO journal_files (job_no, path, step, event_id, staging_key) VALUES (?1, ?2, 0, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    let mut select = tx.prepare_cached(&format!("{COLUMNS} WHERE job_no = ?1 AND path = ?2")).during(what)?;
    files.into_iter().map(|file| plan_one(&job, file, &mut insert, &mut select).during(what)).collect()
}

/// Inserts a file as planned; one that has a row already is returned as it is. The default staging key is not stored.
fn plan_one(
    job: &JobKey,
    file: PlannedFile,
    insert: &mut CachedStatement<'_>,
    select: &mut CachedStatement<'_>,
) -> rusqlite::Result<JournalFile> {
    let default_key = object_keys::staging(&job.tenant, job.job, file.event_id);
    let staging_key = (file.staging_key != default_key).then(|| file.staging_key.as_str());
    let added = insert.execute(params![job.job_no, file.path.as_str(), file.event_id.0.as_bytes(), staging_key])?;
    if added == 0 {
        return select.query_row(params![job.job_no, file.path.as_str()], |row| job.file(row));
    }
    Ok(JournalFile {
        path: file.path,
        step: FileStep::Planned,
        event_id: file.event_id,
        staging_key: file.staging_key,
        size_bytes: None,
        modified_ns: None,
        changed_ns: None,
        device: None,
        inode: None,
        sha256: None,
        media_type: None,
        asset_id: None,
        refusal: None,
        staged_at: None,
    })
}

/// See [`mfctl_core::ports::JobJournal::update`].
pub(super) fn update(tx: &Connection, job: JobId, files: &[FileUpdate], at: Timestamp) -> Result<()> {
    let what = "update a job's files";
    let job_no = jobs::job_no(tx, job)?;
    let mut update = tx
        .prepare_cached(
            "UPDATE journal_files SET step = ?3,
                 size_bytes = coalesce(?4, size_bytes), modified_ns = coalesce(?5, modified_ns),
                 sha256 = coalesce(?6, sha256), media_type = coalesce(?7, media_type),
                 asset_id = coalesce(?8, asset_id), staged_at = coalesce(?9, staged_at),
                 refusal_kind = iif(?10, coalesce(?11, refusal_kind), NULL),
                 refusal_reason = iif(?10, coalesce(?12, refusal_reason), NULL),
                 changed_ns = iif(?5 IS NULL, changed_ns, ?13), device = iif(?5 IS NULL, device, ?14),
                 inode = iif(?5 IS NULL, inode, ?15)
             WHERE job_no = ?1 AND path = ?2",
        )
        .during(what)?;
    for file in files {
        let changed = update.execute(params![
            job_no,
            file.path.as_str(),
            sql::variant_index(FileStep::ALL, &file.step),
            file.size_bytes.map(sql::count),
            file.modified_ns,
            file.sha256.map(|digest| digest.0),
            file.media_type,
            file.asset_id.map(|asset| asset.0.into_bytes()),
            file.staged_at.map(sql::time),
            is_refused(file.step),
            file.refusal.as_ref().map(|refusal| refusal.kind.as_str()),
            file.refusal.as_ref().map(|refusal| refusal.reason.as_str()),
            file.changed_ns,
            file.device.map(u64::cast_signed),
            file.inode.map(u64::cast_signed),
        ]);
        if changed.during(what)? == 0 {
            return Err(Error::new(ErrorKind::NotFound, format!("job {job} has no planned file {}", file.path)));
        }
    }
    jobs::touch(tx, job_no, at)
}

/// See [`mfctl_core::ports::JobJournal::retry_failed`].
pub(super) fn retry_failed(tx: &Connection, job: JobId, at: Timestamp) -> Result<u64> {
    let job_no = jobs::job_no(tx, job)?;
    let cut_off = RefusalKind::CutOff.as_str();
    let retried = tx
        .prepare_cached(
            "UPDATE journal_files SET step = 0, refusal_kind = NULL, refusal_reason = NULL
             WHERE job_no = ?1 AND step >= 4 AND step = 5 AND refusal_kind IS NOT ?2",
        )
        .and_then(|mut update| update.execute(params![job_no, cut_off]))
        .during("retry a job's failed files")?;
    if retried > 0 {
        jobs::touch(tx, job_no, at)?;
    }
    Ok(retried as u64)
}

/// See [`mfctl_core::ports::JobJournal::forget_planned`].
pub(super) fn forget_planned(tx: &Connection, job: JobId, paths: &[SourcePath], at: Timestamp) -> Result<()> {
    let what = "forget a job's files";
    let job_no = jobs::job_no(tx, job)?;
    let planned = sql::variant_index(FileStep::ALL, &FileStep::Planned);
    let mut delete = tx
        .prepare_cached(
            "DELETE FROM journal_files WHERE job_no = ?1 AND path = ?2 AND step = ?3
             RETURNING iif(sha256 IS NULL, 0, coalesce(size_bytes, 0))",
        )
        .during(what)?;
    let mut uncount = tx
        .prepare_cached(
            "UPDATE journal_counts SET files = files - 1, bytes = bytes - ?3 WHERE job_no = ?1 AND step = ?2",
        )
        .during(what)?;
    for path in paths {
        let bytes: Option<i64> =
            delete.query_row(params![job_no, path.as_str(), planned], |row| row.get(0)).optional().during(what)?;
        if let Some(bytes) = bytes {
            uncount.execute(params![job_no, planned, bytes]).during(what)?;
        }
    }
    jobs::touch(tx, job_no, at)
}

/// See [`mfctl_core::ports::JobJournal::existing_paths`].
pub(super) fn existing_paths(
    connection: &Connection,
    job: JobId,
    paths: Vec<SourcePath>,
) -> Result<HashSet<SourcePath>> {
    let what = "check for a job's files";
    let job_no = jobs::job_no(connection, job)?;
    let mut select =
        connection.prepare_cached("SELECT 1 FROM journal_files WHERE job_no = ?1 AND path = ?2").during(what)?;
    let mut held = HashSet::new();
    for path in paths {
        if select.exists(params![job_no, path.as_str()]).during(what)? {
            held.insert(path);
        }
    }
    Ok(held)
}

/// The matches of one read.
pub(super) struct FileScan {
    pub(super) files: Vec<JournalFile>,
    /// Where the next read continues; `None` after the last row.
    pub(super) continue_after: Option<SourcePath>,
}

/// At most `wanted` files at one of the steps (all, if there are none), out of the next [`SCAN_ROWS`] after `after`.
pub(super) fn scan(
    connection: &Connection,
    job: JobId,
    steps: &[FileStep],
    after: Option<&SourcePath>,
    wanted: usize,
) -> Result<FileScan> {
    let what = "list a job's files";
    let job = JobKey::load(connection, job)?;
    // Lets SQLite use the small index of refused files.
    let refused = !steps.is_empty() && steps.iter().all(|step| is_refused(*step));
    let refused = if refused { "AND step >= 4" } else { "" };
    let query = format!("{COLUMNS} WHERE job_no = ?1 AND path > ?2 {refused} ORDER BY path LIMIT ?3");
    let mut select = connection.prepare_cached(&query).during(what)?;
    // No path is empty, so every path sorts after "".
    let after = after.map_or("", SourcePath::as_str);
    let mut rows = select.query(params![job.job_no, after, SCAN_ROWS as i64]).during(what)?;
    let mut files = Vec::new();
    let mut scanned = 0;
    let mut continue_after = None;
    while let Some(row) = rows.next().during(what)? {
        scanned += 1;
        let step = row.get::<_, i64>(1).during(what)?;
        if steps.is_empty() || steps.iter().any(|wanted| sql::variant_index(FileStep::ALL, wanted) == step) {
            files.push(job.file(row).during(what)?);
        }
        if files.len() == wanted || scanned == SCAN_ROWS {
            continue_after = Some(SourcePath::from_text(row.get::<_, String>(0).during(what)?));
            break;
        }
    }
    Ok(FileScan { files, continue_after })
}

/// Whether a file at this step was refused.
fn is_refused(step: FileStep) -> bool {
    matches!(step, FileStep::Rejected | FileStep::Failed)
}
