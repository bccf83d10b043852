//! One member: serves librdkafka's events, polls, commits, rewinds and leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::Notify;

use super::assignment::Assignment;
use super::rewind::{RewindState, seek_to_commits};
use crate::blocking::run_blocking;
use crate::clients::KafkaClients;
use crate::context::RawConsumer;
use crate::enqueue::check_size;
use crate::error::{LibrdkafkaError, kind_of};
use crate::ffi::QueueWaker;
use crate::prefetch::PrefetchLimits;
use crate::topics::{TopicDirectory, metadata_deadline};
use crate::transaction::NotCommitted;
use crate::transaction_runner::{RunProgress, TransactionRunner};
use mfctl_core::domain::{GroupGeneration, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, Error, ErrorKind, FetchLimits, Poll, Result, Subscription};

/// How often a member that waits serves events, which keeps it in its group.
const SERVE_INTERVAL: Duration = Duration::from_millis(250);
/// The timeout of one request of a metadata check.
const METADATA_CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How many events are served at once at most.
const MAX_EVENTS: usize = 1000;
/// How long a release waits for the assignment that follows it.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(500);
const HANDOVER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct KafkaMember {
    // In the order of dropping: the queues of partitions and events before their consumer.
    assignment: Assignment,
    queue_waker: QueueWaker,
    consumer: Arc<RawConsumer>,
    /// Notified when a queue is no longer empty.
    waker: Arc<Notify>,
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
    subscription: Subscription,
    /// Whether an event suggests that the cluster is down or a topic was deleted.
    needs_metadata_check: bool,
    failed: Option<Error>,
    runner: TransactionRunner,
    /// The outcome of the last commit, until the caller asks for it.
    last_outcome: Option<Result<()>>,
    rewind: RewindState,
}

