//! A member of a consumer group.
//!
//! librdkafka's consumer is polled from [`GroupConsumer::poll`] itself, without waiting: what it returns is stored before
//! anything is awaited, so that a poll may be cancelled anywhere. Each partition has a queue of its own, so that pausing
//! discards nothing and a rebalance never waits for records to be consumed. A rebalance is answered when the records in
//! flight are committed, not in its callback: [`assignment`]. What blocks (transactions, seeking, leaving) runs off the
//! async threads and continues when the caller is cancelled; the next call waits for it first: [`member`].

mod assignment;
mod member;
mod partition;
mod rewind;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::blocking::{close_in_background, run_blocking};
use super::clients::KafkaClients;
use super::topics::TopicDirectory;
use member::KafkaMember;
use mfctl_core::domain::{GroupGeneration, TopicPartition};
use mfctl_core::ports::{CommitRequest, Error, ErrorKind, FetchLimits, GroupConsumer, Poll, Result, Subscription};

/// A member as the port has it. Dropping it leaves the group in the background.
pub(super) struct KafkaConsumer(Option<Box<KafkaMember>>);

impl KafkaConsumer {
    /// Joins a group.
    ///
    /// # Errors
    /// `Invalid` without topics, `NotFound` when one does not exist.
    pub(super) async fn join(
        clients: Arc<KafkaClients>,
        topics: Arc<TopicDirectory>,
        subscription: Subscription,
    ) -> Result<Self> {
        Ok(Self(Some(Box::new(KafkaMember::join(clients, topics, subscription).await?))))
    }

    fn member(&mut self) -> Result<&mut KafkaMember> {
        self.0.as_deref_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "this member has left its group"))
    }
}

#[async_trait]
impl GroupConsumer for KafkaConsumer {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        self.member()?.poll(limits, wait).await
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        if let Ok(member) = self.member() {
            member.pause(partitions);
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        if let Ok(member) = self.member() {
            member.resume(partitions);
        }
    }

    fn limit_each_partition(&mut self, limits: FetchLimits) {
        if let Ok(member) = self.member() {
            member.limit_each_partition(limits);
        }
    }

    fn generation(&self) -> Option<GroupGeneration> {
        self.0.as_deref().and_then(KafkaMember::generation)
    }

    async fn confirm(&mut self) -> Result<()> {
        self.member()?.confirm().await
    }

    async fn begin_commit(&mut self, request: CommitRequest) -> Result<()> {
        self.member()?.begin_commit(request).await
    }

    async fn finish_commit(&mut self) -> Result<()> {
        self.member()?.finish_commit().await
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.member()?.release(partitions).await
    }

    async fn rewind(&mut self) -> Result<()> {
        self.member()?.rewind().await
    }

    async fn leave(mut self: Box<Self>) -> Result<()> {
        self.member()?.finish_running_work().await;
        let Some(member) = self.0.take() else { return Ok(()) };
        run_blocking(move || {
            member.close();
            Ok(())
        })
        .await
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if let Some(member) = self.0.take() {
            close_in_background(move || member.close());
        }
    }
}
