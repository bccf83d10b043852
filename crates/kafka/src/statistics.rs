//! librdkafka's statistics as mfctl's metrics.
//!
//! A client counts from its own start, and the metrics from that of the process: a replacement producer continues where its
//! predecessor stopped. Only long-lived clients, group members and producers, report statistics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Statistics;

use super::blocking::lock;
use mfctl_core::telemetry::Metrics;

/// `statistics.interval.ms` of the clients that report.
pub(super) const INTERVAL_MS: u32 = 5_000;

/// A client's counts that the metrics include already.
#[derive(Debug, Default)]
struct ReportedCounts {
    queued: i64,
    rebalances: i64,
    timeouts: HashMap<i32, u64>,
}

/// Adds one client's statistics to the metrics of the process.
#[derive(Debug)]
pub(super) struct ClientMetrics {
    metrics: Arc<Metrics>,
    reported: Mutex<ReportedCounts>,
}

impl ClientMetrics {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), reported: Mutex::default() }
    }

    /// Adds what the client has counted since the last update.
    pub(super) fn update(&self, statistics: &Statistics) {
        let client = match statistics.client_type.as_str() {
            "producer" => "producer",
            _ => "consumer",
        };
        let mut reported = lock(&self.reported);
        if client == "producer" {
            let queued = i64::try_from(statistics.msg_cnt).unwrap_or(i64::MAX);
            self.metrics.queued(queued - reported.queued);
            reported.queued = queued;
        }
        if let Some(group) = &statistics.cgrp {
            self.metrics.rebalanced(u64::try_from(group.rebalance_cnt - reported.rebalances).unwrap_or(0));
            reported.rebalances = group.rebalance_cnt;
        }
        // Negative ids are bootstrap addresses and coordinators, which are listed as brokers as well.
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
            let round_trips = broker.rtt.as_ref().filter(|round_trips| round_trips.cnt > 0);
            let seconds = round_trips.map(|round_trips| round_trips.p99 as f64 / 1e6);
            self.metrics.broker(client, broker.nodeid, broker.state == "UP", seconds);
            let before = reported.timeouts.insert(broker.nodeid, broker.req_timeouts).unwrap_or(0);
            self.metrics.broker_timeouts(client, broker.nodeid, broker.req_timeouts.saturating_sub(before));
        }
    }
}

impl Drop for ClientMetrics {
    fn drop(&mut self) {
        let reported = self.reported.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.metrics.queued(-reported.queued);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(queued: u64, rebalances: i64, timeouts: u64) -> Statistics {
        let mut statistics = Statistics { client_type: "producer".into(), msg_cnt: queued, ..Statistics::default() };
        statistics.cgrp = Some(rdkafka::statistics::ConsumerGroup { rebalance_cnt: rebalances, ..Default::default() });
        let rtt = rdkafka::statistics::Window { cnt: 9, p99: 2_000, ..Default::default() };
        let broker = |nodeid| rdkafka::statistics::Broker {
            nodeid,
            state: "UP".into(),
            req_timeouts: timeouts,
            rtt: Some(rtt.clone()),
            ..Default::default()
        };
        statistics.brokers = [("a:1/1".into(), broker(1)), ("a:1/bootstrap".into(), broker(-1))].into();
        statistics
    }

    #[test]
    fn counts_of_successive_clients_add_up() {
        let metrics = Arc::new(Metrics::new());
        let first = ClientMetrics::new(&metrics);
        first.update(&statistics(7, 1, 2));
        first.update(&statistics(5, 2, 3));
        drop(first);
        ClientMetrics::new(&metrics).update(&statistics(4, 1, 1));
        let text = metrics.text();
        for line in [
            "mfctl_kafka_queued_records 0",
            "mfctl_kafka_rebalances_total 3",
            "mfctl_kafka_request_timeouts_total{client=\"producer\",broker=\"1\"} 4",
            "mfctl_kafka_broker_up{client=\"producer\",broker=\"1\"} 1",
            "mfctl_kafka_round_trip_seconds{client=\"producer\",broker=\"1\"} 0.002",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("broker=\"-1\""), "{text}");
    }
}
