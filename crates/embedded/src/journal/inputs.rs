//! The rows of a job's lists and manifests: how much of each is in the job's spool.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::jobs;
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::{InputKind, JobInput};
use mfctl_core::ports::Result;

/// See [`mfctl_core::ports::JobJournal::put_input`].
pub(super) fn put(tx: &Connection, job: JobId, input: &JobInput, at: Timestamp) -> Result<()> {
    let job_no = jobs::job_no(tx, job)?;
    tx.prepare_cached(
        "INSERT INTO journal_inputs (job_no, kind, part, bytes, entries, ended) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET bytes = excluded.bytes, entries = excluded.entries, ended = excluded.ended",
    )
    .and_then(|mut insert| {
        let kind = sql::variant_index(InputKind::ALL, &input.kind);
        let bytes = sql::count(input.bytes);
        let entries = sql::count(input.entries);
        insert.execute(params![job_no, kind, input.part, bytes, entries, input.ended])
    })
    .during("record a job's input")?;
    jobs::touch(tx, job_no, at)
}

/// See [`mfctl_core::ports::JobJournal::remove_input`].
pub(super) fn remove(tx: &Connection, job: JobId, kind: InputKind, part: u32, at: Timestamp) -> Result<()> {
    let job_no = jobs::job_no(tx, job)?;
    let kind = sql::variant_index(InputKind::ALL, &kind);
    tx.prepare_cached("DELETE FROM journal_inputs WHERE job_no = ?1 AND kind = ?2 AND part = ?3")
        .and_then(|mut delete| delete.execute(params![job_no, kind, part]))
        .during("remove a job's input")?;
    jobs::touch(tx, job_no, at)
}

/// See [`mfctl_core::ports::JobJournal::inputs`].
pub(super) fn all(connection: &Connection, job: JobId) -> Result<Vec<JobInput>> {
    let job_no = jobs::job_no(connection, job)?;
    connection
        .prepare_cached(
            "SELECT kind, part, bytes, entries, ended FROM journal_inputs WHERE job_no = ?1 ORDER BY kind, part",
        )
        .and_then(|mut select| {
            let rows = select.query_map([job_no], |row| {
                let mut columns = RowReader::new(row);
                Ok(JobInput {
                    kind: columns.variant(InputKind::ALL)?,
                    part: columns.get()?,
                    bytes: columns.count()?,
                    entries: columns.count()?,
                    ended: columns.get()?,
                })
            })?;
            rows.collect()
        })
        .during("read a job's inputs")
}
