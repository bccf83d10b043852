//! Reads a stretch of one partition page by page, so that memory stays bounded whatever its length.

use crate::domain::{Record, TopicPartition};
use crate::ports::{Error, ErrorKind, EventLog, FetchLimits, PartitionOffsets, Result};

/// A stretch of a partition whose end is fixed when it is made: what arrives later is never part of it.
#[derive(Debug, Clone)]
pub struct Pager {
    at: TopicPartition,
    next: i64,
    end: i64,
    limits: FetchLimits,
}

impl Pager {
    /// Offsets from `from` up to, not including, `end`.
    #[must_use]
    pub fn new(at: TopicPartition, from: i64, end: i64) -> Self {
        Self { at, next: from, end, limits: FetchLimits::default() }
    }

    /// Everything that stands in a partition now.
    #[must_use]
    pub fn whole(offsets: &PartitionOffsets) -> Self {
        Self::new(offsets.at.clone(), offsets.span.low, offsets.span.high)
    }

    /// The same with smaller pages.
    #[must_use]
    pub fn limited(mut self, limits: FetchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The partition.
    #[must_use]
    pub fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// The offset that the next page begins at: at most the end, so that a later pager can go on from it.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The next records; `None` at the end. A page may be empty where offsets were skipped.
    ///
    /// # Errors
    /// Those of the log; `Timeout` when the log has nothing for an offset that it said is there.
    pub async fn next_page(&mut self, log: &dyn EventLog) -> Result<Option<Vec<Record>>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let mut fetched = log.fetch(&self.at, self.next, self.limits).await?;
        if fetched.next_offset <= self.next {
            let what = format!("read {} from offset {} to {}: nothing came", self.at, self.next, self.end);
            return Err(Error::new(ErrorKind::Timeout, what));
        }
        // Not beyond the end: a page may bring what has come since, and whoever goes on from here has yet to read that.
        self.next = fetched.next_offset.min(self.end);
        fetched.records.retain(|record| record.address.offset < self.end);
        Ok(Some(fetched.records))
    }
}
