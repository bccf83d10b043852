//! What a run did, counted topic by topic: what was selected is what was done, plus what was left, each with its reason.

use schemars::JsonSchema;
use serde::Serialize;

use super::decide::Skipped;
use super::run;
use super::selection::Frozen;
use mfctl_core::domain::TopicName;
use mfctl_core::domain::dead_letter::Resolution;

/// Skipped dead letters that a report lists one by one; more are counted.
const LISTED: usize = 10_000;

/// Counts of one dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TopicTally {
    /// The dead-letter topic.
    pub topic: TopicName,
    /// Sent back to the topic they came from.
    pub redriven: u64,
    /// Moved to the parked topic: redriven too often.
    pub parked: u64,
    /// Given up.
    pub discarded: u64,
    /// Left, because the ledger has an entry.
    pub skipped_resolved: u64,
    /// Left for another reason.
    pub skipped: u64,
}

impl TopicTally {
    pub(super) fn of(topic: &TopicName) -> Self {
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

    /// Dead letters something was done to.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.redriven + self.parked + self.discarded
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tally {
    /// Dead letters looked at: done and skipped.
    pub selected: u64,
    /// Sent back to the topic they came from.
    pub redriven: u64,
    /// Moved to the parked topic: redriven too often.
    pub parked: u64,
    /// Given up.
    pub discarded: u64,
    /// Left, because the ledger has an entry.
    pub skipped_resolved: u64,
    /// Left for another reason, each one listed.
    pub skipped: Vec<Skipped>,
    /// Left for another reason and beyond what is listed.
    pub skipped_not_listed: u64,
    /// The same counts by topic.
    pub topics: Vec<TopicTally>,
}

impl Tally {
    pub(super) fn begin(frozen: &Frozen) -> Self {
        let mut tally = Self::default();
        for skipped in run::missing(frozen) {
            tally.selected += 1;
            tally.list(skipped);
        }
        tally
    }

    fn list(&mut self, skipped: Skipped) {
        if self.skipped.len() < LISTED {
            self.skipped.push(skipped);
        } else {
            self.skipped_not_listed += 1;
        }
    }

    pub(super) fn skip(&mut self, topic: &mut TopicTally, skipped: Skipped) {
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

    /// The counts with a topic that is not at its end yet; no lists.
    pub(super) fn with(&self, topic: &TopicTally) -> Self {
        let mut sum = Self { skipped: Vec::new(), topics: Vec::new(), ..*self };
        sum.add(topic);
        sum
    }

    /// Dead letters something was done to.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.redriven + self.parked + self.discarded
    }

    /// Dead letters left for another reason than the ledger's.
    #[must_use]
    pub fn skipped_count(&self) -> u64 {
        self.skipped.len() as u64 + self.skipped_not_listed
    }
}
