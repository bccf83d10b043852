//! The contract's topics with their partitions and retention.

use std::time::Duration;

use crate::domain::TopicName;
use crate::domain::names::topics;
use crate::ports::TopicSpec;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the pipeline's topics keep their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `ingest.raw`, in days.
    pub ingest_raw_days: u32,
    /// `media.*`, in days.
    pub media_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { ingest_raw_days: 30, media_days: 14 }
    }
}

/// Every topic of the contract. Dead letters, parked records and the ledger have no time limit.
#[must_use]
pub fn contract(partitions: u32, retention: Retention) -> Vec<TopicSpec> {
    let mut specs = Vec::new();
    for topic in topics::PIPELINE {
        let days = if topic == topics::INGEST_RAW { retention.ingest_raw_days } else { retention.media_days };
        let kept_for_ever = [topic.dead_letters(), topic.parked()];
        specs.push(spec(topic, partitions, Some(DAY * days), false));
        specs.extend(kept_for_ever.map(|name| spec(name, partitions, None, false)));
    }
    specs.push(spec(topics::REDRIVE_LEDGER, partitions, None, true));
    specs.push(spec(topics::AUDIT, 1, Some(DAY * 90), false));
    specs
}

fn spec(name: TopicName, partitions: u32, retention: Option<Duration>, compacted: bool) -> TopicSpec {
    TopicSpec { name, partitions, retention, compacted }
}

/// The dead-letter topics of the contract.
#[must_use]
pub fn dead_letter_topics() -> Vec<TopicName> {
    topics::PIPELINE.iter().map(TopicName::dead_letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_needs_a_decision_is_removed_by_time() {
        for spec in contract(6, Retention::default()) {
            let for_ever = spec.name.is_dead_letters() || spec.name.is_parked() || spec.name == topics::REDRIVE_LEDGER;
            assert_eq!(spec.retention.is_none(), for_ever, "{}", spec.name);
        }
    }
}
