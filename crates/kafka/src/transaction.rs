//! Transactions of one transactional id: begin, produce, add offsets, commit; or abort.
//!
//! Everything here blocks and may take long: never on async threads. A commit whose outcome is unknown is repeated until it
//! is known; nothing else happens before.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::KafkaClients;
use super::config::TRANSACTION_TIMEOUT_MS;
use super::context::RawProducer;
use super::delivery::{DeliveredAt, DeliveryBatch};
use super::enqueue::enqueue;
use super::error::{self, LibrdkafkaError};
use super::ffi::{GroupMetadata, TransactionCallError, flush, send_offsets};
use super::heartbeat::Heartbeat;
use super::offset_commit::OffsetCommit;
use super::producer_state::ProducerState;
use mfctl_core::domain::NewRecord;
use mfctl_core::failpoint;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::wait::{Attempts, Backoff, wait_until_blocking};

/// The timeout of one call to the coordinator, after which events are served and the call is repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all attempts of one step may take together.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two calls that wait inside librdkafka themselves.
const NO_BACKOFF: Backoff = Backoff::constant(Duration::ZERO);
/// How long to flush enqueued records before delivery reports are served, and how long these are served at most before the
/// next flush. A partition has one request in flight, and librdkafka's threads spin while they flush the batches that queue
/// up for it.
const FLUSH_TIME: Duration = Duration::from_millis(1);
const MAX_SERVE_TIME: Duration = Duration::from_millis(8);
/// How long a transaction is tried again while its group rebalances.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(5);
const REBALANCE_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(100));
/// A producer fenced in a transaction that was open for this long is taken to be fenced by the coordinator, which aborts
/// transactions that time out, and not by a successor.
const NEARLY_TIMED_OUT: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS * 9 / 10);

/// Where the records of a committed transaction are, or why it was not committed.
pub(super) type TransactionOutcome = std::result::Result<Vec<DeliveredAt>, NotCommitted>;

/// Why a transaction was not committed. No reader sees any of it, unless the error is a timeout.
#[derive(Debug)]
pub(super) enum NotCommitted {
    /// A later producer has the same transactional id: this one is permanently unusable.
    Fenced,
    /// The transaction timed out, and its coordinator aborted it.
    TimedOut,
    /// Anything else.
    Failed(Error),
}

/// How a transaction ends when nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransactionEnd {
    Commit,
    Abort,
}

/// The producer of one transactional id.
pub(super) struct KafkaTransactionalProducer {
    clients: Arc<KafkaClients>,
    id: String,
    producer: RawProducer,
    state: ProducerState,
    /// When the last transaction began.
    began: Instant,
    heartbeat: Arc<Heartbeat>,
}

impl KafkaTransactionalProducer {
    /// Creates the producer, which fences its predecessor and aborts the transaction that it left open. The heartbeat beats
    /// whenever a call returns.
    pub(super) fn open(clients: Arc<KafkaClients>, id: String, heartbeat: Arc<Heartbeat>) -> Result<Self> {
        let producer = open_producer(&clients, &id, &heartbeat)?;
        Ok(Self { clients, id, producer, state: ProducerState::Ready, began: Instant::now(), heartbeat })
    }

    pub(super) fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// Whether the outcome of the last transaction is known.
    pub(super) fn is_resolved(&self) -> bool {
        self.state != ProducerState::CommitUnknown
    }

    fn transition(&mut self, next: ProducerState) {
        debug_assert!(self.state.may_become(next), "{:?} to {next:?}", self.state);
        self.state = next;
    }

    /// Finds out the outcome of the last transaction, and replaces a broken producer.
    pub(super) fn resolve(&mut self) -> std::result::Result<(), NotCommitted> {
        if self.state == ProducerState::CommitUnknown
            && let Err(error) = self.commit()
            && self.state == ProducerState::CommitUnknown
        {
            return Err(error);
        }
        match self.state {
            ProducerState::Fenced => Err(NotCommitted::Fenced),
            ProducerState::Broken => {
                self.producer =
                    open_producer(&self.clients, &self.id, &self.heartbeat).map_err(NotCommitted::Failed)?;
                self.transition(ProducerState::Ready);
                Ok(())
            }
            ProducerState::Ready | ProducerState::CommitUnknown => Ok(()),
        }
    }

