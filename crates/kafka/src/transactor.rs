//! Runs transactions off the async threads, and does without a producer that no longer answers.
//!
//! librdkafka's calls take a time limit, and not all keep it: `send_offsets_to_transaction` waits for a group coordinator
//! that has left the cluster for as long as ten minutes (confluentinc/librdkafka#5456 and #5511). A transaction that is
//! older than its timeout is void in any case, so a producer that stays in one call for longer is left to itself. A new one
//! of the same id fences it, and ends what it left open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::config::TRANSACTION_TIMEOUT_MS;
use super::transaction::{Transactions, Undone};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// How long one call may take. The transaction it belongs to is over by then.
const STUCK: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS + 5_000);

/// What became of the work: where the records stand, or why they do not.
pub(super) type Outcome = std::result::Result<Vec<(i32, i64)>, Undone>;

/// When a producer last came back from a call.
#[derive(Debug)]
pub(super) struct Pulse {
    beat: Mutex<Instant>,
    abandoned: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { beat: Mutex::new(Instant::now()), abandoned: AtomicBool::new(false) })
    }

    /// A call came back, or work begins.
    pub(super) fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether another producer has taken this one's place: then it is to do nothing any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    fn silent_for(&self) -> Duration {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Work that runs.
struct Running {
    task: JoinHandle<(Option<Transactions>, Outcome)>,
    pulse: Arc<Pulse>,
}

/// How far the work is.
pub(super) enum Waited {
    /// There is none.
    Idle,
    /// It goes on.
    Running,
    /// It has ended, just now.
    Done(Outcome),
}

/// The transactions of one id, one at a time.
pub(super) struct Transactor {
    cluster: Arc<Cluster>,
    id: String,
    /// None while work runs, and after its producer was left to itself.
    held: Option<Transactions>,
    running: Option<Running>,
}

impl Transactor {
    /// Makes the producer, which fences the one before and ends what that left open. Blocks.
    pub(super) fn open(cluster: Arc<Cluster>, id: String) -> Result<Self> {
        let held = Some(Transactions::open(Arc::clone(&cluster), id.clone(), Pulse::new())?);
        Ok(Self { cluster, id, held, running: None })
    }

    /// Whether it is known what became of the last transaction.
    pub(super) fn is_resolved(&self) -> bool {
        self.running.is_none() && self.held.as_ref().is_some_and(Transactions::is_resolved)
    }

    /// Hears what the producer has to tell while no work runs, so that it does not pile up.
    pub(super) fn serve(&self) {
        if let Some(held) = &self.held {
            held.hear();
        }
    }

    /// Begins work, which runs to its end whoever waits for it. Nothing may be running.
    pub(super) fn start(&mut self, work: impl FnOnce(&mut Transactions) -> Outcome + Send + 'static) {
        let pulse = self.held.as_ref().map_or_else(Pulse::new, Transactions::pulse);
        pulse.beat();
        let (held, cluster, id) = (self.held.take(), Arc::clone(&self.cluster), self.id.clone());
        let beat = Arc::clone(&pulse);
        let task = tokio::task::spawn_blocking(move || {
            let opened = held.map_or_else(|| Transactions::open(cluster, id, beat), Ok);
            match opened {
                Ok(mut transactions) => {
                    let outcome = work(&mut transactions);
                    (Some(transactions), outcome)
                }
                Err(error) => (None, Err(Undone::Failed(error))),
            }
        });
        self.running = Some(Running { task, pulse });
    }

    /// Waits for the end of what runs, for so long at most. May be cut off.
    pub(super) async fn wait(&mut self, at_most: Duration) -> Waited {
        let Some(Running { task, pulse }) = self.running.as_mut() else { return Waited::Idle };
        // Looked at first: a caller that has other things to do cuts its waiting off, and may never wait so long.
        if pulse.silent_for() >= STUCK && !task.is_finished() {
            tracing::warn!(target: "kafka", id = self.id, "a producer does not answer and is made anew");
            pulse.abandoned.store(true, Ordering::Release);
            self.running = None;
            return Waited::Done(Err(Undone::Expired));
        }
        let Ok(done) = tokio::time::timeout(at_most, task).await else { return Waited::Running };
        self.running = None;
        Waited::Done(match done {
            Ok((transactions, outcome)) => {
                self.held = transactions;
                outcome
            }
            Err(error) => Err(Undone::Failed(Error::new(ErrorKind::Internal, "run a transaction").because(error))),
        })
    }
}

impl Drop for Transactor {
    fn drop(&mut self) {
        // Closing waits for what is in flight.
        if let Some(transactions) = self.held.take() {
            super::consumer::off_to_close(move || drop(transactions));
        }
    }
}
