//! Transactions of one transactional id: begin, produce, add offsets, commit; or nothing of it.
//!
//! Everything here blocks and may take long: never on async threads. A commit whose outcome is unknown is asked for
//! again until it is known; nothing else happens before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::Cluster;
use super::config::TRANSACTION_TIMEOUT_MS;
use super::context::Context;
use super::delivery::{Batch, hand_over};
use super::error::{self, Failure};
use super::ffi::{Membership, TransactionError, flush, send_offsets};
use super::transactor::{Outcome, Pulse};
use mfctl_core::domain::NewRecord;
use mfctl_core::failpoint;
use mfctl_core::ports::{Error, ErrorKind, Result};

type Producer = BaseProducer<Context>;

/// How long one call to the coordinator may take before events are served and it is made again.
const STEP: Duration = Duration::from_secs(2);
/// How long to push what was handed over before its acknowledgements are heard, and how long these are heard at most before
/// it is pushed again. A partition has one request in flight, and librdkafka's threads spin while they are to push what lies
/// behind it.
const FLUSH: Duration = Duration::from_millis(1);
const HEAR: Duration = Duration::from_millis(8);
/// How long all tries of one step may take together.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a settlement is tried again while its group rebalances.
const REBALANCES: u32 = 20;
const REBALANCE_WAIT: Duration = Duration::from_millis(100);
/// A transaction that was open for so long is taken to have been aborted by its coordinator, and not by a successor.
const NEARLY_TIMED_OUT: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS * 9 / 10);

/// Why a transaction was not committed. Nothing of it is left behind, unless the error is a timeout.
#[derive(Debug)]
pub(super) enum Undone {
    /// A later producer has this one's id: this one is of no use any more.
    Replaced,
    /// It took too long, and its coordinator aborted it.
    Expired,
    /// Anything else.
    Failed(Error),
}

/// On whose behalf offsets are committed.
pub(super) struct Commit {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    /// The member that was given the partitions. As another member they are not ours.
    pub(super) member_id: String,
    pub(super) offsets: TopicPartitionList,
}

/// What is known of the last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It ended.
    Ended,
    /// Its commit was asked for and not confirmed.
    Committing,
    /// The producer cannot go on; a new one of the same id can.
    Broken,
    /// A later producer has the id.
    Replaced,
}

/// The producer of one transactional id.
pub(super) struct Transactions {
    cluster: Arc<Cluster>,
    id: String,
    producer: Producer,
    state: State,
    opened: Instant,
    pulse: Arc<Pulse>,
}

