//! An event log whose commits fail in a scripted order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfctl_core::domain::{
    GroupGeneration, GroupName, NewRecord, RecordAddress, Timestamp, TopicId, TopicName, TopicPartition,
};
use mfctl_core::ports::{
    CommitRequest, Error, ErrorKind, EventLog, FetchLimits, FetchedRecords, GroupCommit, GroupConsumer,
    GroupDescription, PartitionOffsets, PartitionProgress, Poll, Result, RetentionReport, Subscription,
    TopicDescription, TopicSpec, TransactionalProducer,
};

/// What happens to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptedCommit {
    Succeeds,
    /// Nothing is applied, and the commit returns an error.
    Fails(ErrorKind),
    /// The commit is applied, but its reply is lost.
    AppliedReplyLost,
    /// The commit times out, and is applied at this later moment.
    AppliedLate(LateMoment),
}

/// When a commit that has timed out is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateMoment {
    /// Before the member reads the group's commit again.
    BeforeRewind,
    /// Just after the member has read the group's commit, without this one.
    AfterRewind,
    /// When the member has read and processed the same records again.
    BeforeNextCommit,
}

/// A log with a script for its next commits; later ones succeed.
pub struct FaultyLog {
    inner: Arc<dyn EventLog>,
    script: Arc<Mutex<VecDeque<ScriptedCommit>>>,
    /// A commit with more outputs times out.
    max_outputs: usize,
    /// A commit with a larger record is refused.
    max_bytes: usize,
    /// How often the group's commits were asked for.
    committed_calls: AtomicUsize,
    /// The prefetch of the last subscription, in bytes.
    prefetch_bytes: AtomicUsize,
    /// Whether new leaders answer the first request for offsets or records after each one for written ends.
    leaders_change: bool,
    /// Whether the next answer to readers is of leaders whose last stable offsets are lower than before.
    are_ends_lower: AtomicBool,
}

impl FaultyLog {
    pub fn new(inner: &Arc<dyn EventLog>, script: impl IntoIterator<Item = ScriptedCommit>) -> Arc<Self> {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        Arc::new(Self { script, ..Self::within(inner, usize::MAX, usize::MAX) })
    }

    /// A log that refuses commits with a record of more bytes than this, although it does not say so before.
    pub fn narrow(inner: &Arc<dyn EventLog>, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self::within(inner, usize::MAX, max_bytes))
    }

    /// A log whose network is too slow for commits with more outputs than this.
    pub fn slow(inner: &Arc<dyn EventLog>, max_outputs: usize) -> Arc<Self> {
        Arc::new(Self::within(inner, max_outputs, usize::MAX))
    }

    /// A log whose partitions get new leaders each time somebody has asked for their written ends.
    pub fn with_new_leaders(inner: &Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { leaders_change: true, ..Self::within(inner, usize::MAX, usize::MAX) })
    }

    fn within(inner: &Arc<dyn EventLog>, max_outputs: usize, max_bytes: usize) -> Self {
        Self {
            inner: Arc::clone(inner),
            script: Arc::default(),
            max_outputs,
            max_bytes,
            committed_calls: AtomicUsize::new(0),
            prefetch_bytes: AtomicUsize::new(0),
            leaders_change: false,
            are_ends_lower: AtomicBool::new(false),
        }
    }

    /// How often the group's commits were asked for.
    pub fn committed_calls(&self) -> usize {
        self.committed_calls.load(Ordering::Relaxed)
    }

    /// The prefetch of the last subscription, in bytes.
    pub fn prefetch_bytes(&self) -> usize {
        self.prefetch_bytes.load(Ordering::Relaxed)
    }

    /// Whether every scripted commit has happened.
    pub fn is_exhausted(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }
}

struct FaultyConsumer {
    inner: Box<dyn GroupConsumer>,
    script: Arc<Mutex<VecDeque<ScriptedCommit>>>,
    /// What happens to the commit that was begun last.
    current: ScriptedCommit,
    /// A commit that has timed out, and when it is applied.
    late: Option<(LateMoment, CommitRequest)>,
    max_outputs: usize,
    max_bytes: usize,
}

