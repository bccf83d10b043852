//! The metrics: one table of names, and the handle through which they are counted.
//!
//! Names follow OpenTelemetry's messaging conventions where there is one, in Prometheus' spelling (dots as underscores,
//! the unit and `_total` at the end); the rest begins with `mfctl_`.

mod text;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::domain::{Stage, TopicPartition};

/// A metric as the documentation and `/metrics` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the `_total` that counters get.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts or measures in.
    pub unit: &'static str,
}

/// Every metric there is, in the order of `/metrics`.
pub const TABLE: [Metric; 20] = [
    CONSUMED,
    SENT,
    SKIPPED,
    RETRIED,
    DEAD_LETTERED,
    FENCED,
    STEP_DURATION,
    SETTLE_DURATION,
    COMMIT_DURATION,
    REQUEST_DURATION,
    IN_FLIGHT,
    BREAKER,
    PARTITIONS,
    LAG,
    STAGED_LEFT,
    BROKER_UP,
    BROKER_ROUND_TRIP,
    BROKER_TIMEOUTS,
    REBALANCES,
    QUEUED,
];

const CONSUMED: Metric = Metric {
    name: "messaging_client_consumed_messages",
    help: "Records read from the log by a stage.",
    labels: &["stage"],
    unit: "records",
};
const SENT: Metric = Metric {
    name: "messaging_client_sent_messages",
    help: "Events a stage emitted, counted when committed.",
    labels: &["stage"],
    unit: "records",
};
const SKIPPED: Metric = Metric {
    name: "mfctl_skipped_duplicates",
    help: "Records whose asset and revision another record had claimed, or whose output was committed before.",
    labels: &["stage"],
    unit: "records",
};
const RETRIED: Metric = Metric {
    name: "mfctl_retries",
    help: "Tries again, by what failed before.",
    labels: &["stage", "error_type"],
    unit: "tries",
};
const DEAD_LETTERED: Metric = Metric {
    name: "mfctl_dead_letters",
    help: "Records given up and sent to the dead-letter topic, counted when committed.",
    labels: &["stage", "error_type"],
    unit: "records",
};
const FENCED: Metric = Metric {
    name: "mfctl_settles_fenced",
    help: "Settlements the log refused, so that the work was done again from the committed offsets.",
    labels: &["stage"],
    unit: "settlements",
};
const STEP_DURATION: Metric = Metric {
    name: "messaging_process_duration_seconds",
    help: "Time a step took over one record, tries and waits included.",
    labels: &["stage"],
    unit: "seconds",
};
const SETTLE_DURATION: Metric = Metric {
    name: "mfctl_settle_duration_seconds",
    help: "Time from a batch's last step to its commit.",
    labels: &["stage"],
    unit: "seconds",
};
const COMMIT_DURATION: Metric = Metric {
    name: "mfctl_commit_duration_seconds",
    help: "Time the log took to commit a batch: its outputs, dead letters and offsets.",
    labels: &["stage"],
    unit: "seconds",
};
const REQUEST_DURATION: Metric = Metric {
    name: "mfctl_http_request_duration_seconds",
    help: "Time a service took to answer a request, each try by itself.",
    labels: &["service", "operation"],
    unit: "seconds",
};
const IN_FLIGHT: Metric = Metric {
    name: "mfctl_in_flight_records",
    help: "Records read and not settled.",
    labels: &["stage"],
    unit: "records",
};
const BREAKER: Metric = Metric {
    name: "mfctl_breaker_open",
    help: "1 while a dependency is down and intake stands still.",
    labels: &["stage"],
    unit: "",
};
const PARTITIONS: Metric = Metric {
    name: "mfctl_assigned_partitions",
    help: "Partitions this worker owns.",
    labels: &["stage"],
    unit: "partitions",
};
const LAG: Metric = Metric {
    name: "mfctl_lag_records",
    help: "Records between a stage's commit and the end of the partition.",
    labels: &["stage", "topic", "partition"],
    unit: "records",
};
const STAGED_LEFT: Metric = Metric {
    name: "mfctl_staging_deletes_failed",
    help: "Staged objects of settled events that could not be deleted and stay as garbage.",
    labels: &["stage"],
    unit: "objects",
};
const BROKER_UP: Metric = Metric {
    name: "mfctl_kafka_broker_up",
    help: "1 while a client has a connection to the broker, as of librdkafka's latest statistics.",
    labels: &["client", "broker"],
    unit: "",
};
const BROKER_ROUND_TRIP: Metric = Metric {
    name: "mfctl_kafka_round_trip_seconds",
    help: "99th percentile of the time the broker took to answer, over librdkafka's latest interval.",
    labels: &["client", "broker"],
    unit: "seconds",
};
const BROKER_TIMEOUTS: Metric = Metric {
    name: "mfctl_kafka_request_timeouts",
    help: "Requests that the broker did not answer in time.",
    labels: &["client", "broker"],
    unit: "requests",
};
const REBALANCES: Metric = Metric {
    name: "mfctl_kafka_rebalances",
    help: "Rebalances that this process's group members took part in.",
    labels: &[],
    unit: "rebalances",
};
const QUEUED: Metric = Metric {
    name: "mfctl_kafka_queued_records",
    help: "Records that wait in this process's producers to be sent or acknowledged.",
    labels: &[],
    unit: "records",
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    stage: &'static str,
    error_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    stage: &'static str,
    topic: String,
    partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBroker {
    client: &'static str,
    broker: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    service: &'static str,
    operation: String,
}

/// 1 ms to about 65 s.
#[derive(Debug, Clone, Copy)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.001, 2.0, 17))
    }
}

