//! The counts of a run, by topic. Everything selected is counted: as done, or as skipped with its reason.

use schemars::JsonSchema;
use serde::Serialize;

use super::decide::SkippedDeadLetter;
use super::selection::SelectionSnapshot;
use mfctl_core::domain::TopicName;
use mfctl_core::domain::dead_letter::Resolution;

/// Upper bound of the skipped dead letters that a report lists; the rest is counted.
const MAX_LISTED: usize = 10_000;

/// Counts of one dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TopicTally {
    /// The dead-letter topic.
    pub topic: TopicName,
    /// Redriven to their source topic.
    pub redriven: u64,
    /// Moved to the parked topic, because they were redriven too often.
    pub parked: u64,
    /// Discarded.
    pub discarded: u64,
    /// Skipped, because the ledger has an entry.
    pub skipped_resolved: u64,
    /// Skipped for another reason.
    pub skipped: u64,
}

impl TopicTally {
    pub(super) fn new(topic: &TopicName) -> Self {
        Self { topic: topic.clone(), redriven: 0, parked: 0, discarded: 0, skipped_resolved: 0, skipped: 0 }
    }

    pub(super) fn count(&mut self, resolution: Option<Resolution>) {
        match resolution {
            Some(Resolution::Redriven) => self.redriven += 1,
            Some(Resolution::Parked) => self.parked += 1,
            Some(Resolution::Discarded) => self.discarded += 1,
            None => {}
        }
    }

    /// Dead letters redriven, parked or discarded.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.redriven + self.parked + self.discarded
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunTally {
    /// Dead letters processed: done and skipped.
    pub selected: u64,
    /// Redriven to their source topic.
    pub redriven: u64,
    /// Moved to the parked topic, because they were redriven too often.
    pub parked: u64,
    /// Discarded.
    pub discarded: u64,
    /// Skipped, because the ledger has an entry.
    pub skipped_resolved: u64,
    /// Skipped for another reason, each one listed.
    pub skipped: Vec<SkippedDeadLetter>,
    /// Skipped for another reason, beyond the list's upper bound.
    pub skipped_not_listed: u64,
    /// The same counts by topic.
    pub topics: Vec<TopicTally>,
}

impl RunTally {
    /// The tally before the first topic: only the addresses in missing partitions are counted.
    pub(super) fn begin(snapshot: &SelectionSnapshot) -> Self {
        let mut tally = Self::default();
        for skipped in snapshot.missing() {
            tally.selected += 1;
            tally.list(skipped);
        }
        tally
    }

    fn list(&mut self, skipped: SkippedDeadLetter) {
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(skipped);
        } else {
            self.skipped_not_listed += 1;
        }
    }

    pub(super) fn skip(&mut self, topic: &mut TopicTally, skipped: SkippedDeadLetter) {
        topic.skipped += 1;
        self.list(skipped);
    }

    pub(super) fn end_topic(&mut self, topic: TopicTally) {
        self.add(&topic);
        self.topics.push(topic);
    }

    fn add(&mut self, topic: &TopicTally) {
        self.selected += topic.done() + topic.skipped_resolved + topic.skipped;
        self.redriven += topic.redriven;
        self.parked += topic.parked;
        self.discarded += topic.discarded;
        self.skipped_resolved += topic.skipped_resolved;
    }

    /// The counts including those of a topic in progress; without lists.
    pub(super) fn with_topic(&self, topic: &TopicTally) -> Self {
        let mut sum = Self { skipped: Vec::new(), topics: Vec::new(), ..*self };
        sum.add(topic);
        sum
    }

    /// Dead letters redriven, parked or discarded.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.redriven + self.parked + self.discarded
    }

    /// Dead letters skipped for another reason than a ledger entry.
    #[must_use]
    pub fn skipped_count(&self) -> u64 {
        self.skipped.len() as u64 + self.skipped_not_listed
    }
}