impl FaultyConsumer {
    /// Applies the commit that is late until this moment. It may be refused, as any other.
    async fn apply_late(&mut self, moment: LateMoment) {
        if let Some((_, request)) = self.late.take_if(|(due, _)| *due == moment) {
            let _ = self.inner.commit(request).await;
        }
    }
}

#[async_trait]
impl GroupConsumer for FaultyConsumer {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        self.inner.poll(limits, wait).await
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    fn limit_each_partition(&mut self, limits: FetchLimits) {
        self.inner.limit_each_partition(limits);
    }

    fn generation(&self) -> Option<GroupGeneration> {
        self.inner.generation()
    }

    async fn confirm(&mut self) -> Result<()> {
        self.inner.confirm().await
    }

    async fn begin_commit(&mut self, request: CommitRequest) -> Result<()> {
        self.apply_late(LateMoment::BeforeNextCommit).await;
        let mut records = request.outputs.iter().chain(&request.dead_letters);
        let is_too_large = records.any(|record| record.size_bytes() > self.max_bytes);
        self.current = match self.script.lock().unwrap().pop_front() {
            _ if is_too_large => ScriptedCommit::Fails(ErrorKind::Invalid),
            _ if request.outputs.len() > self.max_outputs => ScriptedCommit::Fails(ErrorKind::Timeout),
            next => next.unwrap_or(ScriptedCommit::Succeeds),
        };
        match self.current {
            ScriptedCommit::Succeeds | ScriptedCommit::AppliedReplyLost => self.inner.begin_commit(request).await,
            ScriptedCommit::Fails(_) => Ok(()),
            ScriptedCommit::AppliedLate(moment) => {
                self.late = Some((moment, request));
                Ok(())
            }
        }
    }

    async fn finish_commit(&mut self) -> Result<()> {
        match self.current {
            ScriptedCommit::Succeeds => self.inner.finish_commit().await,
            ScriptedCommit::Fails(kind) => Err(Error::new(kind, "settle, as scripted")),
            ScriptedCommit::AppliedReplyLost => {
                self.inner.finish_commit().await?;
                Err(Error::new(ErrorKind::Timeout, "settle: the reply is lost, as scripted"))
            }
            ScriptedCommit::AppliedLate(_) => Err(Error::new(ErrorKind::Timeout, "settle: late, as scripted")),
        }
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.inner.release(partitions).await
    }

    async fn rewind(&mut self) -> Result<()> {
        self.apply_late(LateMoment::BeforeRewind).await;
        self.inner.rewind().await?;
        self.apply_late(LateMoment::AfterRewind).await;
        Ok(())
    }

    async fn leave(self: Box<Self>) -> Result<()> {
        self.inner.leave().await
    }
}

#[async_trait]
impl EventLog for FaultyLog {
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
        let mut offsets = self.inner.offsets(topics).await?;
        if self.are_ends_lower.swap(false, Ordering::Relaxed) {
            offsets.iter_mut().for_each(|one| one.span.high = one.span.low);
        }
        Ok(offsets)
    }

    async fn written_ends(&self, topics: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>> {
        self.are_ends_lower.store(self.leaders_change, Ordering::Relaxed);
        self.inner.written_ends(topics).await
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.inner.publish(records).await
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        let mut fetched = self.inner.fetch(at, from, limits).await?;
        if self.are_ends_lower.swap(false, Ordering::Relaxed) {
            fetched.records.clear();
            fetched.next_offset = from;
            fetched.span.high = fetched.span.low;
        }
        Ok(fetched)
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.inner.offset_for_time(at, time).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        self.prefetch_bytes.store(subscription.prefetch_bytes, Ordering::Relaxed);
        let inner = self.inner.subscribe(subscription).await?;
        let script = Arc::clone(&self.script);
        let Self { max_outputs, max_bytes, .. } = *self;
        let current = ScriptedCommit::Succeeds;
        Ok(Box::new(FaultyConsumer { inner, script, current, late: None, max_outputs, max_bytes }))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        self.inner.groups().await
    }

    async fn topic_ids(&self, topics: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        self.inner.topic_ids(topics).await
    }

    async fn committed(&self, group: &GroupName, partitions: &[TopicPartition]) -> Result<Vec<GroupCommit>> {
        self.committed_calls.fetch_add(1, Ordering::Relaxed);
        self.inner.committed(group, partitions).await
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
