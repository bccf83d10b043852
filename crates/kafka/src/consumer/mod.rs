//! A member of a consumer group.
//!
//! librdkafka's consumer is polled from [`GroupConsumer::poll`] itself, without waiting: what comes out is kept in this
//! struct before anything is awaited, so that a poll may be cut off anywhere. Each partition has a queue of its own, so
//! that pausing throws nothing away and a rebalance never waits behind records. A rebalance is answered when the work in
//! flight is settled, not in its callback: `rebalance`. What blocks (transactions, seeking, leaving) runs off the async
//! threads, and goes on when it is cut off: `settling`, `rewinding`; whatever comes next waits for it first.

mod rebalance;
mod records;
mod settling;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::cluster::{Cluster, off_thread};
use super::context::Context;
use super::error::Failure;
use super::ffi::{EventBell, PartitionQueue};
use super::transactor::Transactor;
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, GroupConsumer, Poll, Result, Settlement, Subscription};

type Consumer = BaseConsumer<Context>;

/// How often a member that waits for something looks after its membership.
const ROUND: Duration = Duration::from_millis(250);
/// How long the cluster may take to answer when it is in doubt.
const DOUBT: Duration = Duration::from_secs(3);
/// A partition that librdkafka does not fetch for so long is not going to be fetched.
const NOT_BEGUN: Duration = Duration::from_secs(8);
/// Events served at once at most.
const EVENTS: usize = 1000;

/// A partition this member has.
struct Owned {
    queue: PartitionQueue,
    /// Records taken from the queue and not given out.
    kept: VecDeque<Record>,
    /// The offset behind the last record given out.
    delivered: Option<i64>,
    /// Whether anything was taken since the partition was assigned or rewound.
    taken: bool,
    /// Asked for by another; no more records of it come.
    revoking: bool,
}

/// See the module.
pub(super) struct Member {
    // In the order of dropping: queues before their consumer.
    owned: BTreeMap<TopicPartition, Owned>,
    /// Partitions that it may be given again, and may not touch until then.
    limbo: BTreeMap<TopicPartition, Owned>,
    event_bell: EventBell,
    consumer: Arc<Consumer>,
    bell: Arc<Notify>,
    cluster: Arc<Cluster>,
    subscription: Subscription,
    /// The id under which the partitions were given.
    member_id: Option<String>,
    paused: HashSet<TopicPartition>,
    /// Partitions that librdkafka wants back, all at once, and those of them that are not released yet.
    asked: BTreeSet<TopicPartition>,
    unreleased: BTreeSet<TopicPartition>,
    /// Whether partitions were given since the last release.
    answered_since_release: bool,
    news: VecDeque<Poll>,
    /// Whether it was told what it has, be it nothing.
    told: bool,
    turn: usize,
    /// All brokers were down lately: to be looked at.
    doubt: bool,
    failed: Option<Error>,
    transactor: Transactor,
    /// What became of the last settlement, until somebody asks.
    outcome: Option<Result<()>>,
    rewinding: Option<JoinHandle<Result<()>>>,
    rewind_due: bool,
}

