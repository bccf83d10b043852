//! Reading records, page by page along the primary key.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{headers, topics};
use crate::db::SqlContext;
use mfctl_core::domain::{Record, RecordAddress, Timestamp, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, Fetched, Result};

const WHAT: &str = "read records";

/// Records collected up to a limit.
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    limits: FetchLimits,
    bytes: usize,
}

impl Page {
    pub(super) fn new(limits: FetchLimits) -> Self {
        Self { records: Vec::new(), limits, bytes: 0 }
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.limits.max_records.max(1)
            || (!self.records.is_empty() && self.bytes >= self.limits.max_bytes)
    }

    /// Adds records of one partition from `from` to before `high`, at most `quota`. Returns where to go on.
    pub(super) fn read(
        &mut self,
        c: &Connection,
        (part_id, at): (i64, &TopicPartition),
        from: i64,
        high: i64,
        quota: usize,
    ) -> Result<i64> {
        let quota = quota.min(self.limits.max_records.max(1).saturating_sub(self.records.len()));
        let sql = "SELECT \"offset\", ts_ms, key, value, headers FROM records
                   WHERE part_id = ?1 AND \"offset\" >= ?2 AND \"offset\" < ?3 ORDER BY \"offset\" LIMIT ?4";
        let mut statement = c.prepare_cached(sql).during(WHAT)?;
        let mut rows = statement.query((part_id, from, high, quota as i64)).during(WHAT)?;
        let (mut taken, mut next) = (0, from);
        while let Some(row) = rows.next().during(WHAT)? {
            let size = size_of(row).during(WHAT)?;
            if !self.records.is_empty() && self.bytes + size > self.limits.max_bytes {
                return Ok(next);
            }
            let record = record(row, at)?;
            next = record.address.offset + 1;
            taken += 1;
            self.bytes += size;
            self.records.push(record);
        }
        // Fewer than asked for: what lies between the last and the end was compacted or is not there.
        Ok(if taken < quota { high.max(from) } else { next })
    }
}

/// See [`mfctl_core::ports::EventLog::fetch`].
pub(super) fn fetch(c: &Connection, part: (i64, &TopicPartition), from: i64, limits: FetchLimits) -> Result<Fetched> {
    let span = topics::span(c, part.0)?;
    let from = from.max(span.low);
    let mut page = Page::new(limits);
    let next_offset = if from < span.high { page.read(c, part, from, span.high, usize::MAX >> 1)? } else { from };
    Ok(Fetched { records: page.records, next_offset, span })
}

/// See [`mfctl_core::ports::EventLog::offset_for_time`].
pub(super) fn offset_for_time(c: &Connection, part_id: i64, time: Timestamp) -> Result<i64> {
    let what = "look for a record's time";
    let span = topics::span(c, part_id)?;
    // `time` may be finer than a record's: a record of 12.345 s is not at or after 12.3456 s.
    let ts_ms = time.as_millisecond() + i64::from(time.subsec_nanosecond().rem_euclid(1_000_000) > 0);
    // All records before an entry are older than the entry's time, so nothing before it needs to be looked at.
    let from: Option<i64> = c
        .prepare_cached(
            "SELECT \"offset\" FROM time_index WHERE part_id = ?1 AND max_ts_ms < ?2 ORDER BY \"offset\" DESC LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row((part_id, ts_ms), |row| row.get(0)).optional())
        .during(what)?;
    let found: Option<i64> = c
        .prepare_cached(
            "SELECT \"offset\" FROM records WHERE part_id = ?1 AND \"offset\" >= ?2 AND ts_ms >= ?3
             ORDER BY \"offset\" LIMIT 1",
        )
        .and_then(|mut statement| {
            statement.query_row((part_id, from.unwrap_or(0).max(span.low), ts_ms), |row| row.get(0)).optional()
        })
        .during(what)?;
    Ok(found.unwrap_or(span.high))
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
