//! Removing what a topic no longer keeps, in steps that are short for the writer.

use rusqlite::{Connection, OptionalExtension};

use super::Shared;
use crate::db::SqlContext;
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{Result, RetentionReport};

/// Rows looked at in one transaction.
const STEP: i64 = 5000;

struct Limited {
    topic: String,
    part_id: i64,
    /// `None` is a compacted topic without a time limit.
    retention_ms: Option<i64>,
    compacted: bool,
}

/// See [`mfctl_core::ports::EventLog::run_retention`].
pub(super) async fn run(log: &Shared, now: Timestamp) -> Result<RetentionReport> {
    let now_ms = now.as_millisecond();
    let mut report = RetentionReport::default();
    for part in log.db.read("find what retention applies to", limited).await? {
        let mut removed = 0;
        if let Some(retention_ms) = part.retention_ms {
            let cutoff = now_ms.saturating_sub(retention_ms);
            removed += repeated(log, part.part_id, cutoff, trim).await?;
        }
        if part.compacted {
            removed += repeated(log, part.part_id, now_ms, compact).await?;
        }
        if removed > 0 {
            *report.removed.entry(part.topic).or_default() += removed;
        }
    }
    Ok(report)
}

fn limited(c: &Connection) -> Result<Vec<Limited>> {
    let what = "find what retention applies to";
    let sql = "SELECT t.name, p.part_id, t.retention_ms, t.compacted FROM topics t JOIN partitions p USING (topic_id)
               WHERE t.retention_ms IS NOT NULL OR t.compacted ORDER BY t.name, p.partition";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let limited = |row: &rusqlite::Row<'_>| {
        Ok(Limited { topic: row.get(0)?, part_id: row.get(1)?, retention_ms: row.get(2)?, compacted: row.get(3)? })
    };
    statement.query_map([], limited).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// Rows removed in one step, and whether there may be more.
type Step = fn(&Connection, i64, i64) -> Result<(u64, bool)>;

async fn repeated(log: &Shared, part_id: i64, limit_ms: i64, step: Step) -> Result<u64> {
    let mut removed = 0;
    loop {
        let (count, more) = log.db.write("run retention", move |tx| step(tx, part_id, limit_ms)).await?;
        removed += count;
        if !more {
            return Ok(removed);
        }
    }
}

/// Removes records from before `cutoff_ms` at the partition's beginning, up to the first that is not.
fn trim(tx: &Connection, part_id: i64, cutoff_ms: i64) -> Result<(u64, bool)> {
    let what = "remove records by their age";
    let span = super::topics::span(tx, part_id)?;
    let end = span.high.min(span.low.saturating_add(STEP));
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

/// Removes records that a later one of their key replaced, and old tombstones; never the last record, whose offset a
/// group may have to commit to be at the end.
fn compact(tx: &Connection, part_id: i64, now_ms: i64) -> Result<(u64, bool)> {
    let what = "compact a topic";
    let last = super::topics::span(tx, part_id)?.high - 1;
    let sql = "SELECT \"offset\" FROM compactable WHERE part_id = ?1 AND due_ms <= ?2 AND \"offset\" < ?3
               ORDER BY \"offset\" LIMIT ?4";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let due: Vec<i64> = statement
        .query_map((part_id, now_ms, last, STEP), |row| row.get(0))
        .during(what)?
        .collect::<rusqlite::Result<_>>()
        .during(what)?;
    let mut removed = 0;
    for offset in &due {
        // Where this record is still the key's latest it is an old tombstone: the key is forgotten.
        let key = "SELECT key FROM records WHERE part_id = ?1 AND \"offset\" = ?2";
        let sql = format!("DELETE FROM latest_keys WHERE part_id = ?1 AND \"offset\" = ?2 AND key = ({key})");
        tx.prepare_cached(&sql).and_then(|mut s| s.execute((part_id, offset))).during(what)?;
        for table in ["records", "compactable"] {
            let sql = format!("DELETE FROM {table} WHERE part_id = ?1 AND \"offset\" = ?2");
            let rows = tx.prepare_cached(&sql).and_then(|mut s| s.execute((part_id, offset))).during(what)?;
            removed += if table == "records" { rows as u64 } else { 0 };
        }
    }
    Ok((removed, due.len() as i64 == STEP))
}
