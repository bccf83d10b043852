//! The worker's membership in its consumer group: when to poll, which partitions are paused, which are being revoked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mfctl_core::domain::{GroupGeneration, TopicPartition};
use mfctl_core::ports::{CommitRequest, FetchLimits, GroupConsumer, Poll, Result};

/// The interval between polls while a dependency is down, so that the log's answer ends an outage of its own soon.
const OUTAGE_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The delay before the next poll when one brought nothing and there is other work.
const IDLE_POLL_DELAY: Duration = Duration::from_millis(20);

/// The limits of a poll that only keeps the membership alive.
const HEARTBEAT_LIMITS: FetchLimits = FetchLimits { max_records: 1, max_bytes: 1 };

/// A call to the log, by its name in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogCall {
    Poll,
    Rewind,
    Commit,
    Confirm,
}

impl LogCall {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Rewind => "rewind",
            Self::Commit => "commit",
            Self::Confirm => "confirm the membership",
        }
    }
}

/// The consumer, with what the loop has to remember about its partitions.
pub(super) struct GroupMembership {
    consumer: Box<dyn GroupConsumer>,
    session_timeout: Duration,
    /// Not to be polled for records before this.
    poll_at: Instant,
    polled_at: Instant,
    /// Consume from the committed offsets again before the next poll.
    rewind_pending: bool,
    paused: BTreeSet<TopicPartition>,
    /// Partitions that another member waits for, with the time by which they are released even with records in flight.
    revoking: BTreeMap<TopicPartition, Instant>,
}

impl GroupMembership {
    pub(super) fn new(consumer: Box<dyn GroupConsumer>, session_timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            session_timeout,
            poll_at: now,
            polled_at: now,
            rewind_pending: false,
            paused: BTreeSet::new(),
            revoking: BTreeMap::new(),
        }
    }

    /// When to poll next: as soon as there is room for records, and often enough to stay a member.
    pub(super) fn next_poll(&self, has_room: bool, is_outage: bool) -> Instant {
        let heartbeat = self.polled_at + self.session_timeout / 4;
        match (has_room, is_outage) {
            (true, _) => self.poll_at.min(heartbeat),
            (false, true) => self.poll_at.max(self.polled_at + OUTAGE_POLL_INTERVAL).min(heartbeat),
            (false, false) => heartbeat,
        }
    }

    /// The next poll for records is due at once.
    pub(super) fn poll_soon(&mut self) {
        self.poll_at = Instant::now();
    }

    /// The log had no records.
    pub(super) fn poll_after_idle(&mut self) {
        self.poll_at = Instant::now() + IDLE_POLL_DELAY;
    }

    /// A call to the log failed.
    pub(super) fn poll_after(&mut self, delay: Duration) {
        self.poll_at = Instant::now() + delay;
    }

    /// Notes a poll, rewinding or not, for the heartbeat.
    pub(super) fn poll_began(&mut self, now: Instant) {
        self.polled_at = now;
    }

    pub(super) fn rewind_before_poll(&mut self) {
        self.rewind_pending = true;
    }

    pub(super) fn is_rewind_pending(&self) -> bool {
        self.rewind_pending
    }

    /// Rewinds, if that is pending. On an error it stays pending.
    pub(super) async fn rewind_if_pending(&mut self) -> Result<()> {
        if self.rewind_pending {
            self.consumer.rewind().await?;
            self.rewind_pending = false;
        }
        Ok(())
    }

    /// Polls for records within these limits, of each partition within those of `of_each`; without any, only to stay a
    /// member.
    pub(super) async fn poll(
        &mut self,
        limits: FetchLimits,
        of_each: Option<FetchLimits>,
        wait: Duration,
    ) -> Result<Poll> {
        match of_each {
            Some(of_each) => {
                self.consumer.limit_each_partition(of_each);
                self.consumer.poll(limits, wait).await
            }
            None => self.consumer.poll(HEARTBEAT_LIMITS, wait).await,
        }
    }

    pub(super) fn generation(&self) -> Option<GroupGeneration> {
        self.consumer.generation()
    }

    /// `Fenced` unless the group has this member at its generation.
    pub(super) async fn confirm(&mut self) -> Result<()> {
        self.consumer.confirm().await
    }

    pub(super) async fn begin_commit(&mut self, request: CommitRequest) -> Result<()> {
        self.consumer.begin_commit(request).await
    }

    /// The result of the commit under way. May be dropped and called again.
    pub(super) async fn finish_commit(&mut self) -> Result<()> {
        self.consumer.finish_commit().await
    }

    /// Pauses exactly these partitions, and resumes all others.
    pub(super) fn pause_only(&mut self, partitions: BTreeSet<TopicPartition>) {
        let pause: Vec<_> = partitions.difference(&self.paused).cloned().collect();
        let resume: Vec<_> = self.paused.difference(&partitions).cloned().collect();
        if !pause.is_empty() {
            self.consumer.pause(&pause);
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume);
        }
        self.paused = partitions;
    }

    /// Another member waits for a partition. Half a session timeout is left for what is in flight: the rest is for the
    /// release itself.
    pub(super) fn revoke(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let deadline = Instant::now() + self.session_timeout / 2;
        self.revoking.extend(partitions.into_iter().map(|at| (at, deadline)));
    }

    /// The partitions that another member waits for.
    pub(super) fn revoking(&self) -> impl Iterator<Item = &TopicPartition> {
        self.revoking.keys()
    }

    /// The revoked partitions to release now: idle ones, and those whose deadline has passed.
    pub(super) fn releasable(&self, is_idle: impl Fn(&TopicPartition) -> bool) -> Vec<TopicPartition> {
        let now = Instant::now();
        let due = self.revoking.iter().filter(|(at, deadline)| is_idle(at) || now >= **deadline);
        due.map(|(at, _)| at.clone()).collect()
    }

    pub(super) async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.release(partitions).await
    }

    /// Forgets a partition that was assigned, released or lost: it is neither paused nor being revoked.
    pub(super) fn forget(&mut self, at: &TopicPartition) {
        self.revoking.remove(at);
        self.paused.remove(at);
    }

    pub(super) async fn leave(self) -> Result<()> {
        self.consumer.leave().await
    }
}
