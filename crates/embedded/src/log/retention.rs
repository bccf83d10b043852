//! Retention and compaction, in steps that hold the writer only briefly.

use rusqlite::{Connection, OptionalExtension};

use super::context::LogContext;
use super::topics;
use crate::db::SqlContext;
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{Result, RetentionReport};

/// Rows scanned in one transaction.
const STEP_ROWS: i64 = 5000;

/// A partition of a topic with a retention or compaction.
struct RetainedPartition {
    topic: String,
    part_id: i64,
    /// `None` is a compacted topic without retention.
    retention_ms: Option<i64>,
    compacted: bool,
}

/// See [`mfctl_core::ports::EventLog::run_retention`].
pub(super) async fn run_retention(log: &LogContext, now: Timestamp) -> Result<RetentionReport> {
    let now_ms = now.as_millisecond();
    let mut report = RetentionReport::default();
    for part in log.db.read("list partitions with retention", retained_partitions).await? {
        let mut removed = 0;
        if let Some(retention_ms) = part.retention_ms {
            let cutoff = now_ms.saturating_sub(retention_ms);
            removed += run_steps(log, part.part_id, cutoff, delete_older_than).await?;
        }
        if part.compacted {
            removed += run_steps(log, part.part_id, now_ms, compact).await?;
        }
        if removed > 0 {
            *report.removed.entry(part.topic).or_default() += removed;
        }
    }
    Ok(report)
}

fn retained_partitions(c: &Connection) -> Result<Vec<RetainedPartition>> {
    let what = "list partitions with retention";
    let sql = "SELECT t.name, p.part_id, t.retention_ms, t.compacted FROM topics t JOIN partitions p USING (topic_id)
               WHERE t.retention_ms IS NOT NULL OR t.compacted ORDER BY t.name, p.partition";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let partition = |row: &rusqlite::Row<'_>| {
        Ok(RetainedPartition {
            topic: row.get(0)?,
            part_id: row.get(1)?,
            retention_ms: row.get(2)?,
            compacted: row.get(3)?,
        })
    };
    statement.query_map([], partition).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// One transaction of a run; returns how many records were removed, and whether there may be more.
type RetentionStep = fn(&Connection, i64, i64) -> Result<(u64, bool)>;

/// Repeats a step until there is nothing left to remove. Returns how many records were removed.
async fn run_steps(log: &LogContext, part_id: i64, limit_ms: i64, step: RetentionStep) -> Result<u64> {
    let mut removed = 0;
    loop {
        let (count, more) = log.db.write_many("run retention", move |tx| step(tx, part_id, limit_ms)).await?;
        removed += count;
        if !more {
            return Ok(removed);
        }
    }
}

/// Removes records older than `cutoff_ms` from the partition's start, up to the first that is not older.
fn delete_older_than(tx: &Connection, part_id: i64, cutoff_ms: i64) -> Result<(u64, bool)> {
    let what = "remove records by their age";
    let span = topics::span(tx, part_id)?;
    let end = span.high.min(span.low.saturating_add(STEP_ROWS));
    let sql = "SELECT \"offset\" FROM records WHERE part_id = ?1 AND \"offset\" >= ?2 AND \"offset\" < ?3
               AND ts_ms >= ?4 ORDER BY \"offset\" LIMIT 1";
    let kept: Option<i64> = tx
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row((part_id, span.low, end, cutoff_ms), |row| row.get(0)).optional())
        .during(what)?;
    let low = kept.unwrap_or(end);
    if low == span.low {
        return Ok((0, false));
    }
    let sql = "DELETE FROM records WHERE part_id = ?1 AND \"offset\" < ?2";
    let removed = tx.execute(sql, (part_id, low)).during(what)?;
    for table in ["time_index", "compactable", "latest_keys"] {
        let sql = format!("DELETE FROM {table} WHERE part_id = ?1 AND \"offset\" < ?2");
        tx.execute(&sql, (part_id, low)).during(what)?;
    }
    tx.execute("UPDATE partitions SET low = ?2 WHERE part_id = ?1", (part_id, low)).during(what)?;
    Ok((removed as u64, kept.is_none() && low < span.high))
}

/// Removes records that a later record of the same key replaces, and old tombstones; never the last record, whose
/// offset a group may need to commit to be at the end.
fn compact(tx: &Connection, part_id: i64, now_ms: i64) -> Result<(u64, bool)> {
    let what = "compact a topic";
    let last = topics::span(tx, part_id)?.high - 1;
    let sql = "SELECT \"offset\" FROM compactable WHERE part_id = ?1 AND due_ms <= ?2 AND \"offset\" < ?3
               ORDER BY \"offset\" LIMIT ?4";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let due: Vec<i64> = statement
        .query_map((part_id, now_ms, last, STEP_ROWS), |row| row.get(0))
        .during(what)?
        .collect::<rusqlite::Result<_>>()
        .during(what)?;
    let mut removed = 0;
    for offset in &due {
        // If this record is still the latest of its key, it is an old tombstone: the key leaves the index.
        let key = "SELECT key FROM records WHERE part_id = ?1 AND \"offset\" = ?2";
        let sql = format!("DELETE FROM latest_keys WHERE part_id = ?1 AND \"offset\" = ?2 AND key = ({key})");
        tx.prepare_cached(&sql).and_then(|mut s| s.execute((part_id, offset))).during(what)?;
        for table in ["records", "compactable"] {
            let sql = format!("DELETE FROM {table} WHERE part_id = ?1 AND \"offset\" = ?2");
            let rows = tx.prepare_cached(&sql).and_then(|mut s| s.execute((part_id, offset))).during(what)?;
            removed += if table == "records" { rows as u64 } else { 0 };
        }
    }
    Ok((removed, due.len() as i64 == STEP_ROWS))
}
