//! The redrive ledger: what was decided of each dead letter, so that nothing is sent twice and nothing is forgotten.

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::dead_letter::LedgerEntry;
use crate::domain::names::topics;
use crate::domain::{Headers, NewRecord, RecordAddress, Timestamp, TopicName, TopicPartition};
use crate::ports::{EventLog, FetchLimits, Result};

/// The ledger as far as it was read. Memory grows with the number of resolved dead letters (some 300 bytes each).
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<RecordAddress, LedgerEntry>,
    read_to: HashMap<TopicPartition, i64>,
    unreadable: u64,
}

impl Ledger {
    /// The ledger as it is now.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn load(log: &dyn EventLog) -> Result<Self> {
        let mut ledger = Self::default();
        ledger.refresh(log).await?;
        Ok(ledger)
    }

    /// Reads what was added since.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn refresh(&mut self, log: &dyn EventLog) -> Result<()> {
        for partition in log.offsets(&[topics::REDRIVE_LEDGER]).await? {
            let mut from = self.read_to.get(&partition.at).copied().unwrap_or(partition.span.low);
            while from < partition.span.high {
                let page = log.fetch(&partition.at, from, FetchLimits::default()).await?;
                if page.next_offset <= from {
                    break;
                }
                from = page.next_offset;
                for record in page.records {
                    self.take(record.key.as_ref(), record.value.as_ref());
                }
            }
            self.read_to.insert(partition.at, from);
        }
        Ok(())
    }

    fn take(&mut self, key: Option<&Bytes>, value: Option<&Bytes>) {
        let address = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| key.parse().ok());
        match (address, value.map(|value| serde_json::from_slice::<LedgerEntry>(value))) {
            (Some(address), Some(Ok(entry))) => drop(self.entries.insert(address, entry)),
            (Some(address), None) => drop(self.entries.remove(&address)),
            _ => self.unreadable += 1,
        }
    }

    /// What was decided of a dead letter; `None` while it is unresolved.
    #[must_use]
    pub fn get(&self, dead_letter: &RecordAddress) -> Option<&LedgerEntry> {
        self.entries.get(dead_letter)
    }

    /// How many dead letters of this topic are resolved.
    #[must_use]
    pub fn resolved_in(&self, topic: &TopicName) -> u64 {
        self.entries.keys().filter(|address| address.topic == *topic).count() as u64
    }

    /// Records of the ledger that could not be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Every entry, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.values()
    }
}

/// The record of an entry; sent in the same transaction as what it tells of.
#[must_use]
pub fn record_of(entry: &LedgerEntry, now: Timestamp) -> NewRecord {
    NewRecord {
        topic: topics::REDRIVE_LEDGER,
        partition: None,
        key: Some(Bytes::from(entry.dead_letter.to_string())),
        // Strings, numbers and times: it always has a JSON form.
        value: Some(Bytes::from(serde_json::to_vec(entry).unwrap_or_default())),
        headers: Headers::default(),
        timestamp: now,
    }
}