    /// Runs one transaction. Retried while the group rebalances and this member keeps its partitions: its offsets are
    /// then sent again under the group's present generation.
    pub(super) fn run(&mut self, records: &[NewRecord], commit: Option<&OffsetCommit>) -> TransactionOutcome {
        self.run_until(TransactionEnd::Commit, records, commit)
    }

    /// Asks the group's coordinator whether it takes these offsets from this member, and aborts: they are never
    /// committed.
    pub(super) fn try_offsets(&mut self, commit: &OffsetCommit) -> TransactionOutcome {
        self.run_until(TransactionEnd::Abort, &[], Some(commit))
    }

    fn run_until(
        &mut self,
        end: TransactionEnd,
        records: &[NewRecord],
        commit: Option<&OffsetCommit>,
    ) -> TransactionOutcome {
        self.resolve()?;
        // The time for retries begins with the first one: an attempt may itself take as long as a transaction may.
        let mut retries: Option<Attempts> = None;
        loop {
            let error = match self.try_once(end, records, commit) {
                Err(AttemptError::Rebalancing(error)) => error,
                outcome => return outcome.map_err(AttemptError::into_not_committed),
            };
            let begin = || Attempts::new(Instant::now() + REBALANCE_TIMEOUT, REBALANCE_BACKOFF);
            if self.heartbeat.is_abandoned() || !retries.get_or_insert_with(begin).pause_blocking() {
                let what = "commit while the group rebalances";
                return Err(NotCommitted::Failed(self.clients.error(what, error)));
            }
        }
    }

    fn try_once(
        &mut self,
        end: TransactionEnd,
        records: &[NewRecord],
        commit: Option<&OffsetCommit>,
    ) -> std::result::Result<Vec<DeliveredAt>, AttemptError> {
        let metadata = commit.map(OffsetCommit::group_metadata).transpose().map_err(NotCommitted::Failed)?;
        // Set before it begins: a producer that learns only now that it is fenced has no transaction that timed out.
        self.began = Instant::now();
        if let Err(error) = self.producer.begin_transaction() {
            self.transition(ProducerState::Broken);
            return Err(self.failed("begin a transaction", call_error(error)));
        }
        failpoint::hit("before_produce");
        let delivered = self.produce(records)?;
        if let (Some(commit), Some(metadata)) = (commit, metadata) {
            failpoint::hit("before_send_offsets");
            self.add_offsets(commit, &metadata)?;
        }
        if end == TransactionEnd::Abort {
            self.abort().map_err(|error| self.failed("abort a transaction", error))?;
            return Ok(delivered);
        }
        failpoint::hit("before_commit");
        self.commit()?;
        failpoint::hit("after_commit");
        Ok(delivered)
    }

    /// Sends the records and waits for their delivery reports. Aborts the transaction if one is not delivered.
    fn produce(&mut self, records: &[NewRecord]) -> std::result::Result<Vec<DeliveredAt>, AttemptError> {
        let batch = DeliveryBatch::new(records.len());
        let not_enqueued = self.enqueue_all(records, &batch).err();
        if let Some((index, error)) = &not_enqueued {
            batch.fail_from(*index, error.code);
        }
        self.flush_all(&batch);
        let outcome = match not_enqueued {
            Some(not_enqueued) => Err(not_enqueued),
            None => batch.outcome(),
        };
        outcome.map_err(|(index, error)| {
            let what = format!("send a record to {}", records[index].topic);
            let error =
                self.fatal_error().or_else(|| self.cause_of_purge(error.code)).unwrap_or_else(|| abortable(error));
            let error = self.abort_after(&what, error);
            // A record that was rejected leaves a gap in the sequence numbers, for which the broker would reject the next.
            if self.state == ProducerState::Ready {
                self.transition(ProducerState::Broken);
            }
            error
        })
    }

