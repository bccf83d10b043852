//! Which dead letters a run works on: fixed when it is planned, so that what arrives later is never part of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use mfctl_core::domain::{Record, RecordAddress, TopicName, TopicPartition};
use mfctl_core::events::dead_letters;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, PartitionOffsets, Result};

/// One page of a walk: small, for its records wait in memory for their transaction.
const PAGE: FetchLimits = FetchLimits { max_records: 200, max_bytes: 2 << 20 };

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These and no others.
    Ids(Vec<RecordAddress>),
    /// Everything in these dead-letter (or parked) topics.
    Topics(Vec<TopicName>),
    /// Everything in every dead-letter topic. Parked topics are never part of it.
    All,
}

/// A selection with its ends fixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frozen {
    topics: BTreeMap<TopicName, BTreeMap<u32, Wanted>>,
    /// Ids of partitions that do not exist.
    missing: Vec<RecordAddress>,
}

/// What is wanted of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// From the first to before the last offset.
    Span(i64, i64),
    /// Single offsets, and where the partition ended.
    Offsets(BTreeSet<i64>, i64),
}

impl Frozen {
    /// Fixes a selection: reads where each partition ends now.
    ///
    /// # Errors
    /// `Invalid` for a topic that is neither a dead-letter nor a parked one, `NotFound` for one that is not there,
    /// otherwise those of the log.
    pub async fn of(selection: &Selection, log: &dyn EventLog) -> Result<Self> {
        match selection {
            Selection::Ids(ids) => Self::of_ids(ids, log).await,
            Selection::Topics(topics) => {
                topics.iter().try_for_each(is_for_dead_letters)?;
                Self::whole(topics, log).await
            }
            Selection::All => {
                let mut topics = dead_letters::topics(log).await?;
                topics.retain(TopicName::is_dead_letters);
                Self::whole(&topics, log).await
            }
        }
    }

    async fn whole(topics: &[TopicName], log: &dyn EventLog) -> Result<Self> {
        let mut frozen = Self::default();
        for partition in log.offsets(topics).await? {
            let span = Wanted::Span(partition.span.low, partition.span.high);
            frozen.topics.entry(partition.at.topic).or_default().insert(partition.at.partition, span);
        }
        Ok(frozen)
    }

    async fn of_ids(ids: &[RecordAddress], log: &dyn EventLog) -> Result<Self> {
        let mut wanted: BTreeMap<TopicName, BTreeMap<u32, BTreeSet<i64>>> = BTreeMap::new();
        for id in ids {
            is_for_dead_letters(&id.topic)?;
            wanted.entry(id.topic.clone()).or_default().entry(id.partition).or_default().insert(id.offset);
        }
        let topics: Vec<TopicName> = wanted.keys().cloned().collect();
        let mut frozen = Self::default();
        for PartitionOffsets { at, span } in log.offsets(&topics).await? {
            let offsets = wanted.get_mut(&at.topic).and_then(|partitions| partitions.remove(&at.partition));
            let partitions = frozen.topics.entry(at.topic).or_default();
            if let Some(offsets) = offsets {
                partitions.insert(at.partition, Wanted::Offsets(offsets, span.high));
            }
        }
        for (topic, partitions) in wanted {
            for (partition, offsets) in partitions {
                let address = |offset| RecordAddress { topic: topic.clone(), partition, offset };
                frozen.missing.extend(offsets.into_iter().map(address));
            }
        }
        Ok(frozen)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// Ids whose partition does not exist.
    #[must_use]
    pub fn missing(&self) -> &[RecordAddress] {
        &self.missing
    }

    /// Walks what is wanted of a topic, partition by partition, oldest first in each.
    #[must_use]
    pub fn walk(&self, topic: &TopicName) -> Walk {
        let partitions = self.topics.get(topic).into_iter().flatten();
        let parts = partitions.map(|(p, wanted)| (TopicPartition::new(topic.clone(), *p), wanted.clone()));
        Walk { parts: parts.collect(), pager: None }
    }
}

fn is_for_dead_letters(topic: &TopicName) -> Result<()> {
    if topic.is_dead_letters() || topic.is_parked() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("{topic} is neither a dead-letter nor a parked topic")).hint(format!(
        "its dead letters are in {}; `mfctl dlq list` shows which topics have any",
        topic.dead_letters()
    )))
}

/// What a walk meets.
#[derive(Debug)]
pub enum Met {
    /// A record that is wanted.
    Record(Record),
    /// A wanted offset with no record.
    Missing(RecordAddress),
}

/// Brings the wanted records of a topic page by page.
#[derive(Debug)]
pub struct Walk {
    parts: VecDeque<(TopicPartition, Wanted)>,
    pager: Option<Pager>,
}

impl Walk {
    /// The next page; `None` at the end. A page may be empty.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn next_page(&mut self, log: &dyn EventLog) -> Result<Option<Vec<Met>>> {
        loop {
            if let Some(pager) = &mut self.pager {
                match pager.next_page(log).await? {
                    Some(records) => return Ok(Some(records.into_iter().map(Met::Record).collect())),
                    None => self.pager = None,
                }
            }
            match self.parts.front_mut() {
                None => return Ok(None),
                Some((at, Wanted::Span(from, to))) => {
                    self.pager = Some(Pager::new(at.clone(), *from, *to).limited(PAGE));
                    self.parts.pop_front();
                }
                Some((at, Wanted::Offsets(offsets, high))) => match next_run(offsets) {
                    Some(run) => return Ok(Some(fetch_run(log, at, run, *high).await?)),
                    None => drop(self.parts.pop_front()),
                },
            }
        }
    }
}

/// Takes the first offsets that follow one another without a gap, as many as one page holds.
fn next_run(offsets: &mut BTreeSet<i64>) -> Option<Range<i64>> {
    let first = offsets.pop_first()?;
    let mut end = first + 1;
    while end - first < PAGE.max_records as i64 && offsets.remove(&end) {
        end += 1;
    }
    Some(first..end)
}

async fn fetch_run(log: &dyn EventLog, at: &TopicPartition, run: Range<i64>, high: i64) -> Result<Vec<Met>> {
    let mut found = BTreeMap::new();
    let mut pager = Pager::new(at.clone(), run.start, run.end.min(high)).limited(PAGE);
    while let Some(records) = pager.next_page(log).await? {
        found.extend(records.into_iter().map(|record| (record.address.offset, record)));
    }
    let met = run.map(|offset| match found.remove(&offset) {
        Some(record) => Met::Record(record),
        None => Met::Missing(RecordAddress { topic: at.topic.clone(), partition: at.partition, offset }),
    });
    Ok(met.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together_and_gaps_are_not_read() {
        let mut offsets: BTreeSet<i64> = [1, 2, 3, 7, 9, 10].into();
        let mut runs = Vec::new();
        while let Some(run) = next_run(&mut offsets) {
            runs.push(run);
        }
        assert_eq!(runs, [1..4, 7..8, 9..11]);
        let mut many: BTreeSet<i64> = (0..450).collect();
        assert_eq!(next_run(&mut many), Some(0..200));
    }
}
