//! A log that fails as a test tells it: the calls of its consumers, one after another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfctl_core::domain::{GroupName, NewRecord, RecordAddress, Timestamp, TopicName, TopicPartition};
use mfctl_core::ports::{
    CommitRequest, Error, ErrorKind, EventLog, FetchLimits, FetchedRecords, GroupConsumer, GroupDescription,
    PartitionOffsets, PartitionProgress, Poll, Result, RetentionReport, Subscription, TopicDescription, TopicSpec,
    TransactionalProducer,
};

/// What happens to a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settling {
    Works,
    /// Nothing is applied, and the caller is told so.
    Fails(ErrorKind),
    /// It is applied, but the reply is lost.
    AppliedReplyLost,
}

/// The log, and what is to happen to the next settlements; after those, all work.
pub struct Faulty {
    inner: Arc<dyn EventLog>,
    settling: Arc<Mutex<VecDeque<Settling>>>,
    /// A settlement of more outputs takes too long.
    most: usize,
}

impl Faulty {
    pub fn new(inner: &Arc<dyn EventLog>, settling: impl IntoIterator<Item = Settling>) -> Arc<Self> {
        let settling = Arc::new(Mutex::new(settling.into_iter().collect()));
        Arc::new(Self { inner: Arc::clone(inner), settling, most: usize::MAX })
    }

    /// A log behind a network that is too slow for larger settlements.
    pub fn slow(inner: &Arc<dyn EventLog>, most: usize) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), settling: Arc::default(), most })
    }

    /// Whether everything that was to happen has happened.
    pub fn is_through(&self) -> bool {
        self.settling.lock().unwrap().is_empty()
    }
}

struct Consumer {
    inner: Box<dyn GroupConsumer>,
    settling: Arc<Mutex<VecDeque<Settling>>>,
    /// What happens to the settlement that was begun last.
    next: Settling,
    most: usize,
}

#[async_trait]
impl GroupConsumer for Consumer {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        self.inner.poll(limits, wait).await
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    async fn begin_commit(&mut self, settlement: CommitRequest) -> Result<()> {
        self.next = match self.settling.lock().unwrap().pop_front() {
            _ if settlement.outputs.len() > self.most => Settling::Fails(ErrorKind::Timeout),
            next => next.unwrap_or(Settling::Works),
        };
        match self.next {
            Settling::Works | Settling::AppliedReplyLost => self.inner.begin_commit(settlement).await,
            Settling::Fails(_) => Ok(()),
        }
    }

    async fn finish_commit(&mut self) -> Result<()> {
        match self.next {
            Settling::Works => self.inner.finish_commit().await,
            Settling::Fails(kind) => Err(Error::new(kind, "settle, as scripted")),
            Settling::AppliedReplyLost => {
                self.inner.finish_commit().await?;
                Err(Error::new(ErrorKind::Timeout, "settle: the reply is lost, as scripted"))
            }
        }
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.inner.release(partitions).await
    }

    async fn rewind(&mut self) -> Result<()> {
        self.inner.rewind().await
    }

    async fn leave(self: Box<Self>) -> Result<()> {
        self.inner.leave().await
    }
}

#[async_trait]
impl EventLog for Faulty {
    async fn identity(&self) -> Result<String> {
        self.inner.identity().await
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.inner.create_topics(specs).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.inner.topics().await
    }

    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        self.inner.offsets(topics).await
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.inner.publish(records).await
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        self.inner.fetch(at, from, limits).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.inner.offset_for_time(at, time).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        let inner = self.inner.subscribe(subscription).await?;
        let settling = Arc::clone(&self.settling);
        Ok(Box::new(Consumer { inner, settling, next: Settling::Works, most: self.most }))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        self.inner.groups().await
    }

    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        self.inner.progress(group, topics).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        self.inner.delete_group(group).await
    }

    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        self.inner.transactional_producer(transactional_id).await
    }

    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport> {
        self.inner.run_retention(now).await
    }
}
