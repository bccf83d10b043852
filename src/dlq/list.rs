//! Lists dead letters one by one, or grouped by error. Memory is bounded, however many there are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::decide;
use super::kept;
use super::shape::message_shape;
use mfctl_core::domain::dead_letter::{DeadLetterInfo, Resolution};
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::{AssetId, Record, RecordAddress, Timestamp, TopicName};
use mfctl_core::events::dead_letters;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{self, EventLog};

/// Upper bound of the groups; dead letters beyond it are counted in one group a topic.
const MAX_GROUPS: usize = 1000;
/// Addresses kept of each group.
const MAX_SAMPLES: usize = 3;

/// Which dead letters to list: those for which all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Only this dead-letter or parked topic.
    pub topic: Option<TopicName>,
    /// Only these kinds; all if empty.
    pub kinds: Vec<String>,
    /// Only those dead-lettered at this time or later.
    pub since: Option<Timestamp>,
    /// Parked topics too; ignored when a topic is named.
    pub with_parked: bool,
}

/// One dead letter in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListedDeadLetter {
    /// The address in the dead-letter or parked topic.
    pub id: RecordAddress,
    /// When it was dead-lettered.
    #[schemars(with = "String")]
    pub dead_lettered_at: Timestamp,
    /// The asset, by the record's key.
    pub asset_id: Option<AssetId>,
    /// The error, from the headers of any known writer.
    pub error: DeadLetterInfo,
    /// The resolution in the ledger; none while it is unresolved.
    pub resolution: Option<Resolution>,
    /// Its whole record in the object store, if the record was too large for the dead-letter topic.
    pub kept_record: Option<DeadLetterStub>,
}

/// Dead letters with the same error and origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorGroup {
    /// The dead-letter or parked topic.
    pub topic: TopicName,
    /// The error kind.
    pub kind: String,
    /// The error message, with ids, times, paths and numbers replaced.
    pub message_shape: String,
    /// The source topic, where their headers name it.
    pub source_topic: Option<TopicName>,
    /// The consumer group in which they failed.
    pub group: Option<String>,
    /// Dead letters without a ledger entry.
    pub unresolved: u64,
    /// Dead letters redriven to their source topic.
    pub redriven: u64,
    /// Dead letters moved to the parked topic.
    pub parked: u64,
    /// Dead letters discarded.
    pub discarded: u64,
    /// The earliest first failure among them.
    #[schemars(with = "String")]
    pub first_failed_at: Timestamp,
    /// The latest last failure among them.
    #[schemars(with = "String")]
    pub last_failed_at: Timestamp,
    /// Unresolved dead letters whose records are kept in the object store, because they were too large for the topic.
    pub kept_records: u64,
    /// The total size of those records in the object store, in bytes.
    pub kept_record_bytes: u64,
    /// A few addresses, unresolved ones first.
    pub sample_ids: Vec<RecordAddress>,
    /// One of their error messages, unchanged.
    pub sample_message: String,
}

/// Calls `each` for the dead letters that match, topic by topic, oldest first in each partition.
///
/// # Errors
/// Errors of the log and of `each`.
pub async fn for_each_dead_letter<E: From<ports::Error>>(
    log: &dyn EventLog,
    ledger: &Ledger,
    filter: &DeadLetterFilter,
    mut each: impl FnMut(ListedDeadLetter) -> Result<(), E>,
) -> Result<(), E> {
    for partition in log.offsets(&topics_of(log, filter).await?).await? {
        let from = match filter.since {
            Some(since) => log.offset_for_time(&partition.at, since).await?,
            None => partition.span.low,
        };
        let mut pager = Pager::new(partition.at.clone(), from, partition.span.high);
        while let Some(records) = pager.next_page(log).await? {
            for record in records {
                let letter = ListedDeadLetter::of(&record, ledger);
                if filter.matches(&letter) {
                    each(letter)?;
                }
            }
        }
    }
    Ok(())
}

async fn topics_of(log: &dyn EventLog, filter: &DeadLetterFilter) -> ports::Result<Vec<TopicName>> {
    if let Some(topic) = &filter.topic {
        return Ok(vec![topic.clone()]);
    }
    let mut topics = dead_letters::topics(log).await?;
    topics.retain(|topic| filter.with_parked || topic.is_dead_letters());
    Ok(topics)
}

impl DeadLetterFilter {
    fn matches(&self, letter: &ListedDeadLetter) -> bool {
        let in_time = self.since.is_none_or(|since| letter.dead_lettered_at >= since);
        in_time && (self.kinds.is_empty() || self.kinds.contains(&letter.error.kind))
    }
}

impl ListedDeadLetter {
    /// The entry of a record, with its resolution from the ledger.
    #[must_use]
    pub fn of(record: &Record, ledger: &Ledger) -> Self {
        Self {
            id: record.address.clone(),
            dead_lettered_at: record.timestamp,
            asset_id: decide::asset_of(record),
            error: DeadLetterInfo::from_record(record),
            resolution: ledger.get(record).map(|resolved| resolved.resolution),
            kept_record: DeadLetterStub::of(record).filter(|_| kept::may_need_object(ledger, record)),
        }
    }
}

type GroupKey = (TopicName, String, String, Option<TopicName>, Option<String>);

/// Groups dead letters by topic, error and origin.
#[derive(Debug, Default)]
pub struct ErrorGroups {
    groups: BTreeMap<GroupKey, ErrorGroup>,
    /// Dead letters counted in a group for others.
    not_grouped: u64,
}

