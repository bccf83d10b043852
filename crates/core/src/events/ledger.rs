//! The redrive ledger: which dead letters are resolved, and how.
//!
//! A dead letter is *unresolved* until the ledger has an entry for it. Memory holds one small row per entry; the entry
//! itself is read from the log on demand.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::pager::Pager;
use crate::domain::dead_letter::{LedgerEntry, Resolution};
use crate::domain::event::header;
use crate::domain::names::topics::REDRIVE_LEDGER;
use crate::domain::{EnvName, Headers, NewRecord, Record, RecordAddress, Timestamp, TopicName, TopicPartition};
use crate::ports::{Error, ErrorKind, EventLog, FetchLimits, Result};

/// The decision on a dead letter and the position of its ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedDeadLetter {
    /// Decision.
    pub resolution: Resolution,
    /// Time of the decision.
    pub at: Timestamp,
    /// Partition and offset of the entry in the ledger's topic.
    entry: (u32, i64),
}

type Partitions = BTreeMap<u32, BTreeMap<i64, ResolvedDeadLetter>>;

/// The ledger up to the offsets of its last refresh.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    positions: BTreeMap<u32, i64>,
    resolved: HashMap<TopicName, Partitions>,
    unreadable: u64,
}

impl Ledger {
    /// Reads the ledger to its end.
    ///
    /// # Errors
    /// Errors of the log; `NotFound` when there is no ledger.
    pub async fn load(log: &dyn EventLog) -> Result<Self> {
        let mut ledger = Self::default();
        ledger.refresh(log).await?;
        Ok(ledger)
    }

    /// Reads the entries added since the last call.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    pub async fn refresh(&mut self, log: &dyn EventLog) -> Result<()> {
        for partition in log.offsets(&[REDRIVE_LEDGER]).await? {
            let from = self.positions.get(&partition.at.partition).copied().unwrap_or(0);
            let mut pager = Pager::new(partition.at, from.max(partition.span.low), partition.span.high);
            while let Some(records) = pager.next_page(log).await? {
                records.iter().for_each(|record| self.take(record));
                self.positions.insert(pager.at().partition, pager.position());
            }
        }
        Ok(())
    }

    /// Decision on this dead letter; `None` while it is unresolved.
    #[must_use]
    pub fn get(&self, dead_letter: &RecordAddress) -> Option<&ResolvedDeadLetter> {
        self.resolved.get(&dead_letter.topic)?.get(&dead_letter.partition)?.get(&dead_letter.offset)
    }

    /// Ledger entry of a dead letter, read from the log.
    ///
    /// # Errors
    /// Errors of the log.
    pub async fn entry(&self, log: &dyn EventLog, dead_letter: &RecordAddress) -> Result<Option<LedgerEntry>> {
        let Some(resolved) = self.get(dead_letter) else { return Ok(None) };
        let (partition, offset) = resolved.entry;
        let at = TopicPartition::new(REDRIVE_LEDGER, partition);
        let one = FetchLimits { max_records: 1, ..FetchLimits::default() };
        let fetched = log.fetch(&at, offset, one).await?;
        Ok(fetched.records.first().and_then(|record| read(record).ok()?.1))
    }

    /// Number of resolved dead letters of a partition from offset `low` on.
    #[must_use]
    pub fn resolved_in(&self, topic: &TopicName, partition: u32, low: i64) -> u64 {
        let Some(offsets) = self.resolved.get(topic).and_then(|partitions| partitions.get(&partition)) else {
            return 0;
        };
        let all_above = offsets.first_key_value().is_none_or(|(first, _)| *first >= low);
        let count = if all_above { offsets.len() } else { offsets.range(low..).count() };
        count as u64
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resolved.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    /// Whether the ledger has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of records in the ledger that are not entries. Their dead letters count as unresolved.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Applies a record of the ledger: the last record of a key wins, a tombstone removes the entry.
    fn take(&mut self, record: &Record) {
        let Ok((dead_letter, entry)) = read(record) else {
            self.unreadable += 1;
            return;
        };
        let offsets = self.resolved.entry(dead_letter.topic).or_default().entry(dead_letter.partition).or_default();
        match entry {
            Some(entry) => {
                let position = (record.address.partition, record.address.offset);
                let resolved = ResolvedDeadLetter { resolution: entry.resolution, at: entry.at, entry: position };
                offsets.insert(dead_letter.offset, resolved);
            }
            None => drop(offsets.remove(&dead_letter.offset)),
        }
    }
}

