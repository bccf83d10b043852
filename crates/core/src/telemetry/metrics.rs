//! The metrics: one table of names, and the handle through which they are recorded.
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
    /// Name without the `_total` that counters get.
    pub name: &'static str,
    /// Help text of `/metrics`.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Unit of the value; empty for a flag of 0 or 1.
    pub unit: &'static str,
}

/// A set of labels, each series of a metric having its own values of them.
macro_rules! label_set {
    ($($name:ident { $($label:ident: $type:ty),+ })+) => {
        $(
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $($label: $type),+ }

            impl $name {
                const LABELS: &'static [&'static str] = &[$(stringify!($label)),+];
            }
        )+
    };
}

label_set! {
    ByStage { stage: &'static str }
    ByError { stage: &'static str, error_type: String }
    ByDependency { stage: &'static str, dependency: &'static str }
    ByPartition { stage: &'static str, topic: String, partition: u32 }
    ByBroker { client: &'static str, broker: i32 }
    ByOperation { service: &'static str, operation: String }
}

/// The buckets of every histogram: 17, doubling from 1 ms to about 65 s.
#[derive(Debug, Clone, Copy)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.001, 2.0, 17))
    }
}

macro_rules! handle_type {
    (counter) => { Counter };
    (gauge) => { Gauge };
    (counter by $labels:ident) => { Family<$labels, Counter> };
    (gauge by $labels:ident) => { Family<$labels, Gauge> };
    (float_gauge by $labels:ident) => { Family<$labels, Gauge<f64, AtomicU64>> };
    (histogram by $labels:ident) => { Family<$labels, Histogram, Seconds> };
}

macro_rules! new_handle {
    (histogram by $labels:ident) => {
        Family::<$labels, Histogram, Seconds>::new_with_constructor(Seconds)
    };
    ($($kind:tt)+) => {
        <handle_type!($($kind)+)>::default()
    };
}

macro_rules! labels_of {
    () => {
        &[]
    };
    ($labels:ident) => {
        $labels::LABELS
    };
}

/// One row a metric: field, kind with its labels, name, unit, help.
macro_rules! metrics {
    ($($field:ident: $kind:ident $(by $labels:ident)? = $name:literal, $unit:literal, $help:literal;)+) => {
        /// Every metric, in the order of `/metrics`.
        pub const TABLE: &[Metric] =
            &[$(Metric { name: $name, help: $help, labels: labels_of!($($labels)?), unit: $unit }),+];

        /// Recorder of the metrics, shared by everything that runs in the process; no call blocks.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($field: handle_type!($kind $(by $labels)?),)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::default();
                $(
                    let $field = new_handle!($kind $(by $labels)?);
                    registry.register($name, $help.trim_end_matches('.'), $field.clone());
                )+
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    consumed: counter by ByStage = "messaging_client_consumed_messages", "records",
        "Records read from the log by a stage.";
    sent: counter by ByStage = "messaging_client_sent_messages", "records",
        "Events a stage emitted, counted when committed.";
    skipped: counter by ByStage = "mfctl_skipped_duplicates", "records",
        "Records whose asset and revision another record had claimed, or whose output was committed before.";
    retried: counter by ByError = "mfctl_retries", "tries",
        "Tries again, by what failed before.";
    dead_lettered: counter by ByError = "mfctl_dead_letters", "records",
        "Records given up and sent to the dead-letter topic, counted when committed.";
    fenced: counter by ByStage = "mfctl_settles_fenced", "settlements",
        "Settlements the log refused, so that the work was done again from the committed offsets.";
    step_duration: histogram by ByStage = "messaging_process_duration_seconds", "seconds",
        "Time a step took over one record, tries and waits included.";
    settle_duration: histogram by ByStage = "mfctl_settle_duration_seconds", "seconds",
        "Time from a batch's last step to its commit.";
    commit_duration: histogram by ByStage = "mfctl_commit_duration_seconds", "seconds",
        "Time the log took to commit a batch: its outputs, dead letters and offsets.";
    request_duration: histogram by ByOperation = "mfctl_http_request_duration_seconds", "seconds",
        "Time a service took to answer a request, each try by itself.";
    in_flight: gauge by ByStage = "mfctl_in_flight_records", "records",
        "Records read and not settled.";
    breaker: gauge by ByStage = "mfctl_breaker_open", "",
        "1 while a dependency is down and intake stands still.";
    dependency_down: gauge by ByDependency = "mfctl_dependency_down", "",
        "1 while this dependency of the stage is down.";
    partitions: gauge by ByStage = "mfctl_assigned_partitions", "partitions",
        "Partitions this worker owns.";
    lag: gauge by ByPartition = "mfctl_lag_records", "records",
        "Records between a stage's commit and the end of the partition.";
    staging_deletes_failed: counter by ByStage = "mfctl_staging_deletes_failed", "objects",
        "Staged objects of settled events that could not be deleted and stay as garbage.";
    broker_up: gauge by ByBroker = "mfctl_kafka_broker_up", "",
        "1 while a client has a connection to the broker, as of librdkafka's latest statistics.";
    broker_round_trip: float_gauge by ByBroker = "mfctl_kafka_round_trip_seconds", "seconds",
        "99th percentile of the time the broker took to answer, over librdkafka's latest interval.";
    broker_timeouts: counter by ByBroker = "mfctl_kafka_request_timeouts", "requests",
        "Requests that the broker did not answer in time.";
    rebalances: counter = "mfctl_kafka_rebalances", "rebalances",
        "Rebalances that this process's group members took part in.";
    settings_not_used: gauge = "mfctl_settings_not_used", "settings",
        "Settings with a value that this worker does not use, because it is invalid or fails the trial parse.";
    queued: gauge = "mfctl_kafka_queued_records", "records",
        "Records that wait in this process's producers to be sent or acknowledged.";
}

impl Metrics {
    /// A recorder without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every metric in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        text::prometheus(&self.registry)
    }

    /// Creates the series of a stage at 0, so that they are scraped before the first record.
    pub fn declare(&self, stage: Stage) {
        let by = by(stage);
        for family in [&self.consumed, &self.sent, &self.skipped, &self.fenced, &self.staging_deletes_failed] {
            drop(family.get_or_create(&by));
        }
        for family in [&self.in_flight, &self.breaker, &self.partitions] {
            drop(family.get_or_create(&by));
        }
    }

    /// Counts records read by a stage.
    pub fn consumed(&self, stage: Stage, records: u64) {
        self.consumed.get_or_create(&by(stage)).inc_by(records);
    }

    /// Counts the events emitted and the duplicates skipped by a commit.
    pub fn committed(&self, stage: Stage, emitted: u64, skipped: u64) {
        self.sent.get_or_create(&by(stage)).inc_by(emitted);
        self.skipped.get_or_create(&by(stage)).inc_by(skipped);
    }

    /// Counts a retry by the kind of the failure before it.
    pub fn retried(&self, stage: Stage, error_type: &str) {
        self.retried.get_or_create(&by_error(stage, error_type)).inc();
    }

    /// Counts a committed dead letter by the kind of its failure.
    pub fn dead_lettered(&self, stage: Stage, error_type: &str) {
        self.dead_lettered.get_or_create(&by_error(stage, error_type)).inc();
    }

    /// Counts a commit that the log fenced.
    pub fn fenced(&self, stage: Stage) {
        self.fenced.get_or_create(&by(stage)).inc();
    }

    /// Records the time of a step for one record, in seconds.
    pub fn step_took(&self, stage: Stage, seconds: f64) {
        self.step_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// Records the time from a batch's last step to its commit, in seconds.
    pub fn settle_took(&self, stage: Stage, seconds: f64) {
        self.settle_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// Records the time the log took to commit a batch, in seconds.
    pub fn commit_took(&self, stage: Stage, seconds: f64) {
        self.commit_duration.get_or_create(&by(stage)).observe(seconds);
    }

    /// Records the time of one request to a service, in seconds. `operation` must be of a small fixed set: never a path
    /// with names or ids in it.
    pub fn request_took(&self, service: &'static str, operation: &str, seconds: f64) {
        let by = ByOperation { service, operation: operation.to_owned() };
        self.request_duration.get_or_create(&by).observe(seconds);
    }

    /// Sets a worker's gauges: records in flight, assigned partitions, breaker.
    pub fn worker_state(&self, stage: Stage, in_flight: u64, partitions: u64, breaker_open: bool) {
        set(&self.in_flight, &by(stage), in_flight);
        set(&self.partitions, &by(stage), partitions);
        set(&self.breaker, &by(stage), u64::from(breaker_open));
    }

    /// Sets whether a dependency of a stage is down.
    pub fn dependency_down(&self, stage: Stage, dependency: &'static str, down: bool) {
        set(&self.dependency_down, &ByDependency { stage: stage.as_str(), dependency }, u64::from(down));
    }

    /// Sets a stage's lag in one partition, in records.
    pub fn lag(&self, stage: Stage, at: &TopicPartition, records: u64) {
        let by = ByPartition { stage: stage.as_str(), topic: at.topic.to_string(), partition: at.partition };
        set(&self.lag, &by, records);
    }

    /// Counts staged objects that could not be deleted.
    pub fn staging_deletes_failed(&self, stage: Stage, objects: u64) {
        self.staging_deletes_failed.get_or_create(&by(stage)).inc_by(objects);
    }

    /// Sets the state of a broker's connection; `round_trip_seconds` is `None` when it had no request lately.
    pub fn broker(&self, client: &'static str, broker: i32, up: bool, round_trip_seconds: Option<f64>) {
        let by = ByBroker { client, broker };
        set(&self.broker_up, &by, u64::from(up));
        if let Some(seconds) = round_trip_seconds {
            self.broker_round_trip.get_or_create(&by).set(seconds);
        }
    }

    /// Counts requests that a broker did not answer in time.
    pub fn broker_timeouts(&self, client: &'static str, broker: i32, requests: u64) {
        self.broker_timeouts.get_or_create(&ByBroker { client, broker }).inc_by(requests);
    }

    /// Counts rebalances of this process's group members.
    pub fn rebalanced(&self, times: u64) {
        self.rebalances.inc_by(times);
    }

    /// Sets the number of settings with a value that is not used.
    pub fn settings_not_used(&self, settings: u64) {
        self.settings_not_used.set(i64::try_from(settings).unwrap_or(i64::MAX));
    }

    /// Changes the number of records queued in producers by `change`.
    pub fn queued(&self, change: i64) {
        self.queued.inc_by(change);
    }
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
    fn every_metric_has_a_help_line() {
        let metrics = Metrics::new();
        let stage = Stage::Persist;
        metrics.declare(stage);
        // A series with a label beside the stage (an error type, a partition) appears with its first value.
        metrics.retried(stage, "timeout");
        metrics.dead_lettered(stage, "malformed");
        metrics.step_took(stage, 0.1);
        metrics.settle_took(stage, 0.1);
        metrics.commit_took(stage, 0.1);
        metrics.request_took("s3", "CopyObject", 0.1);
        metrics.dependency_down(stage, "objects", true);
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
    fn counters_have_one_name_in_help_type_and_value() {
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