    /// Enqueues the records.
    ///
    /// # Errors
    /// The index and the error of the first record that was not enqueued.
    fn enqueue_all(
        &self,
        records: &[NewRecord],
        batch: &Arc<DeliveryBatch>,
    ) -> std::result::Result<(), (usize, LibrdkafkaError)> {
        for (index, record) in records.iter().enumerate() {
            let topic = self.clients.names.wire(record.topic.as_str());
            let enqueued = wait_until_blocking(Instant::now() + STEP_TIMEOUT, NO_BACKOFF, || {
                match enqueue(&self.producer, &topic, record, batch.ticket(index)) {
                    Err(error) if error.code == Code::QueueFull => {
                        self.flush();
                        ControlFlow::Continue(error)
                    }
                    answer => ControlFlow::Break(answer),
                }
            });
            enqueued.unwrap_or_else(Err).map_err(|error| (index, error))?;
        }
        Ok(())
    }

    /// Waits for the delivery report of every record, which comes within the producer's message timeout.
    fn flush_all(&self, batch: &DeliveryBatch) {
        let mut serve_time = FLUSH_TIME;
        while batch.pending() > 0 || self.producer.in_flight_count() > 0 {
            self.flush();
            let until = Instant::now() + serve_time;
            while batch.pending() > 0 && Instant::now() < until {
                self.serve();
            }
            serve_time = (serve_time * 2).min(MAX_SERVE_TIME);
        }
    }

    fn add_offsets(
        &mut self,
        commit: &OffsetCommit,
        metadata: &GroupMetadata,
    ) -> std::result::Result<(), AttemptError> {
        let send = || match commit.is_owned() {
            true => send_offsets(&self.producer, &commit.offsets, metadata, CALL_TIMEOUT),
            false => Err(abortable(LibrdkafkaError::of(Code::AssignmentLost))),
        };
        self.repeat(send).map_err(|error| self.abort_after("commit offsets", error))
    }

    /// Commits, and repeats the commit until its outcome is known or the step times out.
    fn commit(&mut self) -> std::result::Result<(), NotCommitted> {
        self.transition(ProducerState::CommitUnknown);
        match self.repeat(|| self.producer.commit_transaction(CALL_TIMEOUT).map_err(call_error)) {
            Ok(()) => {
                self.transition(ProducerState::Ready);
                Ok(())
            }
            // Still `CommitUnknown`: the next call repeats the commit.
            Err(error) if error.retriable => {
                let error = LibrdkafkaError::new(Code::OperationTimedOut, error.text);
                Err(NotCommitted::Failed(self.clients.error("learn whether a transaction is committed", error)))
            }
            Err(error) => Err(self.abort_after("commit a transaction", error).into_not_committed()),
        }
    }

    /// Aborts the transaction where possible, and returns what its failure means.
    fn abort_after(&mut self, what: &str, error: TransactionCallError) -> AttemptError {
        let mut error = error;
        if !error.fatal
            && let Err(abort_error) = self.abort()
            && abort_error.fatal
        {
            error = abort_error;
        }
        self.failed(what, error)
    }

    /// Aborts the transaction. If that fails, the next producer with this id does it.
    fn abort(&mut self) -> std::result::Result<(), TransactionCallError> {
        let aborted = self.repeat(|| self.producer.abort_transaction(CALL_TIMEOUT).map_err(call_error));
        match &aborted {
            Ok(()) => self.transition(ProducerState::Ready),
            Err(error) if error.fatal => {}
            Err(_) => self.transition(ProducerState::Broken),
        }
        aborted
    }

    /// What a failure means, after the transaction was aborted if possible.
    fn failed(&mut self, what: &str, error: TransactionCallError) -> AttemptError {
        if error.fatal {
            return AttemptError::NotCommitted(self.fatally_failed(what, error));
        }
        let error = LibrdkafkaError::from(error);
        match error.code {
            Code::RebalanceInProgress | Code::IllegalGeneration => AttemptError::Rebalancing(error),
            _ => AttemptError::NotCommitted(NotCommitted::Failed(self.clients.error(what, error))),
        }
    }

