//! The platform's topics with their partitions and retention.

use std::time::Duration;

use crate::domain::TopicName;
use crate::domain::names::topics;
use crate::ports::TopicSpec;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Retention of the pipeline's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Retention of `ingest.raw` in days.
    pub ingest_raw_days: u32,
    /// Retention of the `media.*` topics in days.
    pub media_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { ingest_raw_days: 30, media_days: 14 }
    }
}

/// Every topic of the platform. Dead letters, parked records and the ledger are kept for ever.
#[must_use]
pub fn contract(partitions: u32, retention: Retention) -> Vec<TopicSpec> {
    let mut specs = Vec::new();
    for topic in topics::PIPELINE {
        let days = if topic == topics::INGEST_RAW { retention.ingest_raw_days } else { retention.media_days };
        let unlimited = [topic.dead_letters(), topic.parked()];
        specs.push(spec(topic, partitions, Some(DAY * days), false));
        specs.extend(unlimited.map(|name| spec(name, partitions, None, false)));
    }
    specs.push(spec(topics::REDRIVE_LEDGER, partitions, None, true));
    specs.push(spec(topics::AUDIT, 1, Some(DAY * 90), false));
    specs
}

fn spec(name: TopicName, partitions: u32, retention: Option<Duration>, compacted: bool) -> TopicSpec {
    TopicSpec { name, partitions, retention, compacted }
}

/// The dead-letter topics of the pipeline.
#[must_use]
pub fn dead_letter_topics() -> Vec<TopicName> {
    topics::PIPELINE.iter().map(TopicName::dead_letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_need_a_decision_have_no_retention_limit() {
        for spec in contract(6, Retention::default()) {
            let for_ever = spec.name.is_dead_letters() || spec.name.is_parked() || spec.name == topics::REDRIVE_LEDGER;
            assert_eq!(spec.retention.is_none(), for_ever, "{}", spec.name);
        }
    }
}