/// Builds the ledger record of an entry.
///
/// # Errors
/// `Internal` if the entry cannot be serialised, which does not happen for its types.
pub fn record(entry: &LedgerEntry, env: &EnvName) -> Result<NewRecord> {
    let what = || format!("write the ledger entry of {}", entry.dead_letter);
    let json = serde_json::to_vec(entry).map_err(|e| Error::new(ErrorKind::Internal, what()).because(e))?;
    let mut headers = Headers::default();
    headers.push(header::SERVICE_NAME, "mfctl");
    headers.push(header::DEPLOYMENT_ENV, env.as_str().to_owned());
    Ok(NewRecord {
        topic: REDRIVE_LEDGER,
        partition: None,
        key: Some(Bytes::from(entry.dead_letter.to_string())),
        value: Some(Bytes::from(json)),
        headers,
        timestamp: entry.at,
    })
}

/// Parses a ledger record into the dead letter's address and its entry, `None` for a tombstone.
///
/// # Errors
/// The reason why the record is not a ledger record.
pub fn read(record: &Record) -> std::result::Result<(RecordAddress, Option<LedgerEntry>), String> {
    let key = record.key.as_deref().ok_or("it has no key")?;
    let key = std::str::from_utf8(key).map_err(|e| e.to_string())?;
    let dead_letter: RecordAddress = key.parse().map_err(|e| format!("its key: {e}"))?;
    let Some(value) = record.value.as_deref() else { return Ok((dead_letter, None)) };
    let entry: LedgerEntry = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    if entry.dead_letter != dead_letter {
        return Err(format!("its key is {dead_letter}, its value is about {}", entry.dead_letter));
    }
    Ok((dead_letter, Some(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(resolution: Resolution) -> LedgerEntry {
        LedgerEntry {
            dead_letter: "media.ingested.dlq:1:7".parse().unwrap(),
            resolution,
            run: "r".into(),
            actor: "a@h".into(),
            at: Timestamp::UNIX_EPOCH,
            reason: None,
            sent_to: None,
            asset_id: None,
        }
    }

    fn stored(new: NewRecord, offset: i64) -> Record {
        let address = RecordAddress { topic: new.topic, partition: 0, offset };
        Record { address, key: new.key, value: new.value, headers: new.headers, timestamp: new.timestamp }
    }

    #[test]
    fn the_last_entry_wins_and_a_tombstone_removes_it() {
        let env = EnvName::new("dev").unwrap();
        let first = stored(record(&entry(Resolution::Parked), &env).unwrap(), 0);
        let second = stored(record(&entry(Resolution::Discarded), &env).unwrap(), 1);
        let mut tombstone = second.clone();
        tombstone.value = None;
        let address = entry(Resolution::Parked).dead_letter;
        let mut ledger = Ledger::default();
        assert!(ledger.get(&address).is_none());
        ledger.take(&first);
        ledger.take(&second);
        assert_eq!(ledger.get(&address).unwrap().resolution, Resolution::Discarded);
        assert_eq!((ledger.resolved_in(&address.topic, 1, 0), ledger.resolved_in(&address.topic, 1, 8)), (1, 0));
        ledger.take(&tombstone);
        assert!(ledger.is_empty());
    }

    #[test]
    fn invalid_records_are_counted_and_resolve_nothing() {
        let env = EnvName::new("dev").unwrap();
        let mut forged = stored(record(&entry(Resolution::Redriven), &env).unwrap(), 0);
        forged.key = Some(Bytes::from_static(b"media.ingested.dlq:1:8"));
        let mut nonsense = forged.clone();
        nonsense.value = Some(Bytes::from_static(b"{"));
        let mut ledger = Ledger::default();
        ledger.take(&forged);
        ledger.take(&nonsense);
        assert_eq!((ledger.len(), ledger.unreadable()), (0, 2));
    }
}
