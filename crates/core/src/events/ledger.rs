//! The redrive ledger: which dead letters are resolved, and how.
//!
//! A dead letter is *unresolved* until the ledger has an entry for it. Memory holds one small row per entry; the entry
//! itself is read from the log on demand.
//!
//! An entry names its dead letter by address. After a dead-letter topic was deleted and created again, or replaced by a
//! mirror, other records are at the addresses of old entries; see [`Ledger::get`] for how they are told apart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::pager::Pager;
use crate::domain::dead_letter::{LedgerEntry, Resolution};
use crate::domain::event::header;
use crate::domain::names::topics::REDRIVE_LEDGER;
use crate::domain::{
    EnvName, Headers, NewRecord, Record, RecordAddress, Timestamp, TopicId, TopicName, TopicPartition,
};
use crate::ports::{Error, ErrorKind, EventLog, FetchLimits, MAX_CLOCK_SKEW, Result};

/// The decision on a dead letter and the position of its ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDeadLetter {
    /// Decision.
    pub resolution: Resolution,
    /// Time of the decision.
    pub at: Timestamp,
    /// Topic of the record that was decided on, where the entry has its id.
    topic_id: Option<Arc<TopicId>>,
    /// Timestamp of the record that was decided on, where the entry has it.
    dead_lettered_at: Option<Timestamp>,
    /// Partition and offset of the entry in the ledger's topic.
    entry: (u32, i64),
}

impl ResolvedDeadLetter {
    /// Whether the decision was about the record with this timestamp in this topic, rather than about an earlier record at its
    /// address.
    fn is_about(&self, topic_id: Option<&TopicId>, timestamp: Timestamp) -> bool {
        let is_same_topic = self.topic_id.as_deref().zip(topic_id).map(|(decided, current)| decided == current);
        match self.dead_lettered_at {
            _ if is_same_topic == Some(false) => false,
            Some(decided) => decided == timestamp,
            None => is_same_topic == Some(true) || timestamp.duration_since(self.at) <= MAX_CLOCK_SKEW,
        }
    }
}

type Partitions = BTreeMap<u32, BTreeMap<i64, ResolvedDeadLetter>>;

/// The ledger up to the offsets of its last refresh.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    positions: BTreeMap<u32, i64>,
    resolved: HashMap<TopicName, Partitions>,
    /// The id of each dead-letter and parked topic that has one.
    topic_ids: BTreeMap<TopicName, TopicId>,
    /// Ids that entries have.
    entry_topic_ids: HashSet<Arc<TopicId>>,
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
        self.topic_ids = dead_letter_topic_ids(log).await?;
        Ok(())
    }

    /// Id of a dead-letter or parked topic as of the last refresh; `None` where the log has none.
    #[must_use]
    pub fn topic_id(&self, topic: &TopicName) -> Option<&TopicId> {
        self.topic_ids.get(topic)
    }

    /// Decision on this dead letter; `None` while it is unresolved. An entry for its address is about it if the entry has
    /// the topic's id, where both are known, and the record's timestamp. An entry of an earlier release, which has neither,
    /// is about it unless the record is more than [`MAX_CLOCK_SKEW`] younger than the entry: an entry is written after its
    /// dead letter was read.
    #[must_use]
    pub fn get(&self, dead_letter: &Record) -> Option<&ResolvedDeadLetter> {
        self.decision(&dead_letter.address, dead_letter.timestamp)
    }

    /// As [`Ledger::get`], for the record with this address and timestamp.
    pub(super) fn decision(&self, address: &RecordAddress, timestamp: Timestamp) -> Option<&ResolvedDeadLetter> {
        self.entry_for(address).filter(|resolved| resolved.is_about(self.topic_id(&address.topic), timestamp))
    }

    /// Whether an entry names the address of this record but is about an earlier record there.
    pub(super) fn is_outdated_for(&self, address: &RecordAddress, timestamp: Timestamp) -> bool {
        self.entry_for(address).is_some_and(|resolved| !resolved.is_about(self.topic_id(&address.topic), timestamp))
    }

    fn entry_for(&self, address: &RecordAddress) -> Option<&ResolvedDeadLetter> {
        self.resolved.get(&address.topic)?.get(&address.partition)?.get(&address.offset)
    }

    /// Ledger entry of a dead letter, read from the log.
    ///
    /// # Errors
    /// Errors of the log.
    pub async fn entry(&self, log: &dyn EventLog, dead_letter: &Record) -> Result<Option<LedgerEntry>> {
        let Some(resolved) = self.get(dead_letter) else { return Ok(None) };
        let (partition, offset) = resolved.entry;
        let at = TopicPartition::new(REDRIVE_LEDGER, partition);
        let one = FetchLimits { max_records: 1, ..FetchLimits::default() };
        let fetched = log.fetch(&at, offset, one).await?;
        Ok(fetched.records.first().and_then(|record| read(record).ok()?.1))
    }

    /// Number of entries for these offsets of a partition, whichever records they are about.
    pub(super) fn entries_in(&self, at: &TopicPartition, offsets: Range<i64>) -> u64 {
        let Some(entries) = self.resolved.get(&at.topic).and_then(|partitions| partitions.get(&at.partition)) else {
            return 0;
        };
        let is_within = |entry: Option<(&i64, _)>| entry.is_none_or(|(offset, _)| offsets.contains(offset));
        let all_within = is_within(entries.first_key_value()) && is_within(entries.last_key_value());
        let count = if all_within { entries.len() } else { entries.range(offsets).count() };
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

    /// One copy of this id for all entries that have it.
    fn shared(&mut self, id: TopicId) -> Arc<TopicId> {
        if let Some(known) = self.entry_topic_ids.get(&id) {
            return Arc::clone(known);
        }
        let id = Arc::new(id);
        self.entry_topic_ids.insert(Arc::clone(&id));
        id
    }

    /// Applies a record of the ledger: the last record of a key wins, a tombstone removes the entry.
    fn take(&mut self, record: &Record) {
        let Ok((dead_letter, entry)) = read(record) else {
            self.unreadable += 1;
            return;
        };
        let topic_id = entry.as_ref().and_then(|entry| entry.topic_id.clone()).map(|id| self.shared(id));
        let offsets = self.resolved.entry(dead_letter.topic).or_default().entry(dead_letter.partition).or_default();
        match entry {
            Some(entry) => {
                let position = (record.address.partition, record.address.offset);
                let LedgerEntry { resolution, at, dead_lettered_at, .. } = entry;
                let resolved = ResolvedDeadLetter { resolution, at, topic_id, dead_lettered_at, entry: position };
                offsets.insert(dead_letter.offset, resolved);
            }
            None => drop(offsets.remove(&dead_letter.offset)),
        }
    }
}