impl KafkaMember {
    /// Joins the group. An earlier member with the same instance name can no longer commit.
    pub(super) async fn join(
        clients: Arc<KafkaClients>,
        topics: Arc<TopicDirectory>,
        subscription: Subscription,
    ) -> Result<Self> {
        if subscription.topics.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("group {} names no topic", subscription.group)));
        }
        let partitions = topics.all_partitions(&subscription.topics).await?.len();
        run_blocking(move || Self::create(clients, topics, subscription, partitions)).await
    }

    fn create(
        clients: Arc<KafkaClients>,
        topics: Arc<TopicDirectory>,
        subscription: Subscription,
        partitions: usize,
    ) -> Result<Self> {
        let group = clients.names.wire(subscription.group.as_str());
        let instance = &subscription.instance;
        let runner = TransactionRunner::open(Arc::clone(&clients), format!("{group}.{instance}"))?;
        let what = || format!("join group {}", subscription.group);
        let prefetch = PrefetchLimits::new(subscription.prefetch_bytes, partitions);
        let config = clients.config.member(&group, instance, subscription.session_timeout, prefetch);
        let created = config.create_with_context(clients.context());
        let consumer: Arc<RawConsumer> = Arc::new(created.map_err(|error| clients.error(what(), error))?);
        let waker = Arc::new(Notify::new());
        let no_queue = || clients.error(what(), LibrdkafkaError::new(Code::Fail, "librdkafka has no queue"));
        let queue_waker = QueueWaker::install(&consumer, &waker).ok_or_else(no_queue)?;
        let names: Vec<String> = subscription.topics.iter().map(|topic| clients.names.wire(topic.as_str())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| clients.error(what(), error))?;
        let assignment = Assignment::new(
            Arc::clone(&consumer),
            Arc::clone(&waker),
            Arc::clone(&clients),
            subscription.group.clone(),
        );
        Ok(Self {
            assignment,
            queue_waker,
            consumer,
            waker,
            clients,
            topics,
            subscription,
            needs_metadata_check: false,
            failed: None,
            runner,
            last_outcome: None,
            rewind: RewindState::NotNeeded,
        })
    }

    /// Serves librdkafka's events, without waiting. Keeps this member in its group.
    fn serve(&mut self) {
        self.runner.serve();
        for _ in 0..MAX_EVENTS {
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                self.note_error(error);
            }
            while let Some(rebalance) = self.consumer.context().next_rebalance() {
                self.assignment.rebalance(rebalance);
            }
            if self.assignment.take_needs_rewind() {
                self.rewind.require();
            }
            if self.queue_waker.pending_events() == 0 {
                return;
            }
        }
    }

    /// Sorts out an error event: most are transient, or reported again by the call that they concern.
    fn note_error(&mut self, error: KafkaError) {
        let error = LibrdkafkaError::from(error);
        match error.code {
            // The partitions are then reported as lost.
            Code::PollExceeded => {
                tracing::warn!(group = %self.subscription.group, instance = %self.subscription.instance,
                    "evicted from its group for not polling in time; rejoining");
            }
            // May be the state of one broker only; the metadata check shows that of the cluster.
            Code::AllBrokersDown | Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
                self.needs_metadata_check = true;
            }
            code => match kind_of(code) {
                ErrorKind::Denied => self.fail(error),
                ErrorKind::NotFound => self.needs_metadata_check = true,
                _ => {
                    tracing::debug!(target: "kafka", %error, "consumer error");
                }
            },
        }
    }

    fn partition_failed(&mut self, at: &TopicPartition, code: Code) {
        match kind_of(code) {
            ErrorKind::NotFound => self.needs_metadata_check = true,
            ErrorKind::Denied => self.fail(LibrdkafkaError::of(code)),
            // librdkafka retries.
            _ => tracing::debug!(target: "kafka", %at, %code, "could not read a partition"),
        }
    }

    fn fail(&mut self, error: LibrdkafkaError) {
        self.failed = Some(self.clients.error(format!("read as group {}", self.subscription.group), error));
    }

    /// Reports an error of the consumer. If the cluster or a topic may be gone, asks the cluster first.
    async fn check_health(&mut self) -> Result<()> {
        if self.needs_metadata_check {
            self.topics.refresh(metadata_deadline(), METADATA_CHECK_TIMEOUT).await?;
            self.topics.check_exist(&self.subscription.topics).await?;
            self.needs_metadata_check = false;
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for records or a change of the assignment.
    pub(super) async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        let deadline = Instant::now() + wait;
        loop {
            self.serve();
            if let Some(event) = self.assignment.next_event() {
                return Ok(event);
            }
            self.check_health().await?;
            if self.rewind.is_needed() {
                self.rewind_to_commits().await?;
                continue;
            }
            let records = self.collect(limits);
            if !records.is_empty() {
                return Ok(Poll::Records(records));
            }
            if self.failed.is_some() {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Poll::Idle);
            }
            let _ = tokio::time::timeout(left.min(SERVE_INTERVAL), self.waker.notified()).await;
        }
    }

    fn collect(&mut self, limits: FetchLimits) -> Vec<Record> {
        let Some((records, failed)) = self.assignment.collect(limits) else { return Vec::new() };
        if let Some((at, code)) = failed {
            self.partition_failed(&at, code);
        }
        if !self.rewind.is_seeking() {
            self.assignment.restart_stalled_fetches();
        }
        records
    }

    pub(super) fn pause(&mut self, partitions: &[TopicPartition]) {
        self.assignment.pause(partitions);
    }

    pub(super) fn resume(&mut self, partitions: &[TopicPartition]) {
        self.assignment.resume(partitions);
    }

    pub(super) fn limit_each_partition(&mut self, limits: FetchLimits) {
        self.assignment.partition_limits = Some(limits);
    }

    /// The generation and the id of this member, as of the last change of its assignment.
    pub(super) fn generation(&self) -> Option<GroupGeneration> {
        self.assignment.generation()
    }

    /// Asks the coordinator whether this member is in its group, by offsets that are sent in a transaction and aborted:
    /// it checks member and generation, and no commit changes.
    pub(super) async fn confirm(&mut self) -> Result<()> {
        self.finish_running_commit().await;
        self.serve();
        let Some(topic) = self.subscription.topics.first() else { return Ok(()) };
        let offsets = self.assignment.offsets_to_try(&TopicPartition::new(topic.clone(), 0))?;
        self.runner.start(move |producer| producer.try_offsets(&offsets));
        self.finish_transaction().await.unwrap_or(Ok(()))
    }

    /// Waits for the running commit, and stays in the group meanwhile. Keeps its outcome.
    async fn finish_running_commit(&mut self) {
        if let Some(outcome) = self.finish_transaction().await {
            self.last_outcome = Some(outcome);
        }
    }

    /// Waits for the running transaction, and stays in the group meanwhile. `None` when none runs.
    async fn finish_transaction(&mut self) -> Option<Result<()>> {
        loop {
            match self.runner.wait(SERVE_INTERVAL).await {
                RunProgress::Idle => return None,
                RunProgress::Running => self.serve(),
                RunProgress::Done(outcome) => {
                    return Some(outcome.map(drop).map_err(|error| self.not_committed(error)));
                }
            }
        }
    }

    /// Waits for the end of the commit and returns its outcome.
    pub(super) async fn finish_commit(&mut self) -> Result<()> {
        self.finish_running_commit().await;
        self.last_outcome.take().unwrap_or(Ok(()))
    }

    /// Starts one transaction with outputs, dead letters and offsets.
    pub(super) async fn begin_commit(&mut self, request: CommitRequest) -> Result<()> {
        self.finish_running_commit().await;
        self.last_outcome = None;
        self.serve();
        let commit = self.assignment.commit_of(&request)?;
        if request.is_empty() {
            return Ok(());
        }
        let mut records = request.outputs;
        records.extend(request.dead_letters);
        records.iter().try_for_each(check_size)?;
        self.topics.check_destinations(&records).await?;
        self.runner.start(move |producer| producer.run(&records, commit.as_ref()));
        Ok(())
    }

    /// Finds out the outcome of the last commit, before which nothing may be read.
    async fn resolve_last_commit(&mut self) -> Result<()> {
        if self.runner.is_resolved() {
            return Ok(());
        }
        self.runner.start(|producer| producer.resolve().map(|()| Vec::new()));
        self.finish_commit().await
    }

    fn not_committed(&self, error: NotCommitted) -> Error {
        match error {
            NotCommitted::Failed(error) => error,
            NotCommitted::TimedOut => {
                Error::new(ErrorKind::Fenced, "commit: the transaction timed out and was aborted")
            }
            NotCommitted::Fenced => {
                let Subscription { group, instance, .. } = &self.subscription;
                Error::new(ErrorKind::Locked, format!("another worker of {group} took the name {instance}"))
                    .hint("give each worker a name of its own with `--instance`")
            }
        }
    }

    /// Gives up partitions that are being revoked. librdkafka tells the group only with the answer to the assignment that
    /// follows, which is waited for here rather than in the next poll.
    pub(super) async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.finish_running_commit().await;
        self.serve();
        if self.assignment.release(partitions) {
            let deadline = Instant::now() + HANDOVER_TIMEOUT;
            while !self.assignment.has_assignment_since_release() && Instant::now() < deadline {
                let _ = tokio::time::timeout(HANDOVER_CHECK_INTERVAL, self.waker.notified()).await;
                self.serve();
            }
        }
        Ok(())
    }

    /// Reads again from the committed offsets.
    pub(super) async fn rewind(&mut self) -> Result<()> {
        self.rewind.require();
        self.rewind_to_commits().await
    }

    /// Seeks every partition of which anything was fetched back to its commit.
    async fn rewind_to_commits(&mut self) -> Result<()> {
        loop {
            // The commits may have changed since a seek that was cancelled: its result does not count.
            let _ = self.finish_seeking().await;
            self.rewind.require();
            self.finish_running_commit().await;
            self.resolve_last_commit().await?;
            let partitions = self.assignment.discard_all();
            if partitions.is_empty() {
                break;
            }
            let consumer = Arc::clone(&self.consumer);
            let clients = Arc::clone(&self.clients);
            self.rewind.start(tokio::task::spawn_blocking(move || {
                seek_to_commits(&consumer, &partitions)
                    .map_err(|error| clients.error("seek to the committed offsets", error))
            }));
            if let Some(Err(error)) = self.finish_seeking().await {
                return Err(error);
            }
            if self.rewind.has_sought() {
                break;
            }
        }
        self.assignment.rewound();
        self.rewind.complete();
        Ok(())
    }

    /// Waits for a running seek, and stays in the group meanwhile. `None` when none runs.
    async fn finish_seeking(&mut self) -> Option<Result<()>> {
        loop {
            let RewindState::Seeking { task, .. } = &mut self.rewind else { return None };
            if let Ok(done) = tokio::time::timeout(SERVE_INTERVAL, task).await {
                let panicked = |error| Error::new(ErrorKind::Internal, "seek to the committed offsets").because(error);
                let done = done.unwrap_or_else(|error| Err(panicked(error)));
                self.rewind.seek_ended(done.is_ok());
                return Some(done);
            }
            self.serve();
        }
    }

    /// Waits for a running commit or seek.
    pub(super) async fn finish_running_work(&mut self) {
        self.finish_running_commit().await;
        let _ = self.finish_seeking().await;
    }

    /// Gives up all partitions and leaves the group. Blocks.
    pub(super) fn close(mut self) {
        self.consumer.context().close();
        // librdkafka cannot leave the group while it waits for an answer.
        self.assignment.close();
    }
}