impl Transactions {
    /// Makes the producer, which fences the one before and ends what that left open. The pulse beats whenever a call comes
    /// back.
    pub(super) fn open(cluster: Arc<Cluster>, id: String, pulse: Arc<Pulse>) -> Result<Self> {
        let producer = begin_anew(&cluster, &id, &pulse)?;
        Ok(Self { cluster, id, producer, state: State::Ended, opened: Instant::now(), pulse })
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Whether it is known what became of the last transaction.
    pub(super) fn is_resolved(&self) -> bool {
        self.state != State::Committing
    }

    /// Finds out what became of the last transaction, and makes the producer fit for the next.
    pub(super) fn resolve(&mut self) -> std::result::Result<(), Undone> {
        if self.state == State::Committing
            && let Err(undone) = self.commit()
            && self.state == State::Committing
        {
            return Err(undone);
        }
        match self.state {
            State::Replaced => Err(Undone::Replaced),
            State::Broken => {
                self.producer = begin_anew(&self.cluster, &self.id, &self.pulse).map_err(Undone::Failed)?;
                self.state = State::Ended;
                Ok(())
            }
            State::Ended | State::Committing => Ok(()),
        }
    }

    /// One transaction. Tried again while the group rebalances and this member keeps what it has.
    pub(super) fn run(&mut self, records: &[NewRecord], commit: Option<&Commit>) -> Outcome {
        self.resolve()?;
        let mut rebalances = 0;
        loop {
            let tried = self.try_once(records, commit);
            let Err(Trial::Rebalancing(failure)) = tried else { return tried.map_err(Trial::into_undone) };
            rebalances += 1;
            if rebalances > REBALANCES || self.pulse.is_abandoned() {
                return Err(Undone::Failed(self.cluster.error("settle while the group rebalances", failure)));
            }
            std::thread::sleep(REBALANCE_WAIT);
        }
    }

    fn try_once(
        &mut self,
        records: &[NewRecord],
        commit: Option<&Commit>,
    ) -> std::result::Result<Vec<(i32, i64)>, Trial> {
        let membership = commit.map(Commit::membership).transpose().map_err(Trial::Undone)?;
        // Before it begins: a producer that learns only now that it is fenced has no transaction that timed out.
        self.opened = Instant::now();
        if let Err(error) = self.producer.begin_transaction() {
            self.state = State::Broken;
            return Err(self.failed("begin a transaction", reason(error)));
        }
        failpoint::hit("before_produce");
        let stand = self.produce(records)?;
        if let (Some(commit), Some(membership)) = (commit, membership) {
            failpoint::hit("before_send_offsets");
            self.add_offsets(commit, &membership)?;
        }
        failpoint::hit("before_commit");
        self.commit()?;
        failpoint::hit("after_commit");
        Ok(stand)
    }

    /// Sends the records and waits for their acknowledgements; the transaction is aborted if one is refused.
    fn produce(&mut self, records: &[NewRecord]) -> std::result::Result<Vec<(i32, i64)>, Trial> {
        let batch = Batch::new(records.len());
        let mut stuck = None;
        for (index, record) in records.iter().enumerate() {
            let topic = self.cluster.names.wire(record.topic.as_str());
            let mut full_since = None;
            let handed = loop {
                let handed = hand_over(&self.producer, &topic, record, (&batch, index));
                if !matches!(&handed, Err(failure) if failure.code == Code::QueueFull) {
                    break handed;
                }
                if full_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    break handed;
                }
                self.push();
            };
            if let Err(failure) = handed {
                batch.give_up(index, failure.code);
                stuck = Some((index, failure));
                break;
            }
        }
        // Each ends within the producer's message timeout, one way or the other.
        let mut patience = FLUSH;
        while batch.left() > 0 || self.producer.in_flight_count() > 0 {
            self.push();
            let until = Instant::now() + patience;
            while batch.left() > 0 && Instant::now() < until {
                self.serve();
            }
            patience = (patience * 2).min(HEAR);
        }
        let outcome = match stuck {
            Some(stuck) => Err(stuck),
            None => batch.outcome(),
        };
        outcome.map_err(|(index, failure)| {
            let what = format!("send a record to {}", records[index].topic);
            let error = self.fatal().or_else(|| self.behind(failure.code)).unwrap_or_else(|| abortable(failure));
            let trial = self.give_up(&what, error);
            // A record that was refused leaves a gap in the sequence, which the broker would refuse the next one for.
            if self.state == State::Ended {
                self.state = State::Broken;
            }
            trial
        })
    }

    fn add_offsets(&mut self, commit: &Commit, membership: &Membership) -> std::result::Result<(), Trial> {
        let end = Instant::now() + PATIENCE;
        loop {
            match send_offsets(&self.producer, &commit.offsets, membership, STEP) {
                Ok(()) => return Ok(()),
                Err(error) if error.retriable && Instant::now() < end => self.serve(),
                Err(error) => return Err(self.give_up("commit offsets", error)),
            }
        }
    }

    /// Commits, and goes on asking until the outcome is known.
    fn commit(&mut self) -> std::result::Result<(), Undone> {
        self.state = State::Committing;
        let end = Instant::now() + PATIENCE;
        loop {
            let error = match self.producer.commit_transaction(STEP) {
                Ok(()) => {
                    self.state = State::Ended;
                    return Ok(());
                }
                Err(error) => reason(error),
            };
            if !error.retriable {
                return Err(self.give_up("commit a transaction", error).into_undone());
            }
            if Instant::now() >= end {
                // Still `Committing`: whoever comes next asks again.
                let failure = Failure::new(Code::OperationTimedOut, error.text);
                return Err(Undone::Failed(self.cluster.error("learn whether a transaction is committed", failure)));
            }
            self.serve();
        }
    }

    /// Aborts where that is possible, and tells what the failure comes to.
    fn give_up(&mut self, what: &str, error: TransactionError) -> Trial {
        let mut error = error;
        if !error.fatal {
            match self.abort() {
                Ok(()) => self.state = State::Ended,
                Err(aborting) if aborting.fatal => error = aborting,
                // The next producer of this id ends what this one could not.
                Err(_) => self.state = State::Broken,
            }
        }
        self.failed(what, error)
    }

