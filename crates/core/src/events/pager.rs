//! Reads an offset range of a partition page by page, in bounded memory.

use std::time::{Duration, Instant};

use crate::domain::{Record, TopicPartition};
use crate::ports::{Error, ErrorKind, EventLog, FetchLimits, FetchedRecords, PartitionOffsets, Result};
use crate::wait::{Attempts, Backoff};

/// How long to wait while a partition ends before the end that it had. A new leader may say so for a moment.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const END_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(100));

/// Reader of an offset range whose end is fixed at its creation: later records are never part of it.
#[derive(Debug, Clone)]
pub struct Pager {
    at: TopicPartition,
    next: i64,
    end: i64,
    limits: FetchLimits,
}

impl Pager {
    /// A pager for the offsets `from..end`.
    #[must_use]
    pub fn new(at: TopicPartition, from: i64, end: i64) -> Self {
        Self { at, next: from, end, limits: FetchLimits::default() }
    }

    /// A pager for all records that are in the partition now.
    #[must_use]
    pub fn whole(offsets: &PartitionOffsets) -> Self {
        Self::new(offsets.at.clone(), offsets.span.low, offsets.span.high)
    }

    /// The same pager with other page limits.
    #[must_use]
    pub fn limited(mut self, limits: FetchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Partition of the pager.
    #[must_use]
    pub fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// Offset of the next page: at most the end, so that a later pager can continue from it.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The next page of records; `None` at the end. A page may be empty where offsets were skipped.
    ///
    /// # Errors
    /// Errors of the log; `Corrupt` when the log returns nothing for an offset below the end, or ends before it now.
    pub async fn next_page(&mut self, log: &dyn EventLog) -> Result<Option<Vec<Record>>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let mut fetched = self.fetch(log).await?;
        // Not beyond the end: a page may contain later records, which a pager that continues from here must read.
        self.next = fetched.next_offset.min(self.end);
        fetched.records.retain(|record| record.address.offset < self.end);
        Ok(Some(fetched.records))
    }

    /// Records from the next offset on, or offsets that were skipped: never nothing.
    async fn fetch(&self, log: &dyn EventLog) -> Result<FetchedRecords> {
        let Self { at, next, end, .. } = self;
        let mut attempts = Attempts::new(Instant::now() + END_TIMEOUT, END_BACKOFF);
        loop {
            let fetched = log.fetch(at, *next, self.limits).await?;
            if fetched.next_offset > *next {
                return Ok(fetched);
            }
            let ends_at = fetched.span.high;
            if ends_at > *next {
                let what = format!("read {at} from offset {next} to {end}: nothing came");
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            if !attempts.pause().await {
                let what = format!("read {at} from offset {next} to {end}: the partition ends at {ends_at} now");
                return Err(Error::new(ErrorKind::Corrupt, what)
                    .hint("the topic was created again, or its end was lost: run the same command again"));
            }
        }
    }
}
