//! librdkafka's statistics as mfctl's metrics.
//!
//! Each client tells what it has counted since it was made; the metrics are of the process, so that a producer made anew
//! goes on where the one before it stopped. The clients that tell are those that live long: group members and producers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Statistics;

use mfctl_core::telemetry::Metrics;

/// How often a client tells.
pub(super) const INTERVAL_MS: u32 = 5_000;

/// What of a client's counts is in the metrics already.
#[derive(Debug, Default)]
struct Seen {
    queued: i64,
    rebalances: i64,
    timeouts: HashMap<i32, u64>,
}

/// One client's way to the metrics.
#[derive(Debug)]
pub(super) struct Gauge {
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

impl Gauge {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), seen: Mutex::default() }
    }

    /// Takes over what a client has counted so far.
    pub(super) fn take(&self, told: &Statistics) {
        let client = match told.client_type.as_str() {
            "producer" => "producer",
            _ => "consumer",
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if client == "producer" {
            let queued = i64::try_from(told.msg_cnt).unwrap_or(i64::MAX);
            self.metrics.queued(queued - seen.queued);
            seen.queued = queued;
        }
        if let Some(group) = &told.cgrp {
            self.metrics.rebalanced(u64::try_from(group.rebalance_cnt - seen.rebalances).unwrap_or(0));
            seen.rebalances = group.rebalance_cnt;
        }
        // Addresses to begin with, and coordinators, are brokers a second time, under numbers below 0.
        for broker in told.brokers.values().filter(|broker| broker.nodeid >= 0) {
            let answers = broker.rtt.as_ref().filter(|answers| answers.cnt > 0);
            let seconds = answers.map(|answers| answers.p99 as f64 / 1e6);
            self.metrics.broker(client, broker.nodeid, broker.state == "UP", seconds);
            let before = seen.timeouts.insert(broker.nodeid, broker.req_timeouts).unwrap_or(0);
            self.metrics.broker_timeouts(client, broker.nodeid, broker.req_timeouts.saturating_sub(before));
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        let seen = self.seen.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.metrics.queued(-seen.queued);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(queued: u64, rebalances: i64, timeouts: u64) -> Statistics {
        let mut told = Statistics { client_type: "producer".into(), msg_cnt: queued, ..Statistics::default() };
        told.cgrp = Some(rdkafka::statistics::ConsumerGroup { rebalance_cnt: rebalances, ..Default::default() });
        let rtt = rdkafka::statistics::Window { cnt: 9, p99: 2_000, ..Default::default() };
        let broker = |nodeid| rdkafka::statistics::Broker {
            nodeid,
            state: "UP".into(),
            req_timeouts: timeouts,
            rtt: Some(rtt.clone()),
            ..Default::default()
        };
        told.brokers = [("a:1/1".into(), broker(1)), ("a:1/bootstrap".into(), broker(-1))].into();
        told
    }

    #[test]
    fn what_two_clients_tell_one_after_the_other_adds_up() {
        let metrics = Arc::new(Metrics::new());
        let first = Gauge::new(&metrics);
        first.take(&told(7, 1, 2));
        first.take(&told(5, 2, 3));
        drop(first);
        Gauge::new(&metrics).take(&told(4, 1, 1));
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
