//! Reads records, page by page along the primary key.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{headers, topics};
use crate::db::SqlContext;
use mfctl_core::domain::{Record, RecordAddress, Timestamp, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, FetchedRecords, Result};

const WHAT: &str = "read records";

/// Where to read in one partition.
#[derive(Debug, Clone)]
pub(super) struct FetchPosition {
    pub(super) part_id: i64,
    pub(super) at: TopicPartition,
    /// The next offset to read.
    pub(super) offset: i64,
}

/// Records collected up to the limits of a fetch.
struct RecordPage {
    records: Vec<Record>,
    limits: FetchLimits,
    bytes: usize,
}

impl RecordPage {
    fn new(limits: FetchLimits) -> Self {
        Self { records: Vec::new(), limits, bytes: 0 }
    }

    /// Whether a limit is reached.
    fn is_full(&self) -> bool {
        self.records.len() >= self.limits.max_records.max(1)
            || (!self.records.is_empty() && self.bytes >= self.limits.max_bytes)
    }

    /// Adds records of one partition within `quota` from the position to before `high`. Returns the next offset to read.
    fn read(&mut self, c: &Connection, from: &FetchPosition, high: i64, quota: FetchLimits) -> Result<i64> {
        let room = self.limits.max_records.max(1).saturating_sub(self.records.len());
        let max_records = quota.max_records.max(1).min(room);
        let sql = "SELECT \"offset\", ts_ms, key, value, headers FROM records
                   WHERE part_id = ?1 AND \"offset\" >= ?2 AND \"offset\" < ?3 ORDER BY \"offset\" LIMIT ?4";
        let mut statement = c.prepare_cached(sql).during(WHAT)?;
        let mut rows = statement.query((from.part_id, from.offset, high, max_records as i64)).during(WHAT)?;
        let mut taken = 0;
        let mut taken_bytes = 0;
        let mut next = from.offset;
        while let Some(row) = rows.next().during(WHAT)? {
            let size = size_of(row).during(WHAT)?;
            let page_is_full = !self.records.is_empty() && self.bytes + size > self.limits.max_bytes;
            let quota_is_full = taken > 0 && taken_bytes + size > quota.max_bytes;
            if page_is_full || quota_is_full {
                return Ok(next);
            }
            let record = record(row, &from.at)?;
            next = record.address.offset + 1;
            taken += 1;
            taken_bytes += size;
            self.bytes += size;
            self.records.push(record);
        }
        // Fewer than were asked for: the offsets between the last record and `high` are compacted or empty.
        Ok(if taken < max_records { high.max(from.offset) } else { next })
    }
}

/// See [`mfctl_core::ports::EventLog::fetch`].
pub(super) fn fetch(c: &Connection, from: FetchPosition, limits: FetchLimits) -> Result<FetchedRecords> {
    let span = topics::span(c, from.part_id)?;
    let from = FetchPosition { offset: from.offset.max(span.low), ..from };
    let mut page = RecordPage::new(limits);
    let next_offset = if from.offset < span.high { page.read(c, &from, span.high, limits)? } else { from.offset };
    Ok(FetchedRecords { records: page.records, next_offset, span })
}

/// Fetches from every partition that has records after its position, an even part of the limit from each, within
/// `of_each`. Returns the records and the next position in each partition that was read.
pub(super) fn fetch_evenly(
    c: &Connection,
    positions: Vec<FetchPosition>,
    limits: FetchLimits,
    of_each: FetchLimits,
) -> Result<(Vec<Record>, Vec<FetchPosition>)> {
    let mut lagging = Vec::new();
    for position in positions {
        let span = topics::span(c, position.part_id)?;
        let offset = position.offset.max(span.low);
        if offset < span.high {
            lagging.push((FetchPosition { offset, ..position }, span.high));
        }
    }
    let even = limits.max_records.max(1).div_ceil(lagging.len().max(1));
    let quota = FetchLimits { max_records: even.min(of_each.max_records), ..of_each };
    let mut page = RecordPage::new(limits);
    let mut next = Vec::with_capacity(lagging.len());
    for (from, high) in lagging {
        if page.is_full() {
            break;
        }
        let offset = page.read(c, &from, high, quota)?;
        next.push(FetchPosition { offset, ..from });
    }
    Ok((page.records, next))
}

/// See [`mfctl_core::ports::EventLog::offset_for_time`].
pub(super) fn offset_for_time(c: &Connection, part_id: i64, time: Timestamp) -> Result<i64> {
    let what = "look up an offset by time";
    let span = topics::span(c, part_id)?;
    // `time` may be finer than milliseconds: a record of 12.345 s is before 12.3456 s, so round up.
    let ts_ms = time.as_millisecond() + i64::from(time.subsec_nanosecond().rem_euclid(1_000_000) > 0);
    // No record before an index entry is later than the entry's time, so the scan starts at the entry.
    let indexed: Option<i64> = c
        .prepare_cached(
            "SELECT \"offset\" FROM time_index WHERE part_id = ?1 AND max_ts_ms < ?2 ORDER BY \"offset\" DESC LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row((part_id, ts_ms), |row| row.get(0)).optional())
        .during(what)?;
    let offset: Option<i64> = c
        .prepare_cached(
            "SELECT \"offset\" FROM records WHERE part_id = ?1 AND \"offset\" >= ?2 AND ts_ms >= ?3
             ORDER BY \"offset\" LIMIT 1",
        )
        .and_then(|mut statement| {
            statement.query_row((part_id, indexed.unwrap_or(0).max(span.low), ts_ms), |row| row.get(0)).optional()
        })
        .during(what)?;
    Ok(offset.unwrap_or(span.high))
}

fn size_of(row: &Row<'_>) -> rusqlite::Result<usize> {
    let mut size = 0;
    for column in 2..5 {
        size += row.get_ref(column)?.as_blob_or_null()?.map_or(0, <[u8]>::len);
    }
    Ok(size)
}

fn record(row: &Row<'_>, at: &TopicPartition) -> Result<Record> {
    let ts_ms: i64 = row.get(1).during(WHAT)?;
    let bytes = |column| row.get::<_, Option<Vec<u8>>>(column).during(WHAT);
    Ok(Record {
        address: RecordAddress { topic: at.topic.clone(), partition: at.partition, offset: row.get(0).during(WHAT)? },
        timestamp: Timestamp::from_millisecond(ts_ms)
            .map_err(|error| Error::new(ErrorKind::Corrupt, WHAT).because(error))?,
        key: bytes(2)?.map(Bytes::from),
        value: bytes(3)?.map(Bytes::from),
        headers: headers::decode(bytes(4)?)?,
    })
}