impl ErrorGroups {
    /// Adds a dead letter to its group; beyond the upper bound of groups, to its topic's group `(other)`.
    pub fn add(&mut self, letter: ListedDeadLetter) {
        let source = letter.error.source.as_ref().map(|address| address.topic.clone());
        let shape = message_shape(&letter.error.message);
        let kind: String = letter.error.kind.chars().take(200).collect();
        let mut key = (letter.id.topic.clone(), kind, shape, source, letter.error.group.clone());
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            self.not_grouped += 1;
            key = (letter.id.topic.clone(), "(other)".to_owned(), String::new(), None, None);
        }
        self.groups.entry(key).or_insert_with_key(|key| ErrorGroup::new(key, &letter)).add(letter);
    }

    /// The groups, those with most unresolved dead letters first; and the number of dead letters in groups `(other)`.
    #[must_use]
    pub fn finish(self) -> (Vec<ErrorGroup>, u64) {
        let mut groups: Vec<ErrorGroup> = self.groups.into_values().collect();
        groups.sort_by(|a, b| b.unresolved.cmp(&a.unresolved).then(b.last_failed_at.cmp(&a.last_failed_at)));
        (groups, self.not_grouped)
    }
}

impl ErrorGroup {
    fn new((topic, kind, shape, source, group): &GroupKey, letter: &ListedDeadLetter) -> Self {
        Self {
            topic: topic.clone(),
            kind: kind.clone(),
            message_shape: shape.clone(),
            source_topic: source.clone(),
            group: group.clone(),
            unresolved: 0,
            redriven: 0,
            parked: 0,
            discarded: 0,
            kept_records: 0,
            kept_record_bytes: 0,
            first_failed_at: letter.failed_at().0,
            last_failed_at: letter.failed_at().1,
            sample_ids: Vec::new(),
            sample_message: letter.error.message.clone(),
        }
    }

    fn add(&mut self, letter: ListedDeadLetter) {
        let (first, last) = letter.failed_at();
        self.first_failed_at = self.first_failed_at.min(first);
        self.last_failed_at = self.last_failed_at.max(last);
        match letter.resolution {
            None => {
                let unresolved = usize::try_from(self.unresolved).unwrap_or(usize::MAX).min(MAX_SAMPLES);
                self.sample_ids.insert(unresolved.min(self.sample_ids.len()), letter.id);
                self.sample_ids.truncate(MAX_SAMPLES);
                self.unresolved += 1;
                if let Some(kept) = &letter.kept_record {
                    self.kept_records += 1;
                    self.kept_record_bytes += kept.object_bytes;
                }
                return;
            }
            Some(Resolution::Redriven) => self.redriven += 1,
            Some(Resolution::Parked) => self.parked += 1,
            Some(Resolution::Discarded) => self.discarded += 1,
        }
        if self.sample_ids.len() < MAX_SAMPLES {
            self.sample_ids.push(letter.id);
        }
    }
}

impl ListedDeadLetter {
    /// When it failed first and last; the time of its dead-lettering where its headers have neither.
    fn failed_at(&self) -> (Timestamp, Timestamp) {
        let last = self.error.last_failed_at.unwrap_or(self.dead_lettered_at);
        (self.error.first_failed_at.unwrap_or(last), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::Headers;

    fn letter(offset: i64, message: &str, resolution: Option<Resolution>) -> ListedDeadLetter {
        let mut headers = Headers::default();
        for (name, value) in [("topic", "media.ingested"), ("partition", "0"), ("offset", "3"), ("kind", "parser")] {
            headers.push(format!("__dlq.errors.{name}"), value.to_owned());
        }
        headers.push("__dlq.errors.message", message.to_owned());
        let record = Record {
            address: format!("media.ingested.dlq:0:{offset}").parse().unwrap(),
            key: None,
            value: None,
            headers,
            timestamp: Timestamp::from_second(offset).unwrap(),
        };
        ListedDeadLetter { resolution, ..ListedDeadLetter::of(&record, &Ledger::default()) }
    }

    #[test]
    fn equal_message_shapes_are_one_group_with_unresolved_samples_first() {
        let mut groups = ErrorGroups::default();
        groups.add(letter(0, "page 1 is broken", Some(Resolution::Redriven)));
        for offset in 1..6 {
            groups.add(letter(offset, &format!("page {offset} is broken"), None));
        }
        groups.add(letter(6, "out of memory", Some(Resolution::Discarded)));
        let (groups, not_grouped) = groups.finish();
        assert_eq!((groups.len(), not_grouped), (2, 0));
        let first = &groups[0];
        assert_eq!((first.unresolved, first.redriven, first.message_shape.as_str()), (5, 1, "page <n> is broken"));
        let samples: Vec<i64> = first.sample_ids.iter().map(|id| id.offset).collect();
        assert_eq!(samples, [1, 2, 3]);
        assert_eq!((first.first_failed_at.as_second(), first.last_failed_at.as_second()), (0, 5));
        assert_eq!(first.source_topic.as_ref().unwrap().as_str(), "media.ingested");
    }

    #[test]
    fn groups_beyond_the_limit_are_counted_as_other() {
        let mut groups = ErrorGroups::default();
        for offset in 0..1500i64 {
            let word: String = format!("{offset:04}").bytes().map(|b| char::from(b - b'0' + b'k')).collect();
            groups.add(letter(offset, &word, None));
        }
        let (groups, not_grouped) = groups.finish();
        assert_eq!((groups.len(), not_grouped), (MAX_GROUPS + 1, 500));
        assert_eq!(groups.iter().map(|group| group.unresolved).sum::<u64>(), 1500);
        assert_eq!(groups[0].kind, "(other)");
    }
}
