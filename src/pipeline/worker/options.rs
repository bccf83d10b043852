//! What a worker is started with: ports, limits, and settings that may change while it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::memory_budget::MemoryBudget;
use mfctl_core::breaker::RecordLimit;
use mfctl_core::domain::names::Buckets;
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{Catalog, Clock, EventLog, FetchLimits, ObjectStore};
use mfctl_core::retry::RetryPolicy;
use mfctl_core::telemetry::Metrics;

/// The ports a worker uses beside those of its step.
#[derive(Clone)]
pub struct WorkerPorts {
    /// The log it consumes from and produces to.
    pub log: Arc<dyn EventLog>,
    /// Holds the claims on input records.
    pub catalog: Arc<dyn Catalog>,
    /// Keeps the records that are too large for their dead-letter topic.
    pub objects: Arc<dyn ObjectStore>,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// Decodes input records. The environment of the codec is that of the worker.
    pub codec: Arc<EventCodec>,
    /// Timestamps of failures and dead letters.
    pub clock: Arc<dyn Clock>,
    /// The process's metrics, labelled by stage.
    pub metrics: Arc<Metrics>,
}

/// How a worker runs.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The member's name in the group, e.g. `host-1f0a93c4/0`; unique per stage.
    pub instance: String,
    /// Settings that may change while the worker runs; the latest value applies.
    pub tuning: watch::Receiver<Tuning>,
    /// Upper bound of records in flight: read and not yet committed. Each assigned partition has an equal share.
    pub window_records: usize,
    /// Upper bound of the bytes held, of which the part for records in flight is shared in the same way.
    pub memory: MemoryBudget,
    /// Upper bound of one poll.
    pub batch: FetchLimits,
    /// Upper bound of the records in one commit.
    pub commit_records: usize,
    /// A member that has not polled for this long is evicted from the group.
    pub session_timeout: Duration,
    /// Attempts per record, and the backoff between attempts of anything.
    pub retry: RetryPolicy,
    /// How long a dependency that works for others may fail for one record.
    pub record_limit: RecordLimit,
    /// When the worker ends by itself.
    pub until: Until,
}

impl WorkerOptions {
    /// Upper bounds of records in flight.
    pub(super) fn window(&self) -> FetchLimits {
        FetchLimits { max_records: self.window_records, max_bytes: self.memory.window_bytes() }
    }
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            instance: "worker/0".into(),
            tuning: watch::channel(Tuning::default()).1,
            window_records: 2048,
            memory: MemoryBudget::default(),
            batch: FetchLimits { max_records: 512, max_bytes: 8 << 20 },
            commit_records: 1024,
            session_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            record_limit: RecordLimit::default(),
            until: Until::Stopped,
        }
    }
}

/// The options that may change while a worker runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Records processed at the same time.
    pub concurrency: usize,
    /// How long a shutdown may take; records in flight after that are redelivered.
    pub drain_timeout: Duration,
    /// How long a dependency may be down before the worker ends.
    pub give_up_after: Duration,
    /// The share of dead letters that point to the worker, of one kind, among the latest records, above which the worker ends;
    /// `None` for no limit.
    pub dead_letter_ratio: Option<f64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            concurrency: 16,
            drain_timeout: Duration::from_secs(25),
            give_up_after: Duration::from_secs(120),
            dead_letter_ratio: Some(0.5),
        }
    }
}

/// How long a poll waits for records when the worker has nothing else to do.
const POLL_WAIT: Duration = Duration::from_millis(250);
/// The same for a worker that ends when its group is drained.
const POLL_WAIT_UNTIL_DRAINED: Duration = Duration::from_millis(50);

/// When a worker ends.
#[derive(Debug, Clone)]
pub enum Until {
    /// On a stop request only.
    Stopped,
    /// When its group has consumed every partition to the end.
    Drained {
        /// The group counts as drained only once this is `true`: the upstream stage is drained.
        after: Option<watch::Receiver<bool>>,
    },
}

impl Until {
    /// How long a poll of an idle worker waits for records.
    pub(super) fn poll_wait(&self) -> Duration {
        match self {
            Self::Stopped => POLL_WAIT,
            Self::Drained { .. } => POLL_WAIT_UNTIL_DRAINED,
        }
    }
}
