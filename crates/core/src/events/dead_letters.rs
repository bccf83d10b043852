//! Counts of dead letters per topic: exact, and cheap to refresh.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::ledger::Ledger;
use super::pager::Pager;
use crate::domain::{RecordAddress, TopicId, TopicName, TopicPartition};
use crate::ports::{EventLog, PartitionOffsets, Result};

/// Counts of one dead-letter or parked topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadLetterCounts {
    /// Topic name.
    pub topic: TopicName,
    /// Whether it is a parked topic, whose records wait for an operator.
    pub parked: bool,
    /// Number of records.
    pub total: u64,
    /// Number of records without a ledger entry.
    pub unresolved: u64,
    /// Time of the oldest unresolved record.
    #[schemars(with = "Option<String>")]
    pub oldest_unresolved_at: Option<Timestamp>,
}

/// Every dead-letter and parked topic of a log, sorted by name, including those of other applications.
///
/// # Errors
/// Errors of the log.
pub async fn topics(log: &dyn EventLog) -> Result<Vec<TopicName>> {
    let all = log.topics().await?.into_iter().map(|topic| topic.name);
    Ok(all.filter(|name| name.is_dead_letters() || name.is_parked()).collect())
}

/// Counter of dead letters that reads each record once.
#[derive(Debug, Default)]
pub struct DeadLetterWatch {
    ledger: Ledger,
    partitions: BTreeMap<TopicPartition, PartitionCount>,
}

/// Count of one partition, up to the offset that was read.
#[derive(Debug, Default)]
struct PartitionCount {
    topic_id: Option<TopicId>,
    low: i64,
    next: i64,
    records: u64,
    /// The first unresolved record, once it was found.
    oldest: Option<(i64, Timestamp)>,
    /// Offset below which no record is unresolved.
    searched: i64,
    /// Records at an address whose ledger entry is about an earlier record there, with their times.
    with_outdated_entry: BTreeMap<i64, Timestamp>,
}

impl DeadLetterWatch {
    /// Ledger as of the last refresh.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads the records added since the last call and returns the counts of each topic.
    ///
    /// # Errors
    /// Errors of the log.
    pub async fn refresh(&mut self, log: &dyn EventLog) -> Result<Vec<DeadLetterCounts>> {
        let topics = topics(log).await?;
        let offsets = log.offsets(&topics).await?;
        // The ledger is read after the offsets: a redrive in between counts as resolved, never as a negative count.
        self.ledger.refresh(log).await?;
        let mut counts: BTreeMap<TopicName, DeadLetterCounts> =
            topics.into_iter().map(|topic| (topic.clone(), none_of(topic))).collect();
        for partition in offsets {
            let count = self.partitions.entry(partition.at.clone()).or_default();
            let topic_id = self.ledger.topic_id(&partition.at.topic);
            if count.topic_id.as_ref() != topic_id {
                *count = PartitionCount { topic_id: topic_id.cloned(), ..PartitionCount::default() };
            }
            count.read(log, &partition, &self.ledger).await?;
            count.find_oldest(log, &partition, &self.ledger).await?;
            let resolved = count.resolved(&partition.at, &self.ledger);
            if let Some(topic) = counts.get_mut(&partition.at.topic) {
                topic.total += count.records;
                topic.unresolved += count.records.saturating_sub(resolved);
                let oldest = count.oldest.map(|(_, at)| at);
                topic.oldest_unresolved_at = [topic.oldest_unresolved_at, oldest].into_iter().flatten().min();
            }
        }
        Ok(counts.into_values().collect())
    }
}

fn none_of(topic: TopicName) -> DeadLetterCounts {
    DeadLetterCounts { parked: topic.is_parked(), topic, total: 0, unresolved: 0, oldest_unresolved_at: None }
}

fn address_in(at: &TopicPartition, offset: i64) -> RecordAddress {
    RecordAddress { topic: at.topic.clone(), partition: at.partition, offset }
}

impl PartitionCount {
    async fn read(&mut self, log: &dyn EventLog, partition: &PartitionOffsets, ledger: &Ledger) -> Result<()> {
        if partition.span.low != self.low || partition.span.high < self.next {
            // Records were removed, or the topic was created again: the count starts again.
            let topic_id = self.topic_id.take();
            *self = Self { topic_id, low: partition.span.low, next: partition.span.low, ..Self::default() };
        }
        let mut pager = Pager::new(partition.at.clone(), self.next, partition.span.high);
        while let Some(records) = pager.next_page(log).await? {
            self.records += records.len() as u64;
            let with_outdated_entry =
                records.iter().filter(|record| ledger.is_outdated_for(&record.address, record.timestamp));
            self.with_outdated_entry
                .extend(with_outdated_entry.map(|record| (record.address.offset, record.timestamp)));
            self.next = pager.position();
        }
        Ok(())
    }

    /// Number of resolved records. An entry that was added after its record was read is about that record.
    fn resolved(&mut self, at: &TopicPartition, ledger: &Ledger) -> u64 {
        self.with_outdated_entry
            .retain(|offset, timestamp| ledger.is_outdated_for(&address_in(at, *offset), *timestamp));
        ledger.entries_in(at, self.low..self.next).saturating_sub(self.with_outdated_entry.len() as u64)
    }

    async fn find_oldest(&mut self, log: &dyn EventLog, partition: &PartitionOffsets, ledger: &Ledger) -> Result<()> {
        if let Some((offset, at)) = self.oldest
            && ledger.decision(&address_in(&partition.at, offset), at).is_none()
        {
            return Ok(());
        }
        self.oldest = None;
        let mut pager = Pager::new(partition.at.clone(), self.searched.max(self.low), self.next);
        while let Some(records) = pager.next_page(log).await? {
            if let Some(open) = records.iter().find(|record| ledger.get(record).is_none()) {
                self.oldest = Some((open.address.offset, open.timestamp));
                self.searched = open.address.offset;
                return Ok(());
            }
            self.searched = pager.position();
        }
        Ok(())
    }
}
