//! Runs transactions off the async threads, and replaces a producer that no longer answers.
//!
//! librdkafka's calls take a timeout, and not all keep it: `send_offsets_to_transaction` waits up to ten minutes for a group
//! coordinator that has left the cluster (confluentinc/librdkafka#5456 and #5511). A transaction older than its timeout is
//! aborted in any case, so a producer that hangs in one call for longer is abandoned. A new one with the same id fences it,
//! and aborts the transaction that it left open.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::blocking::close_in_background;
use super::clients::KafkaClients;
use super::config::TRANSACTION_TIMEOUT_MS;
use super::heartbeat::Heartbeat;
use super::transaction::{KafkaTransactionalProducer, NotCommitted, TransactionOutcome};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// How long one call may take. The transaction that it belongs to has timed out by then.
const CALL_TIMEOUT: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS + 5_000);

/// A transaction that runs on a blocking thread.
struct RunningTransaction {
    task: JoinHandle<(Option<KafkaTransactionalProducer>, TransactionOutcome)>,
    heartbeat: Arc<Heartbeat>,
}

/// Where the producer is.
///
/// - `Ready`: no transaction runs. Exit: `Running`, by [`TransactionRunner::start`].
/// - `Running`: a blocking thread has the producer. Exits: `Ready` when the transaction ends; `NoProducer` when the producer
///   could not be created or hangs in a call.
/// - `NoProducer`: Exit: `Running`, which creates a producer first.
enum RunnerState {
    Ready(Box<KafkaTransactionalProducer>),
    Running(RunningTransaction),
    NoProducer,
}

/// The answer to [`TransactionRunner::wait`].
pub(super) enum RunProgress {
    /// No transaction runs.
    Idle,
    /// It has not ended yet.
    Running,
    /// It has just ended.
    Done(TransactionOutcome),
}

/// The transactions of one transactional id, one at a time.
pub(super) struct TransactionRunner {
    clients: Arc<KafkaClients>,
    id: String,
    state: RunnerState,
}

impl TransactionRunner {
    /// Creates the producer, which fences its predecessor and aborts the transaction that it left open. Blocks.
    pub(super) fn open(clients: Arc<KafkaClients>, id: String) -> Result<Self> {
        let producer = KafkaTransactionalProducer::open(Arc::clone(&clients), id.clone(), Heartbeat::new())?;
        Ok(Self { clients, id, state: RunnerState::Ready(Box::new(producer)) })
    }

    /// Whether the outcome of the last transaction is known.
    pub(super) fn is_resolved(&self) -> bool {
        matches!(&self.state, RunnerState::Ready(producer) if producer.is_resolved())
    }

    /// Serves the producer's events while no transaction runs, so that they do not pile up.
    pub(super) fn serve(&self) {
        if let RunnerState::Ready(producer) = &self.state {
            producer.serve_events();
        }
    }

    /// Starts a transaction, which runs to its end even if the caller stops waiting. None may be running.
    pub(super) fn start(
        &mut self,
        transaction: impl FnOnce(&mut KafkaTransactionalProducer) -> TransactionOutcome + Send + 'static,
    ) {
        debug_assert!(!matches!(self.state, RunnerState::Running(_)), "one transaction at a time");
        let producer = self.take_producer();
        let heartbeat = producer.as_ref().map_or_else(Heartbeat::new, |producer| producer.heartbeat());
        heartbeat.beat();
        let clients = Arc::clone(&self.clients);
        let id = self.id.clone();
        let new_heartbeat = Arc::clone(&heartbeat);
        let task = tokio::task::spawn_blocking(move || {
            let opened =
                producer.map_or_else(|| KafkaTransactionalProducer::open(clients, id, new_heartbeat), |it| Ok(*it));
            match opened {
                Ok(mut producer) => {
                    let outcome = transaction(&mut producer);
                    (Some(producer), outcome)
                }
                Err(error) => (None, Err(NotCommitted::Failed(error))),
            }
        });
        self.state = RunnerState::Running(RunningTransaction { task, heartbeat });
    }

    fn take_producer(&mut self) -> Option<Box<KafkaTransactionalProducer>> {
        match std::mem::replace(&mut self.state, RunnerState::NoProducer) {
            RunnerState::Ready(producer) => Some(producer),
            RunnerState::Running(_) | RunnerState::NoProducer => None,
        }
    }

    /// Waits for the end of the running transaction, for this long at most. May be cancelled.
    pub(super) async fn wait(&mut self, at_most: Duration) -> RunProgress {
        let RunnerState::Running(RunningTransaction { task, heartbeat }) = &mut self.state else {
            return RunProgress::Idle;
        };
        // Checked first: a caller with other work cancels its wait, and may never wait this long.
        if heartbeat.silent_for() >= CALL_TIMEOUT && !task.is_finished() {
            tracing::warn!(target: "kafka", id = self.id, "producer does not return from a call; replacing it");
            heartbeat.abandon();
            self.state = RunnerState::NoProducer;
            return RunProgress::Done(Err(NotCommitted::TimedOut));
        }
        let Ok(done) = tokio::time::timeout(at_most, task).await else { return RunProgress::Running };
        let (producer, outcome) = done.unwrap_or_else(|error| {
            let error = Error::new(ErrorKind::Internal, "run a transaction").because(error);
            (None, Err(NotCommitted::Failed(error)))
        });
        self.state = producer.map_or(RunnerState::NoProducer, |producer| RunnerState::Ready(Box::new(producer)));
        RunProgress::Done(outcome)
    }
}

impl Drop for TransactionRunner {
    fn drop(&mut self) {
        // Closing waits for records in flight.
        if let Some(producer) = self.take_producer() {
            close_in_background(move || drop(producer));
        }
    }
}
