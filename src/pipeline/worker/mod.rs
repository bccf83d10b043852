//! The one consume loop, generic over the step it runs.
//!
//! ```text
//! poll ─▶ intake (decode, claim) ─▶ tracker ─▶ steps ─▶ tracker ─▶ finish (sync, index, advance) ─▶ settle ─▶ tidy
//! ```
//!
//! One task owns the consumer and the tracker and never waits for a dependency: what could wait runs in tasks of its own
//! and comes back as an event, so that the loop goes on polling. Offsets, outputs and dead letters are committed in one
//! transaction; whatever is uncertain after a failure is read again from the committed offsets and, because steps are
//! idempotent and inputs are claimed, done again without being emitted twice.
//!
//! Files: `lifecycle` the loop and its states; `intake` records into work; `run` one record's tries; `finish` a
//! batch's last steps; `settlement` the transaction; `tracker` what is in flight; `guard` the dead-letter ratio.

mod finish;
mod guard;
mod intake;
mod lifecycle;
mod run;
mod settlement;
mod step;
mod tracker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

pub use step::{Leftover, RecordContext, Step, StepError, StepOutput};

use crate::pipeline::live::Live;
use mfctl_core::breaker::Breaker;
use mfctl_core::domain::GroupName;
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, Catalog, Clock, ErrorKind, EventLog, FetchLimits, Subscription};
use mfctl_core::retry::{RetryPolicy, dependency_failure, retry_until_deadline};
use mfctl_core::stop::{Stop, StopReason};
use mfctl_core::telemetry::Metrics;

/// What a worker needs of the world beside its step.
#[derive(Clone)]
pub struct WorkerPorts {
    /// Where records come from and go to.
    pub log: Arc<dyn EventLog>,
    /// Where inputs are claimed.
    pub catalog: Arc<dyn Catalog>,
    /// Reads the input. Its environment is the worker's.
    pub codec: Arc<EventCodec>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

/// How a worker is to run.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name in the group, e.g. `host/0`; unique per stage.
    pub instance: String,
    /// What may change while it runs.
    pub tuning: Live<Tuning>,
    /// Records read and not settled at most.
    pub window_records: usize,
    /// What they and their outputs may hold, in bytes. One record is taken whatever its size.
    pub window_bytes: usize,
    /// What one poll may bring.
    pub batch: FetchLimits,
    /// Records that one commit holds at most.
    pub commit_records: usize,
    /// A member that has not polled for this long is put out of the group.
    pub session_timeout: Duration,
    /// Waits between tries.
    pub retry: RetryPolicy,
    /// When to end without being asked.
    pub until: Until,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            instance: "worker/0".into(),
            tuning: Live::new(Tuning::default()),
            window_records: 2048,
            window_bytes: 64 << 20,
            batch: FetchLimits { max_records: 512, max_bytes: 8 << 20 },
            commit_records: 1024,
            session_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            until: Until::Asked,
        }
    }
}

/// What of a worker's options may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Records worked on at the same time.
    pub concurrency: usize,
    /// How long a stop may take.
    pub drain_timeout: Duration,
    /// How long a dependency may be down before the worker ends.
    pub give_up_after: Duration,
    /// The share of dead letters among the latest records that stops the worker; `None` for no limit.
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

/// When a worker ends.
#[derive(Debug, Clone)]
pub enum Until {
    /// When it is asked to.
    Asked,
    /// When nothing is left for its whole group.
    Drained {
        /// Nothing counts as left only once this says `true`: the stage before is drained.
        after: Option<watch::Receiver<bool>>,
    },
}

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Records settled.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records passed over as duplicates.
    pub skipped_duplicates: u64,
    /// Tries again, of records and of dependencies.
    pub retried: u64,
    /// Records given up.
    pub dead_lettered: u64,
    /// Settlements the log refused.
    pub fenced: u64,
}

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left.
    Drained,
    /// It was asked to.
    Asked(StopReason),
    /// A dependency was down for too long.
    GaveUp {
        /// The latest error.
        error: String,
    },
    /// It would have sent nearly everything to dead letters.
    Guarded {
        /// Dead letters among the latest records.
        dead_letters: usize,
        /// The latest records.
        of: usize,
        /// The kind of failure most of them had.
        mostly: String,
    },
    /// It met what neither a retry nor a dead letter could mend.
    Halted(Halt),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("nothing is left"),
            Self::Asked(reason) => write!(f, "{reason}"),
            Self::GaveUp { error } => write!(f, "a dependency was down for too long: {error}"),
            Self::Guarded { dead_letters, of, mostly } => {
                write!(f, "{dead_letters} of the latest {of} records would be dead letters, most of them {mostly}")
            }
            Self::Halted(halt) => f.write_str(&halt.reason),
        }
    }
}

/// What stopped a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The kind of error.
    pub kind: ErrorKind,
    /// Why.
    pub reason: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<&ports::Error> for Halt {
    fn from(error: &ports::Error) -> Self {
        Self { kind: error.kind(), reason: error.full(), hint: error.hint_text().map(str::to_owned) }
    }
}

/// How a worker ended, and what it had done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it did.
    pub summary: Summary,
    /// Why it ended.
    pub ended: Ended,
}

/// How a running worker stands, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Standing>);

#[derive(Debug, Default)]
struct Standing {
    joined: AtomicBool,
    breaker_open: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// Why the worker is not ready; `None` when it is.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.0.stopping) {
            Some("stopping")
        } else if !is(&self.0.joined) {
            Some("not joined yet")
        } else if is(&self.0.breaker_open) {
            Some("a dependency is down")
        } else {
            None
        }
    }
}

/// What every part of one worker shares.
struct Station<S> {
    step: Arc<S>,
    ports: WorkerPorts,
    options: WorkerOptions,
    group: GroupName,
    breaker: Breaker,
    retried: std::sync::atomic::AtomicU64,
}

/// Runs a step over its topic until it is drained, asked to stop, or cannot go on. A dependency that is down when it begins
/// is waited for as one that goes down later.
///
/// # Errors
/// When the group cannot be joined, or the input's schema is not registered.
pub async fn run<S: Step>(
    step: Arc<S>,
    ports: WorkerPorts,
    options: WorkerOptions,
    health: Health,
    stop: &Stop,
) -> ports::Result<Outcome> {
    let stage = step.stage();
    let group = stage
        .group(ports.codec.env())
        .map_err(|error| ports::Error::new(ErrorKind::Invalid, format!("name the group of {stage}")).because(error))?;
    ports.metrics.declare(stage);
    let subscription = Subscription {
        group: group.clone(),
        topics: vec![stage.input()],
        instance: options.instance.clone(),
        session_timeout: options.session_timeout,
    };
    let join = || async {
        ports.codec.prepare(&stage.input()).await?;
        ports.codec.prepare(&stage.output()).await?;
        ports.log.subscribe(subscription.clone()).await
    };
    let consumer = tokio::select! {
        // First, for a stop ends the waiting too, with the outage that was waited for.
        biased;
        reason = stop.wait() => return Ok(Outcome { summary: Summary::default(), ended: Ended::Asked(reason) }),
        joined = retry_until_deadline(options.tuning.now().give_up_after, Duration::MAX, stop, dependency_failure, join) => joined?,
    };
    let breaker = Breaker::new(options.retry);
    let station = Station { step, ports, options, group, breaker, retried: Default::default() };
    Ok(lifecycle::Loop::new(Arc::new(station), consumer, health).run(stop).await)
}
