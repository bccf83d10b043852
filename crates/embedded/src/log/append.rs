//! Appends records: chooses the partition of each and assigns its offset.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::context::LogContext;
use super::headers;
use crate::db::SqlContext;
use mfctl_core::domain::{NewRecord, RecordAddress, TopicPartition, partition, record_limits};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Records between two entries of the time index.
const TIME_INDEX_INTERVAL: i64 = 1024;
/// How long a tombstone is kept, so that a lagging reader still sees it.
const TOMBSTONE_RETENTION_MS: i64 = 24 * 60 * 60 * 1000;

/// A record with its partition, checked and encoded, ready to insert.
#[derive(Debug)]
pub(super) struct RoutedRecord {
    pub(super) at: TopicPartition,
    part_id: i64,
    compacted: bool,
    ts_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Option<Vec<u8>>,
}

impl RoutedRecord {
    /// Bytes of key, value and headers.
    pub(super) fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.as_ref().map_or(0, Vec::len)
    }
}

/// Checks each record and finds its partition.
pub(super) async fn route(log: &LogContext, records: Vec<NewRecord>) -> Result<Vec<RoutedRecord>> {
    let mut routed = Vec::with_capacity(records.len());
    for record in records {
        routed.push(route_one(log, record).await?);
    }
    Ok(routed)
}

async fn route_one(log: &LogContext, record: NewRecord) -> Result<RoutedRecord> {
    record_limits::check(&record).map_err(|too_large| Error::new(ErrorKind::Invalid, too_large.to_string()))?;
    let topic = log.topics.get(&log.db, &record.topic).await?;
    if topic.compacted && record.key.is_none() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a record for the compacted topic {} needs a key", topic.name),
        ));
    }
    let count = topic.part_ids.len() as u32;
    let partition = match (record.partition, &record.key) {
        (Some(fixed), _) => fixed,
        (None, Some(key)) => partition::partition_for_key(key, count),
        (None, None) => log.next_keyless() % count.max(1),
    };
    Ok(RoutedRecord {
        part_id: topic.part_id(partition)?,
        at: TopicPartition::new(record.topic, partition),
        compacted: topic.compacted,
        ts_ms: record.timestamp.as_millisecond(),
        headers: headers::encode(&record.headers),
        key: record.key,
        value: record.value,
    })
}

/// Appends records and returns the address of each, in their order.
pub(super) fn insert(tx: &Connection, records: &[RoutedRecord]) -> Result<Vec<RecordAddress>> {
    let what = "append records";
    let mut by_partition: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        by_partition.entry(record.part_id).or_default().push(index);
    }
    let sql = "INSERT INTO records (part_id, \"offset\", ts_ms, key, value, headers) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut offsets = vec![0; records.len()];
    for (part_id, indexes) in by_partition {
        let mut end = PartitionEnd::load(tx, part_id)?;
        for index in indexes {
            offsets[index] = end.append(tx, &mut statement, &records[index])?;
        }
        end.store(tx)?;
    }
    let address = |(RoutedRecord { at, .. }, offset): (&RoutedRecord, i64)| RecordAddress {
        topic: at.topic.clone(),
        partition: at.partition,
        offset,
    };
    Ok(records.iter().zip(offsets).map(address).collect())
}

/// The end of a partition while records are appended to it.
struct PartitionEnd {
    part_id: i64,
    next_offset: i64,
    max_ts_ms: i64,
}

impl PartitionEnd {
    fn load(tx: &Connection, part_id: i64) -> Result<Self> {
        tx.prepare_cached("SELECT next_offset, max_ts_ms FROM partitions WHERE part_id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([part_id], |row| Ok(Self { part_id, next_offset: row.get(0)?, max_ts_ms: row.get(1)? }))
            })
            .during("read a partition's end")
    }

    fn append(&mut self, tx: &Connection, insert: &mut CachedStatement<'_>, record: &RoutedRecord) -> Result<i64> {
        let offset = self.next_offset;
        if offset % TIME_INDEX_INTERVAL == 0 && offset > 0 {
            let sql = "INSERT INTO time_index (part_id, \"offset\", max_ts_ms) VALUES (?1, ?2, ?3)";
            let entry = (self.part_id, offset, self.max_ts_ms);
            tx.prepare_cached(sql)
                .and_then(|mut statement| statement.execute(entry))
                .during("index a record's time")?;
        }
        let key = record.key.as_deref();
        let values = (self.part_id, offset, record.ts_ms, key, record.value.as_deref(), record.headers.as_deref());
        insert.execute(values).during("append records")?;
        if record.compacted {
            index_key(tx, record, offset)?;
        }
        self.next_offset += 1;
        self.max_ts_ms = self.max_ts_ms.max(record.ts_ms);
        Ok(offset)
    }

    fn store(&self, tx: &Connection) -> Result<()> {
        tx.prepare_cached("UPDATE partitions SET next_offset = ?2, max_ts_ms = ?3 WHERE part_id = ?1")
            .and_then(|mut statement| statement.execute((self.part_id, self.next_offset, self.max_ts_ms)))
            .during("store a partition's end")
            .map(drop)
    }
}

/// Records the key's latest offset; compaction may remove the record before it.
fn index_key(tx: &Connection, record: &RoutedRecord, offset: i64) -> Result<()> {
    let what = "index a compacted key";
    let key = record.key.as_deref().unwrap_or_default();
    let previous: Option<i64> = tx
        .prepare_cached("SELECT \"offset\" FROM latest_keys WHERE part_id = ?1 AND key = ?2")
        .and_then(|mut statement| statement.query_row((record.part_id, key), |row| row.get(0)).optional())
        .during(what)?;
    tx.prepare_cached(
        "INSERT INTO latest_keys (part_id, key, \"offset\") VALUES (?1, ?2, ?3)
         ON CONFLICT (part_id, key) DO UPDATE SET \"offset\" = excluded.\"offset\"",
    )
    .and_then(|mut statement| statement.execute((record.part_id, key, offset)))
    .during(what)?;
    if let Some(previous) = previous {
        mark_compactable(tx, record.part_id, previous, 0)?;
    }
    if record.value.is_none() {
        mark_compactable(tx, record.part_id, offset, record.ts_ms.saturating_add(TOMBSTONE_RETENTION_MS))?;
    }
    Ok(())
}

/// Lets compaction remove a record from `due_ms` on.
fn mark_compactable(tx: &Connection, part_id: i64, offset: i64, due_ms: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO compactable (part_id, \"offset\", due_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (part_id, \"offset\") DO UPDATE SET due_ms = excluded.due_ms",
    )
    .and_then(|mut statement| statement.execute((part_id, offset, due_ms)))
    .during("index a compacted key")
    .map(drop)
}
