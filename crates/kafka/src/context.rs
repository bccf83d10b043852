//! The callbacks of librdkafka's clients: logs, errors, delivery reports, rebalances, statistics.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode;

use super::blocking::lock;
use super::connection_status::ConnectionStatus;
use super::delivery::DeliveryTicket;
use super::names::WirePartition;
use super::statistics::ClientMetrics;
use mfctl_core::telemetry::Metrics;

pub(super) type RawClient = Client<KafkaContext>;
pub(super) type RawConsumer = BaseConsumer<KafkaContext>;
pub(super) type RawProducer = BaseProducer<KafkaContext>;

/// A decision of the group's coordinator, which librdkafka expects an answer to: assign or unassign.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<WirePartition>),
    /// `lost`: another member may own the partitions already.
    Revoke {
        partitions: Vec<WirePartition>,
        lost: bool,
    },
}

/// The context of every client.
#[derive(Debug)]
pub(super) struct KafkaContext {
    status: Arc<ConnectionStatus>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    is_closing: AtomicBool,
    metrics: ClientMetrics,
    /// Partitions of known topics that librdkafka does not fetch, and since when.
    not_fetched_since: Mutex<HashMap<WirePartition, Instant>>,
}

impl KafkaContext {
    pub(super) fn new(status: &Arc<ConnectionStatus>, metrics: &Arc<Metrics>) -> Self {
        Self {
            status: Arc::clone(status),
            rebalances: Mutex::default(),
            is_closing: AtomicBool::new(false),
            metrics: ClientMetrics::new(metrics),
            not_fetched_since: Mutex::default(),
        }
    }

    /// Takes the next rebalance that was not answered yet.
    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    /// Whether librdkafka has not fetched a partition for this long. It may never have been asked to.
    pub(super) fn is_not_fetched_for(&self, at: &WirePartition, time: Duration) -> bool {
        lock(&self.not_fetched_since).get(at).is_some_and(|since| since.elapsed() >= time)
    }

    /// Restarts the clock of [`Self::is_not_fetched_for`]: the partition was just assigned.
    pub(super) fn fetch_restarted(&self, at: &WirePartition) {
        lock(&self.not_fetched_since).remove(at);
    }

    /// From now on the callback itself gives up revoked partitions, since the member no longer answers rebalances.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Logs a line of librdkafka's log. Most of its errors are broken connections, which it reconnects by itself and each
    /// client reports for itself; the call that fails reports those that matter.
    pub(super) fn log_line(&self, level: i32, facility: &str, message: &str) {
        match level {
            3..=4 if facility == "FAIL" => tracing::debug!(target: "kafka", facility, "{message}"),
            ..=2 => tracing::error!(target: "kafka", facility, "{message}"),
            3..=4 => tracing::warn!(target: "kafka", facility, "{message}"),
            5..=6 => tracing::debug!(target: "kafka", facility, "{message}"),
            _ => tracing::trace!(target: "kafka", facility, "{message}"),
        }
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log_line(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        tracing::debug!(target: "kafka", %code, "{reason}");
        self.status.record_error(code, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.metrics.update(&statistics);
        let mut since = lock(&self.not_fetched_since);
        let now = Instant::now();
        let partitions =
            statistics.topics.values().flat_map(|topic| topic.partitions.values().map(|at| (&topic.topic, at)));
        let not_fetched = partitions.filter(|(_, at)| matches!(at.fetch_state.as_str(), "none" | "stopped"));
        *since = not_fetched
            .map(|(topic, at)| {
                let at = (topic.clone(), at.partition);
                let stopped = since.get(&at).copied().unwrap_or(now);
                (at, stopped)
            })
            .collect();
    }
}

impl ConsumerContext for KafkaContext {
    /// Only queues the decision: the member answers it once its records in flight are committed. Until then librdkafka
    /// waits and goes on sending heartbeats.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        let is_assignment = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_closing.load(Ordering::Acquire) {
            let answered = match is_assignment {
                true => consumer.incremental_assign(&TopicPartitionList::new()),
                false => consumer.incremental_unassign(list),
            };
            if let Err(error) = answered {
                tracing::debug!(target: "kafka", %error, "could not unassign partitions while closing");
            }
            return;
        }
        let rebalance = match is_assignment {
            true => Rebalance::Assign(partitions),
            false => Rebalance::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        lock(&self.rebalances).push_back(rebalance);
    }
}

impl ProducerContext for KafkaContext {
    type DeliveryOpaque = Box<DeliveryTicket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<DeliveryTicket>) {
        ticket.complete(report);
    }
}