impl Member {
    /// Joins the group. A member before it of the same name can settle no more.
    pub(super) async fn join(cluster: Arc<Cluster>, subscription: Subscription) -> Result<Self> {
        if subscription.topics.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("group {} names no topic", subscription.group)));
        }
        for topic in &subscription.topics {
            cluster.partitions(topic).await?;
        }
        off_thread(move || Self::make(cluster, subscription)).await
    }

    fn make(cluster: Arc<Cluster>, subscription: Subscription) -> Result<Self> {
        let (group, instance) = (cluster.names.wire(subscription.group.as_str()), &subscription.instance);
        let transactor = Transactor::open(Arc::clone(&cluster), format!("{group}.{instance}"))?;
        let what = || format!("join group {}", subscription.group);
        let config = cluster.config.member(&group, instance, subscription.session_timeout);
        let made = config.create_with_context(cluster.context());
        let consumer: Arc<Consumer> = Arc::new(made.map_err(|error| cluster.error(what(), error))?);
        let bell = Arc::new(Notify::new());
        let refused = || cluster.error(what(), Failure::new(Code::Fail, "librdkafka has no queue"));
        let event_bell = EventBell::hang(&consumer, &bell).ok_or_else(refused)?;
        let topics: Vec<String> = subscription.topics.iter().map(|topic| cluster.names.wire(topic.as_str())).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| cluster.error(what(), error))?;
        Ok(Self {
            owned: BTreeMap::new(),
            limbo: BTreeMap::new(),
            event_bell,
            consumer,
            bell,
            cluster,
            subscription,
            member_id: None,
            paused: HashSet::new(),
            asked: BTreeSet::new(),
            unreleased: BTreeSet::new(),
            answered_since_release: false,
            news: VecDeque::new(),
            told: false,
            turn: 0,
            doubt: false,
            failed: None,
            transactor,
            outcome: None,
            rewinding: None,
            rewind_due: false,
        })
    }

    /// Serves what librdkafka has to tell, without waiting. Keeps this member in its group.
    fn serve(&mut self) {
        self.transactor.serve();
        for _ in 0..EVENTS {
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                self.hear(error);
            }
            while let Some(rebalance) = self.consumer.context().next_rebalance() {
                self.rebalance(rebalance);
            }
            if self.event_bell.waiting() == 0 {
                return;
            }
        }
    }

    /// Sorts out an error event: most are told again by the call they concern, or pass.
    fn hear(&mut self, error: KafkaError) {
        let failure = Failure::from(error);
        match failure.code {
            // Told as lost partitions.
            Code::PollExceeded => {
                tracing::warn!(group = %self.subscription.group, instance = %self.subscription.instance,
                    "was put out of its group for not polling in time, and joins again");
            }
            // May be one broker's; the next question to the cluster tells.
            Code::AllBrokersDown | Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
                self.doubt = true
            }
            code => match super::error::kind(code) {
                ErrorKind::Denied => self.fail(failure),
                ErrorKind::NotFound => self.doubt = true,
                _ => {
                    tracing::debug!(target: "kafka", error = %failure, "an event of the consumer");
                }
            },
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed = Some(self.cluster.error(format!("read as group {}", self.subscription.group), failure));
    }

    /// Makes sure that the cluster and the topics are there, if there was a doubt.
    async fn settle_doubt(&mut self) -> Result<()> {
        if self.doubt {
            self.cluster.look_at_topics(DOUBT).await?;
            for topic in &self.subscription.topics {
                self.cluster.partitions(topic).await?;
            }
            self.doubt = false;
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Member {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        let end = Instant::now() + wait;
        loop {
            self.serve();
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            self.settle_doubt().await?;
            if self.rewind_due {
                self.rewind_now().await?;
                continue;
            }
            let records = self.collect(limits);
            if !records.is_empty() {
                return Ok(Poll::Records(records));
            }
            if self.failed.is_some() {
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Poll::Idle);
            }
            let _ = tokio::time::timeout(left.min(ROUND), self.bell.notified()).await;
        }
    }

    /// Gives everything back and leaves the group. Blocks.
    fn close(mut self) {
        self.consumer.context().close();
        // What was asked for and not answered holds up leaving.
        self.answer_what_waits();
    }
}

/// A member as the port has it. Dropping it is leaving the group, without waiting for it.
pub(super) struct Handle(Option<Box<Member>>);

impl Handle {
    /// Joins a group.
    pub(super) async fn join(cluster: Arc<Cluster>, subscription: Subscription) -> Result<Self> {
        Ok(Self(Some(Box::new(Member::join(cluster, subscription).await?))))
    }

    fn member(&mut self) -> Result<&mut Member> {
        self.0.as_deref_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "this member has left its group"))
    }
}

#[async_trait]
impl GroupConsumer for Handle {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        self.member()?.poll(limits, wait).await
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        if let Ok(member) = self.member() {
            let owned = partitions.iter().filter(|at| member.owned.contains_key(at)).cloned();
            member.paused.extend(owned);
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        if let Ok(member) = self.member() {
            member.paused.retain(|at| !partitions.contains(at));
        }
    }

    async fn begin_settling(&mut self, settlement: Settlement) -> Result<()> {
        self.member()?.begin_settling(settlement).await
    }

    async fn settled(&mut self) -> Result<()> {
        self.member()?.settled().await
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let member = self.member()?;
        member.finish_settling().await;
        member.serve();
        member.release(partitions).await
    }

    async fn rewind(&mut self) -> Result<()> {
        let member = self.member()?;
        member.rewind_due = true;
        member.rewind_now().await
    }

    async fn leave(mut self: Box<Self>) -> Result<()> {
        let member = self.member()?;
        member.finish_settling().await;
        member.finish_rewinding().await;
        let Some(member) = self.0.take() else { return Ok(()) };
        off_thread(move || {
            member.close();
            Ok(())
        })
        .await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(member) = self.0.take() {
            off_to_close(move || member.close());
        }
    }
}

/// Does what may take long on a thread of its own: closing connections, leaving a group.
pub(super) fn off_to_close(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(work) {
        tracing::warn!(target: "kafka", %error, "no thread to close a client on");
    }
}
