//! Which dead letters a run works on: captured when it is planned, so that what arrives later is never part of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::decide::{SkipReason, SkippedDeadLetter};
use mfctl_core::domain::{Record, RecordAddress, TopicName, TopicPartition};
use mfctl_core::events::dead_letters;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, PartitionOffsets, Result};

/// The limits of one page. Small: its records wait in memory for their transaction.
const PAGE: FetchLimits = FetchLimits { max_records: 200, max_bytes: 2 << 20 };

/// The dead letters an operator selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These addresses.
    Ids(Vec<RecordAddress>),
    /// Everything in these dead-letter (or parked) topics.
    Topics(Vec<TopicName>),
    /// Everything in every dead-letter topic. Parked topics are never part of it.
    All,
}

/// A selection, with the high watermark of each partition when it was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionSnapshot {
    topics: BTreeMap<TopicName, BTreeMap<u32, SelectedOffsets>>,
    /// Selected addresses in partitions that do not exist.
    missing: Vec<RecordAddress>,
}

/// The selected offsets of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SelectedOffsets {
    /// From the first offset to before the second.
    Range(i64, i64),
    /// These offsets, and the high watermark.
    Single(BTreeSet<i64>, i64),
}

impl SelectionSnapshot {
    /// Captures a selection: reads the high watermark of each partition.
    ///
    /// # Errors
    /// `Invalid` for a topic that is neither a dead-letter nor a parked one, `NotFound` for one that does not exist,
    /// otherwise those of the log.
    pub async fn capture(selection: &Selection, log: &dyn EventLog) -> Result<Self> {
        match selection {
            Selection::Ids(ids) => Self::capture_ids(ids, log).await,
            Selection::Topics(topics) => {
                topics.iter().try_for_each(check_holds_dead_letters)?;
                Self::capture_topics(topics, log).await
            }
            Selection::All => {
                let mut topics = dead_letters::topics(log).await?;
                topics.retain(TopicName::is_dead_letters);
                Self::capture_topics(&topics, log).await
            }
        }
    }

    async fn capture_topics(topics: &[TopicName], log: &dyn EventLog) -> Result<Self> {
        let mut snapshot = Self::default();
        for partition in log.offsets(topics).await? {
            let range = SelectedOffsets::Range(partition.span.low, partition.span.high);
            snapshot.topics.entry(partition.at.topic).or_default().insert(partition.at.partition, range);
        }
        Ok(snapshot)
    }

    async fn capture_ids(ids: &[RecordAddress], log: &dyn EventLog) -> Result<Self> {
        let mut selected: BTreeMap<TopicName, BTreeMap<u32, BTreeSet<i64>>> = BTreeMap::new();
        for id in ids {
            check_holds_dead_letters(&id.topic)?;
            selected.entry(id.topic.clone()).or_default().entry(id.partition).or_default().insert(id.offset);
        }
        let topics: Vec<TopicName> = selected.keys().cloned().collect();
        let mut snapshot = Self::default();
        for PartitionOffsets { at, span } in log.offsets(&topics).await? {
            let offsets = selected.get_mut(&at.topic).and_then(|partitions| partitions.remove(&at.partition));
            let partitions = snapshot.topics.entry(at.topic).or_default();
            if let Some(offsets) = offsets {
                partitions.insert(at.partition, SelectedOffsets::Single(offsets, span.high));
            }
        }
        for (topic, partitions) in selected {
            for (partition, offsets) in partitions {
                let address = |offset| RecordAddress { topic: topic.clone(), partition, offset };
                snapshot.missing.extend(offsets.into_iter().map(address));
            }
        }
        Ok(snapshot)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// Selected addresses in partitions that do not exist, each with the reason `not_found`.
    pub fn missing(&self) -> impl Iterator<Item = SkippedDeadLetter> {
        self.missing.iter().map(|id| SkippedDeadLetter { id: id.clone(), reason: SkipReason::NotFound })
    }

    /// Walks the selected records of a topic, partition by partition, oldest first in each.
    #[must_use]
    pub fn walk(&self, topic: &TopicName) -> SelectionWalk {
        let partitions = self.topics.get(topic).into_iter().flatten();
        let selected = partitions.map(|(p, offsets)| (TopicPartition::new(topic.clone(), *p), offsets.clone()));
        SelectionWalk { partitions: selected.collect(), pager: None }
    }
}

fn check_holds_dead_letters(topic: &TopicName) -> Result<()> {
    if topic.is_dead_letters() || topic.is_parked() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("{topic} is neither a dead-letter nor a parked topic")).hint(format!(
        "its dead letters are in {}; `mfctl dlq list` shows which topics have any",
        topic.dead_letters()
    )))
}

/// One item of a walk.
#[derive(Debug)]
pub enum WalkItem {
    /// A selected record.
    Record(Record),
    /// A selected offset without a record.
    Missing(RecordAddress),
}

/// Reads the selected records of a topic page by page.
#[derive(Debug)]
pub struct SelectionWalk {
    partitions: VecDeque<(TopicPartition, SelectedOffsets)>,
    pager: Option<Pager>,
}

impl SelectionWalk {
    /// The next page; `None` at the end. A page may be empty.
    ///
    /// # Errors
    /// Errors of the log.
    pub async fn next_page(&mut self, log: &dyn EventLog) -> Result<Option<Vec<WalkItem>>> {
        loop {
            if let Some(pager) = &mut self.pager {
                match pager.next_page(log).await? {
                    Some(records) => return Ok(Some(records.into_iter().map(WalkItem::Record).collect())),
                    None => self.pager = None,
                }
            }
            match self.partitions.front_mut() {
                None => return Ok(None),
                Some((at, SelectedOffsets::Range(from, to))) => {
                    self.pager = Some(Pager::new(at.clone(), *from, *to).limited(PAGE));
                    self.partitions.pop_front();
                }
                Some((at, SelectedOffsets::Single(offsets, high))) => match take_contiguous(offsets) {
                    Some(range) => return Ok(Some(fetch_range(log, at, range, *high).await?)),
                    None => drop(self.partitions.pop_front()),
                },
            }
        }
    }
}

/// Takes the first contiguous offsets, one page at most.
fn take_contiguous(offsets: &mut BTreeSet<i64>) -> Option<Range<i64>> {
    let first = offsets.pop_first()?;
    let mut end = first + 1;
    while end - first < PAGE.max_records as i64 && offsets.remove(&end) {
        end += 1;
    }
    Some(first..end)
}

async fn fetch_range(log: &dyn EventLog, at: &TopicPartition, range: Range<i64>, high: i64) -> Result<Vec<WalkItem>> {
    let mut records = BTreeMap::new();
    let mut pager = Pager::new(at.clone(), range.start, range.end.min(high)).limited(PAGE);
    while let Some(page) = pager.next_page(log).await? {
        records.extend(page.into_iter().map(|record| (record.address.offset, record)));
    }
    let items = range.map(|offset| match records.remove(&offset) {
        Some(record) => WalkItem::Record(record),
        None => WalkItem::Missing(RecordAddress { topic: at.topic.clone(), partition: at.partition, offset }),
    });
    Ok(items.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_offsets_are_one_range_of_at_most_a_page() {
        let mut offsets: BTreeSet<i64> = [1, 2, 3, 7, 9, 10].into();
        let mut ranges = Vec::new();
        while let Some(range) = take_contiguous(&mut offsets) {
            ranges.push(range);
        }
        assert_eq!(ranges, [1..4, 7..8, 9..11]);
        let mut many: BTreeSet<i64> = (0..450).collect();
        assert_eq!(take_contiguous(&mut many), Some(0..200));
    }
}