/// The ids of the dead-letter and parked topics that have one.
async fn dead_letter_topic_ids(log: &dyn EventLog) -> Result<BTreeMap<TopicName, TopicId>> {
    let mut names: Vec<TopicName> = log.topics().await?.into_iter().map(|topic| topic.name).collect();
    names.retain(|name| name.is_dead_letters() || name.is_parked());
    let ids = match log.topic_ids(&names).await {
        // One was deleted since they were listed: until the next refresh, times decide alone.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        ids => ids?,
    };
    Ok(names.into_iter().zip(ids).filter_map(|(name, id)| Some((name, id?))).collect())
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
            topic_id: None,
            dead_lettered_at: None,
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
        let dead_letter = dead_letter(Timestamp::UNIX_EPOCH);
        let mut ledger = Ledger::default();
        assert!(ledger.get(&dead_letter).is_none());
        ledger.take(&first);
        ledger.take(&second);
        assert_eq!(ledger.get(&dead_letter).unwrap().resolution, Resolution::Discarded);
        let at = TopicPartition::new(dead_letter.address.topic, 1);
        let counts = [0..8, 0..7, 8..9, 7..8].map(|offsets| ledger.entries_in(&at, offsets));
        assert_eq!(counts, [1, 0, 0, 1]);
        ledger.take(&tombstone);
        assert!(ledger.is_empty());
    }

    fn dead_letter(timestamp: Timestamp) -> Record {
        let address = entry(Resolution::Parked).dead_letter;
        Record { address, key: None, value: None, headers: Headers::default(), timestamp }
    }

    /// Whether a ledger with this entry alone resolves the dead letter with this timestamp, in seconds.
    fn resolves(entry: &LedgerEntry, timestamp: i64) -> bool {
        resolves_in(entry, None, timestamp)
    }

    /// As [`resolves`], for a dead letter in a topic with this id.
    fn resolves_in(entry: &LedgerEntry, topic_id: Option<&str>, timestamp: i64) -> bool {
        let mut ledger = Ledger::default();
        let topic = entry.dead_letter.topic.clone();
        ledger.topic_ids.extend(topic_id.map(|id| (topic, TopicId::new(id).unwrap())));
        ledger.take(&stored(record(entry, &EnvName::new("dev").unwrap()).unwrap(), 0));
        ledger.get(&dead_letter(Timestamp::from_second(timestamp).unwrap())).is_some()
    }

    #[test]
    fn an_entry_with_the_timestamp_of_its_record_resolves_no_other_record() {
        let decided = Timestamp::from_second(1000).unwrap();
        let entry = LedgerEntry { dead_lettered_at: Some(decided), ..entry(Resolution::Redriven) };
        assert_eq!([999, 1000, 1001].map(|timestamp| resolves(&entry, timestamp)), [false, true, false]);
    }

    #[test]
    fn an_entry_resolves_nothing_in_a_topic_with_another_id() {
        let topic_id = Some(TopicId::new("first").unwrap());
        let dead_lettered_at = Some(Timestamp::from_second(1000).unwrap());
        let entry = LedgerEntry { topic_id, dead_lettered_at, ..entry(Resolution::Redriven) };
        let resolved = [None, Some("first"), Some("second")].map(|id| resolves_in(&entry, id, 1000));
        assert_eq!(resolved, [true, true, false]);
        assert!(!resolves_in(&entry, Some("first"), 1001));
    }

    #[test]
    fn an_entry_of_an_earlier_release_resolves_records_up_to_its_time_and_the_skew() {
        let skew = MAX_CLOCK_SKEW.as_secs();
        let entry = LedgerEntry { at: Timestamp::from_second(1000).unwrap(), ..entry(Resolution::Redriven) };
        let times = [0, 1000, 1000 + skew, 1001 + skew];
        assert_eq!(times.map(|timestamp| resolves(&entry, timestamp)), [true, true, true, false]);
    }

    #[test]
    fn entries_with_unknown_fields_are_read() {
        let env = EnvName::new("dev").unwrap();
        let mut later = stored(record(&entry(Resolution::Parked), &env).unwrap(), 0);
        let mut json: serde_json::Value = serde_json::from_slice(later.value.as_deref().unwrap()).unwrap();
        json["field_of_a_later_release"] = "value".into();
        later.value = Some(Bytes::from(json.to_string()));
        assert_eq!(read(&later).unwrap().1, Some(entry(Resolution::Parked)));
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