type Durations = Family<ByStage, Histogram, Seconds>;

/// Counts and measures. Shared by everything that runs in the process; nothing in it blocks.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    consumed: Family<ByStage, Counter>,
    sent: Family<ByStage, Counter>,
    skipped: Family<ByStage, Counter>,
    retried: Family<ByError, Counter>,
    dead_lettered: Family<ByError, Counter>,
    fenced: Family<ByStage, Counter>,
    step_duration: Durations,
    settle_duration: Durations,
    commit_duration: Durations,
    request_duration: Family<ByOperation, Histogram, Seconds>,
    in_flight: Family<ByStage, Gauge>,
    breaker: Family<ByStage, Gauge>,
    partitions: Family<ByStage, Gauge>,
    lag: Family<ByPartition, Gauge>,
    staged_left: Family<ByStage, Counter>,
    broker_up: Family<ByBroker, Gauge>,
    broker_round_trip: Family<ByBroker, Gauge<f64, AtomicU64>>,
    broker_timeouts: Family<ByBroker, Counter>,
    rebalances: Counter,
    queued: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that all stand at nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        Self {
            consumed: register(&mut registry, CONSUMED, Family::default()),
            sent: register(&mut registry, SENT, Family::default()),
            skipped: register(&mut registry, SKIPPED, Family::default()),
            retried: register(&mut registry, RETRIED, Family::default()),
            dead_lettered: register(&mut registry, DEAD_LETTERED, Family::default()),
            fenced: register(&mut registry, FENCED, Family::default()),
            step_duration: register(&mut registry, STEP_DURATION, Family::new_with_constructor(Seconds)),
            settle_duration: register(&mut registry, SETTLE_DURATION, Family::new_with_constructor(Seconds)),
            commit_duration: register(&mut registry, COMMIT_DURATION, Family::new_with_constructor(Seconds)),
            request_duration: register(&mut registry, REQUEST_DURATION, Family::new_with_constructor(Seconds)),
            in_flight: register(&mut registry, IN_FLIGHT, Family::default()),
            breaker: register(&mut registry, BREAKER, Family::default()),
            partitions: register(&mut registry, PARTITIONS, Family::default()),
            lag: register(&mut registry, LAG, Family::default()),
            staged_left: register(&mut registry, STAGED_LEFT, Family::default()),
            broker_up: register(&mut registry, BROKER_UP, Family::default()),
            broker_round_trip: register(&mut registry, BROKER_ROUND_TRIP, Family::default()),
            broker_timeouts: register(&mut registry, BROKER_TIMEOUTS, Family::default()),
            rebalances: register(&mut registry, REBALANCES, Counter::default()),
            queued: register(&mut registry, QUEUED, Gauge::default()),
            registry,
        }
    }

    /// Everything in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        text::prometheus(&self.registry)
    }

    /// Makes a stage's series appear, at 0, before anything happened.
    pub fn declare(&self, stage: Stage) {
        let by = by(stage);
        for family in [&self.consumed, &self.sent, &self.skipped, &self.fenced, &self.staged_left] {
            drop(family.get_or_create(&by));
        }
        for family in [&self.in_flight, &self.breaker, &self.partitions] {
            drop(family.get_or_create(&by));
        }
    }

    /// Records were read.
    pub fn consumed(&self, stage: Stage, records: u64) {
        self.consumed.get_or_create(&by(stage)).inc_by(records);
    }

    /// Records were settled: this many emitted, this many skipped.
    pub fn settled(&self, stage: Stage, emitted: u64, skipped: u64) {
        self.sent.get_or_create(&by(stage)).inc_by(emitted);
        self.skipped.get_or_create(&by(stage)).inc_by(skipped);
    }

    /// Something is tried again.
    pub fn retried(&self, stage: Stage, error_type: &str) {
        self.retried.get_or_create(&by_error(stage, error_type)).inc();
    }

    /// A dead letter was committed.
    pub fn dead_lettered(&self, stage: Stage, error_type: &str) {
        self.dead_lettered.get_or_create(&by_error(stage, error_type)).inc();
    }

    /// A settlement was refused.
    pub fn fenced(&self, stage: Stage) {
        self.fenced.get_or_create(&by(stage)).inc();
    }

    /// A step took this long over a record.
    pub fn step_took(&self, stage: Stage, seconds: f64) {
        self.step_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// A batch took this long from its last step to its commit.
    pub fn settle_took(&self, stage: Stage, seconds: f64) {
        self.settle_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// The log took this long to commit a batch.
    pub fn commit_took(&self, stage: Stage, seconds: f64) {
        self.commit_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// A service took this long over a request. `operation` is one of few: never an address with names or ids in it.
    pub fn request_took(&self, service: &'static str, operation: &str, seconds: f64) {
        let by = ByOperation { service, operation: operation.to_owned() };
        self.request_duration.get_or_create(&by).observe(seconds);
    }

    /// How a worker stands now.
    pub fn standing(&self, stage: Stage, in_flight: u64, partitions: u64, breaker_open: bool) {
        set(&self.in_flight, &by(stage), in_flight);
        set(&self.partitions, &by(stage), partitions);
        set(&self.breaker, &by(stage), u64::from(breaker_open));
    }

    /// How far a stage is behind in a partition.
    pub fn lag(&self, stage: Stage, at: &TopicPartition, records: u64) {
        let by = ByPartition { stage: stage.as_str(), topic: at.topic.to_string(), partition: at.partition };
        set(&self.lag, &by, records);
    }

    /// Staged objects could not be deleted.
    pub fn staged_left(&self, stage: Stage, objects: u64) {
        self.staged_left.get_or_create(&by(stage)).inc_by(objects);
    }

    /// How a broker stands with a kind of client; `round_trip_seconds` is `None` when nothing was asked of it lately.
    pub fn broker(&self, client: &'static str, broker: i32, up: bool, round_trip_seconds: Option<f64>) {
        let by = ByBroker { client, broker };
        set(&self.broker_up, &by, u64::from(up));
        if let Some(seconds) = round_trip_seconds {
            self.broker_round_trip.get_or_create(&by).set(seconds);
        }
    }

    /// A broker left requests of a kind of client unanswered.
    pub fn broker_timeouts(&self, client: &'static str, broker: i32, requests: u64) {
        self.broker_timeouts.get_or_create(&ByBroker { client, broker }).inc_by(requests);
    }

    /// Members of groups went through rebalances.
    pub fn rebalanced(&self, times: u64) {
        self.rebalances.inc_by(times);
    }

    /// So many more records wait in producers, or fewer.
    pub fn queued(&self, change: i64) {
        self.queued.inc_by(change);
    }
}

fn register<M>(registry: &mut Registry, metric: Metric, handle: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(metric.name, metric.help.trim_end_matches('.'), handle.clone());
    handle
}

fn by(stage: Stage) -> ByStage {
    ByStage { stage: stage.as_str() }
}

fn by_error(stage: Stage, error_type: &str) -> ByError {
    ByError { stage: stage.as_str(), error_type: error_type.to_owned() }
}

fn set<L>(gauges: &Family<L, Gauge>, labels: &L, value: u64)
where
    L: Clone + std::hash::Hash + Eq,
{
    gauges.get_or_create(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_table_is_in_the_text_with_its_help() {
        let metrics = Metrics::new();
        let stage = Stage::Persist;
        metrics.declare(stage);
        // What has a label of its own (a kind of error, a partition) is printed from its first value on.
        metrics.retried(stage, "timeout");
        metrics.dead_lettered(stage, "malformed");
        metrics.step_took(stage, 0.1);
        metrics.settle_took(stage, 0.1);
        metrics.commit_took(stage, 0.1);
        metrics.request_took("s3", "CopyObject", 0.1);
        metrics.lag(stage, &TopicPartition::new(stage.input(), 0), 1);
        metrics.broker("consumer", 1, true, Some(0.002));
        metrics.broker_timeouts("consumer", 1, 1);
        let text = metrics.text();
        for metric in TABLE {
            let help = format!("# HELP {}", metric.name);
            assert!(text.lines().any(|line| line.starts_with(&help)), "{} in\n{text}", metric.name);
        }
    }

    #[test]
    fn a_counter_is_named_alike_in_its_help_its_type_and_its_value() {
        let metrics = Metrics::new();
        metrics.dead_lettered(Stage::Enrich, "malformed");
        metrics.step_took(Stage::Enrich, 0.25);
        let text = metrics.text();
        for line in [
            "# TYPE mfctl_dead_letters_total counter",
            "mfctl_dead_letters_total{stage=\"enrich\",error_type=\"malformed\"} 1",
            "# TYPE messaging_process_duration_seconds histogram",
            "messaging_process_duration_seconds_count{stage=\"enrich\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "OpenMetrics' own lines are no part of 0.0.4");
    }
}
