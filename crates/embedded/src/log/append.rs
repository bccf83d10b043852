//! Adding records: which partition each goes to, and which offset it gets.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::{Shared, headers};
use crate::db::SqlContext;
use mfctl_core::domain::{NewRecord, RecordAddress, TopicPartition, partition};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Kafka's default `message.max.bytes`, and so the contract's.
const MAX_RECORD_BYTES: usize = 1 << 20;
/// Records between two entries of the time index.
const TIME_INDEX_EVERY: i64 = 1024;
/// How long a tombstone stays, so that a reader that is behind still meets it.
const TOMBSTONE_MS: i64 = 24 * 60 * 60 * 1000;

/// A record that knows its partition, ready for the writer.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) at: TopicPartition,
    part_id: i64,
    compacted: bool,
    ts_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Option<Vec<u8>>,
}

impl Row {
    /// Bytes that are written.
    pub(super) fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.as_ref().map_or(0, Vec::len)
    }
}

/// Finds each record's partition and checks it.
pub(super) async fn route(log: &Shared, records: Vec<NewRecord>) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        rows.push(row(log, record).await?);
    }
    Ok(rows)
}

async fn row(log: &Shared, record: NewRecord) -> Result<Row> {
    let size = record.size_bytes();
    if size > MAX_RECORD_BYTES {
        let message = format!("a record for {} has {size} bytes; at most {MAX_RECORD_BYTES} fit", record.topic);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let topic = log.topics.get(&log.db, &record.topic).await?;
    if topic.compacted && record.key.is_none() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a record for the compacted topic {} needs a key", topic.name),
        ));
    }
    let count = topic.part_ids.len() as u32;
    let number = match (record.partition, &record.key) {
        (Some(fixed), _) => fixed,
        (None, Some(key)) => partition::for_key(key, count),
        (None, None) => log.next_keyless() % count.max(1),
    };
    Ok(Row {
        part_id: topic.part_id(number)?,
        at: TopicPartition::new(record.topic, number),
        compacted: topic.compacted,
        ts_ms: record.timestamp.as_millisecond(),
        headers: headers::encode(&record.headers),
        key: record.key,
        value: record.value,
    })
}

/// Inserts rows and returns where each stands, in their order.
pub(super) fn insert(tx: &Connection, rows: &[Row]) -> Result<Vec<RecordAddress>> {
    let what = "add records";
    let mut by_part: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        by_part.entry(row.part_id).or_default().push(at);
    }
    let sql = "INSERT INTO records (part_id, \"offset\", ts_ms, key, value, headers) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut offsets = vec![0; rows.len()];
    for (part_id, members) in by_part {
        let mut end = End::of(tx, part_id)?;
        for at in members {
            let row = &rows[at];
            offsets[at] = end.add(tx, &mut statement, row)?;
        }
        end.store(tx)?;
    }
    let address =
        |(row, offset): (&Row, i64)| RecordAddress { topic: row.at.topic.clone(), partition: row.at.partition, offset };
    Ok(rows.iter().zip(offsets).map(address).collect())
}

/// The end of a partition while records are added to it.
struct End {
    part_id: i64,
    next: i64,
    max_ts_ms: i64,
}

impl End {
    fn of(tx: &Connection, part_id: i64) -> Result<Self> {
        tx.prepare_cached("SELECT next_offset, max_ts_ms FROM partitions WHERE part_id = ?1")
            .and_then(|mut statement| {
                statement.query_row([part_id], |row| Ok(Self { part_id, next: row.get(0)?, max_ts_ms: row.get(1)? }))
            })
            .during("read a partition's end")
    }

    fn add(&mut self, tx: &Connection, insert: &mut CachedStatement<'_>, row: &Row) -> Result<i64> {
        let offset = self.next;
        if offset % TIME_INDEX_EVERY == 0 && offset > 0 {
            let sql = "INSERT INTO time_index (part_id, \"offset\", max_ts_ms) VALUES (?1, ?2, ?3)";
            let entry = (self.part_id, offset, self.max_ts_ms);
            tx.prepare_cached(sql)
                .and_then(|mut statement| statement.execute(entry))
                .during("index a record's time")?;
        }
        let values =
            (self.part_id, offset, row.ts_ms, row.key.as_deref(), row.value.as_deref(), row.headers.as_deref());
        insert.execute(values).during("add records")?;
        if row.compacted {
            note_key(tx, row, offset)?;
        }
        self.next += 1;
        self.max_ts_ms = self.max_ts_ms.max(row.ts_ms);
        Ok(offset)
    }

    fn store(&self, tx: &Connection) -> Result<()> {
        tx.prepare_cached("UPDATE partitions SET next_offset = ?2, max_ts_ms = ?3 WHERE part_id = ?1")
            .and_then(|mut statement| statement.execute((self.part_id, self.next, self.max_ts_ms)))
            .during("move a partition's end")
            .map(drop)
    }
}

/// Notes the key's latest record, and that the one before may go when the topic is compacted.
fn note_key(tx: &Connection, row: &Row, offset: i64) -> Result<()> {
    let what = "note a compacted key";
    let key = row.key.as_deref().unwrap_or_default();
    let before: Option<i64> = tx
        .prepare_cached("SELECT \"offset\" FROM latest_keys WHERE part_id = ?1 AND key = ?2")
        .and_then(|mut statement| statement.query_row((row.part_id, key), |row| row.get(0)).optional())
        .during(what)?;
    tx.prepare_cached(
        "INSERT INTO latest_keys (part_id, key, \"offset\") VALUES (?1, ?2, ?3)
         ON CONFLICT (part_id, key) DO UPDATE SET \"offset\" = excluded.\"offset\"",
    )
    .and_then(|mut statement| statement.execute((row.part_id, key, offset)))
    .during(what)?;
    if let Some(before) = before {
        may_go(tx, row.part_id, before, 0)?;
    }
    if row.value.is_none() {
        may_go(tx, row.part_id, offset, row.ts_ms.saturating_add(TOMBSTONE_MS))?;
    }
    Ok(())
}

fn may_go(tx: &Connection, part_id: i64, offset: i64, due_ms: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO compactable (part_id, \"offset\", due_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (part_id, \"offset\") DO UPDATE SET due_ms = excluded.due_ms",
    )
    .and_then(|mut statement| statement.execute((part_id, offset, due_ms)))
    .during("note a compacted key")
    .map(drop)
}