    fn fatally_failed(&mut self, what: &str, error: TransactionCallError) -> NotCommitted {
        let is_fenced = matches!(error.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        if is_fenced && self.began.elapsed() < NEARLY_TIMED_OUT {
            self.transition(ProducerState::Fenced);
            return NotCommitted::Fenced;
        }
        self.transition(ProducerState::Broken);
        if is_fenced {
            return NotCommitted::TimedOut;
        }
        tracing::warn!(target: "kafka", error = %error.text, "producer failed; replacing it");
        let error = LibrdkafkaError::new(Code::Retry, error.text);
        NotCommitted::Failed(self.clients.error(what, error))
    }

    /// The error that made the producer unusable, if there is one.
    fn fatal_error(&self) -> Option<TransactionCallError> {
        let (code, text) = self.producer.client().fatal_error()?;
        Some(TransactionCallError { code, text, retriable: false, fatal: true })
    }

    /// The error that failed the transaction, for a record that was only purged because of it. A commit fails with it.
    fn cause_of_purge(&self, code: Code) -> Option<TransactionCallError> {
        if !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            return None;
        }
        self.producer.commit_transaction(CALL_TIMEOUT).err().map(call_error)
    }

    /// Repeats a call of the transaction API while it may be repeated, for 30 s at most.
    fn repeat(
        &self,
        call: impl Fn() -> std::result::Result<(), TransactionCallError>,
    ) -> std::result::Result<(), TransactionCallError> {
        wait_until_blocking(Instant::now() + STEP_TIMEOUT, NO_BACKOFF, || match call() {
            Err(error) if error.retriable => {
                self.serve();
                ControlFlow::Continue(error)
            }
            answer => ControlFlow::Break(answer),
        })
        .unwrap_or_else(Err)
    }

    /// Serves librdkafka's events, without waiting.
    pub(super) fn serve_events(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Sends enqueued records now, and serves their delivery reports.
    fn flush(&self) {
        flush(self.producer.client(), FLUSH_TIME);
        self.serve();
    }

    fn serve(&self) {
        self.producer.poll(Duration::from_millis(1));
        self.heartbeat.beat();
    }
}

/// Why one attempt of a transaction failed.
enum AttemptError {
    /// The group rebalances; the attempt may be repeated.
    Rebalancing(LibrdkafkaError),
    NotCommitted(NotCommitted),
}

impl AttemptError {
    fn into_not_committed(self) -> NotCommitted {
        match self {
            Self::NotCommitted(error) => error,
            Self::Rebalancing(error) => {
                let message = "commit: the group has moved to another generation";
                NotCommitted::Failed(Error::new(ErrorKind::Fenced, message).because(error))
            }
        }
    }
}

impl From<NotCommitted> for AttemptError {
    fn from(error: NotCommitted) -> Self {
        Self::NotCommitted(error)
    }
}

/// Creates a producer and waits until its predecessor's transaction has ended.
fn open_producer(clients: &KafkaClients, id: &str, heartbeat: &Heartbeat) -> Result<RawProducer> {
    let created = clients.config.transactional(id).create_with_context(clients.context());
    let producer: RawProducer = created.map_err(|error| clients.error("create a transactional producer", error))?;
    let opened = wait_until_blocking(Instant::now() + STEP_TIMEOUT, NO_BACKOFF, || {
        let error = match producer.init_transactions(CALL_TIMEOUT) {
            Ok(()) => return ControlFlow::Break(Ok(())),
            Err(error) => call_error(error),
        };
        producer.poll(Duration::from_millis(1));
        heartbeat.beat();
        match !error.retriable || clients.status.auth_error().is_some() || heartbeat.is_abandoned() {
            true => ControlFlow::Break(Err(error)),
            false => ControlFlow::Continue(error),
        }
    });
    match opened.unwrap_or_else(Err) {
        Ok(()) => Ok(producer),
        Err(error) => Err(clients.error(format!("begin to produce as {id}"), LibrdkafkaError::from(error))),
    }
}

impl From<TransactionCallError> for LibrdkafkaError {
    fn from(error: TransactionCallError) -> Self {
        Self::new(error.code, error.text)
    }
}

fn abortable(error: LibrdkafkaError) -> TransactionCallError {
    TransactionCallError { code: error.code, text: error.text, retriable: false, fatal: false }
}

fn call_error(error: KafkaError) -> TransactionCallError {
    match error {
        KafkaError::Transaction(error) => TransactionCallError::from(&error),
        // A commit flushes first, and times out while records are still in flight.
        error => {
            let error = LibrdkafkaError::from(error);
            let retriable = error::kind_of(error.code).is_dependency();
            TransactionCallError { retriable, ..abortable(error) }
        }
    }
}