    fn abort(&self) -> std::result::Result<(), TransactionError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.producer.abort_transaction(STEP).map_err(reason) {
                Err(error) if error.retriable && Instant::now() < end => self.serve(),
                aborted => return aborted,
            }
        }
    }

    /// What a failure comes to, after whatever could be aborted is.
    fn failed(&mut self, what: &str, error: TransactionError) -> Trial {
        if error.fatal {
            let taken = matches!(error.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
            if taken && self.opened.elapsed() < NEARLY_TIMED_OUT {
                self.state = State::Replaced;
                return Trial::Undone(Undone::Replaced);
            }
            self.state = State::Broken;
            if taken {
                return Trial::Undone(Undone::Expired);
            }
            tracing::warn!(target: "kafka", error = %error.text, "a producer broke and is made anew");
            let failure = Failure::new(Code::Retry, error.text);
            return Trial::Undone(Undone::Failed(self.cluster.error(what, failure)));
        }
        let failure = Failure::from(error);
        match failure.code {
            Code::RebalanceInProgress | Code::IllegalGeneration => Trial::Rebalancing(failure),
            _ => Trial::Undone(Undone::Failed(self.cluster.error(what, failure))),
        }
    }

    /// What ended the producer, if anything did.
    fn fatal(&self) -> Option<TransactionError> {
        let (code, text) = self.producer.client().fatal_error()?;
        Some(TransactionError { code, text, retriable: false, fatal: true })
    }

    /// What failed the transaction, when a record was only thrown away because of it: committing tells.
    fn behind(&self, code: Code) -> Option<TransactionError> {
        if !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            return None;
        }
        self.producer.commit_transaction(STEP).err().map(reason)
    }

    /// Hears what librdkafka has to tell, without waiting.
    pub(super) fn hear(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Has what was handed over sent now, and hears what has become of it.
    fn push(&self) {
        flush(self.producer.client(), FLUSH);
        self.serve();
    }

    fn serve(&self) {
        self.producer.poll(Duration::from_millis(1));
        self.pulse.beat();
    }
}

/// What one try came to.
enum Trial {
    /// The group rebalances; the same may be tried again.
    Rebalancing(Failure),
    Undone(Undone),
}

impl Trial {
    fn into_undone(self) -> Undone {
        match self {
            Self::Undone(undone) => undone,
            Self::Rebalancing(failure) => {
                Undone::Failed(Error::new(ErrorKind::Fenced, "settle: the group went on").because(failure))
            }
        }
    }
}

impl From<Undone> for Trial {
    fn from(undone: Undone) -> Self {
        Self::Undone(undone)
    }
}

impl Commit {
    /// This member's place in the group, if it is still the one that was given the partitions. Brokers ask for member
    /// and generation and take a commit without either.
    fn membership(&self) -> std::result::Result<Membership, Undone> {
        let gone = || Undone::Failed(Error::new(ErrorKind::Fenced, "settle: this member was put out of its group"));
        let membership = Membership::of(&self.consumer).ok_or_else(gone)?;
        match membership.member_id() {
            Some(id) if id == self.member_id => Ok(membership),
            _ => Err(gone()),
        }
    }
}

/// Makes a producer and waits until the transactions before it are ended.
fn begin_anew(cluster: &Cluster, id: &str, pulse: &Pulse) -> Result<Producer> {
    let made = cluster.config.transactional(id).create_with_context(cluster.context());
    let producer: Producer = made.map_err(|error| cluster.error("make a transactional producer", error))?;
    let end = Instant::now() + PATIENCE;
    loop {
        let error = match producer.init_transactions(STEP) {
            Ok(()) => return Ok(producer),
            Err(error) => reason(error),
        };
        producer.poll(Duration::from_millis(1));
        pulse.beat();
        let over = Instant::now() >= end || pulse.is_abandoned();
        if !error.retriable || cluster.trouble.refusal().is_some() || over {
            return Err(cluster.error(format!("begin to produce as {id}"), Failure::from(error)));
        }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        Self::new(error.code, error.text)
    }
}

fn abortable(failure: Failure) -> TransactionError {
    TransactionError { code: failure.code, text: failure.text, retriable: false, fatal: false }
}

fn reason(error: KafkaError) -> TransactionError {
    match error {
        KafkaError::Transaction(error) => TransactionError::from(&error),
        // Committing flushes first; what did not fit into the time is still on its way.
        error => {
            let failure = Failure::from(error);
            let retriable = error::kind(failure.code).is_dependency();
            TransactionError { retriable, ..abortable(failure) }
        }
    }
}
