//! What librdkafka tells its clients: logs, errors, deliveries, rebalances, statistics.
//!
//! A refused password or certificate comes as an event while the calls of that client just time out. The latest such
//! event is kept here, for the error of the call.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode;

use super::delivery::Ticket;
use super::statistics::Gauge;
use mfctl_core::telemetry::Metrics;

/// How long an event explains calls that time out.
const FRESH: Duration = Duration::from_secs(30);

/// The latest trouble of any client of one cluster.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    latest: Mutex<Option<(Instant, RDKafkaErrorCode, String)>>,
    reached: AtomicBool,
}

impl Trouble {
    pub(super) fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        // A broker that refuses our certificate says so when the handshake is over for us: as a broken connection.
        let code = match reason.contains("SSL alert number") {
            true => RDKafkaErrorCode::SSL,
            false => code,
        };
        let mut latest = lock(&self.latest);
        let refusal_stands = latest.as_ref().is_some_and(|(at, old, _)| is_refusal(*old) && at.elapsed() < FRESH);
        if is_refusal(code) || !refusal_stands {
            *latest = Some((Instant::now(), code, reason.to_owned()));
        }
    }

    /// The latest trouble that is not old.
    pub(super) fn latest(&self) -> Option<(RDKafkaErrorCode, String)> {
        let latest = lock(&self.latest);
        latest.as_ref().filter(|(at, ..)| at.elapsed() < FRESH).map(|(_, code, reason)| (*code, reason.clone()))
    }

    /// A refusal. One that comes before the cluster was ever reached is mended by no waiting; later it may be that of one
    /// broker whose certificate is being replaced.
    pub(super) fn refusal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.latest().filter(|(code, _)| is_refusal(*code))
    }

    /// The cluster answered: what was before explains nothing any more.
    pub(super) fn over(&self) {
        self.reached.store(true, Ordering::Relaxed);
        *lock(&self.latest) = None;
    }

    /// Whether the cluster ever answered.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

/// What a group's coordinator decided.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<(String, i32)>),
    Revoke { partitions: Vec<(String, i32)>, lost: bool },
}

/// The context of every client.
#[derive(Debug)]
pub(super) struct Context {
    trouble: Arc<Trouble>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
    gauge: Gauge,
    /// Partitions that are known and not fetched, since when.
    not_fetched: Mutex<HashMap<(String, i32), Instant>>,
}

impl Context {
    pub(super) fn new(trouble: &Arc<Trouble>, metrics: &Arc<Metrics>) -> Self {
        Self {
            trouble: Arc::clone(trouble),
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
            gauge: Gauge::new(metrics),
            not_fetched: Mutex::default(),
        }
    }

    /// The next rebalance that nobody has answered yet.
    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    /// Whether librdkafka has not been fetching a partition for so long. It may never have been asked to.
    pub(super) fn is_not_fetched_for(&self, at: &(String, i32), time: Duration) -> bool {
        lock(&self.not_fetched).get(at).is_some_and(|since| since.elapsed() >= time)
    }

    /// A partition is to be fetched anew: what was known of it is old.
    pub(super) fn fetched_anew(&self, at: &(String, i32)) {
        lock(&self.not_fetched).remove(at);
    }

    /// From now on partitions are given back as soon as they are asked for: nobody is left to be told.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// A line of librdkafka's log. What it calls an error is mostly a broken connection that it mends by itself: each
    /// client tells of each of its own, and what matters of it is told by the call that fails.
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

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log_line(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        tracing::debug!(target: "kafka", %code, "{reason}");
        self.trouble.note(code, reason);
    }

    fn stats(&self, told: Statistics) {
        self.gauge.take(&told);
        let mut since = lock(&self.not_fetched);
        let now = Instant::now();
        let partitions = told.topics.values().flat_map(|topic| topic.partitions.values().map(|at| (&topic.topic, at)));
        let not_fetched = partitions.filter(|(_, at)| matches!(at.fetch_state.as_str(), "none" | "stopped"));
        *since = not_fetched
            .map(|(topic, at)| {
                let at = (topic.clone(), at.partition);
                let began = since.get(&at).copied().unwrap_or(now);
                (at, began)
            })
            .collect();
    }
}

impl ConsumerContext for Context {
    /// Only notes what was decided: the member answers it when what is in flight is settled. librdkafka waits for the
    /// answer, and goes on sending heartbeats.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = match assigned {
                true => consumer.incremental_assign(&TopicPartitionList::new()),
                false => consumer.incremental_unassign(list),
            };
            if let Err(error) = answered {
                tracing::debug!(target: "kafka", %error, "could not give partitions back in closing");
            }
            return;
        }
        let rebalance = match assigned {
            true => Rebalance::Assign(partitions),
            false => Rebalance::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        lock(&self.rebalances).push_back(rebalance);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        ticket.done(delivered);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_not_hidden_by_the_disconnects_that_follow_it() {
        let trouble = Trouble::default();
        trouble.note(RDKafkaErrorCode::BrokerTransportFailure, "down");
        trouble.note(RDKafkaErrorCode::Authentication, "wrong password");
        trouble.note(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(trouble.refusal().unwrap().1, "wrong password");
        trouble.over();
        assert_eq!(trouble.latest(), None);
        trouble.note(RDKafkaErrorCode::BrokerTransportFailure, "Receive failed: SSL alert number 46");
        assert_eq!(trouble.refusal().unwrap().0, RDKafkaErrorCode::SSL);
    }
}
