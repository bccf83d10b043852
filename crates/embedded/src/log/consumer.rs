//! A member of a consumer group.
//!
//! Its assignment is what the group's rows say: each poll compares them with what this member owns and reports the
//! difference. Every call may be cancelled at any await (a caller's `select!`): no field changes before the database
//! has confirmed it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::task::JoinHandle;

use super::append;
use super::context::LogContext;
use super::fetch::{self, FetchPosition};
use super::liveness::{self, boot_ms};
use super::member::MemberSession;
use super::membership::{self, AssignmentRow, AssignmentState, JoinRequest, PartitionCommit, fenced};
use super::owned::OwnedPartitions;
use super::topics::Topic;
use crate::db::CommitCursor;
use mfctl_core::domain::{GroupGeneration, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, Error, ErrorKind, FetchLimits, GroupConsumer, Poll, Result, Subscription};

/// How often a member looks for dead members, and the longest time between two reads of the log.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// A member of a group with the partitions it owns.
pub(super) struct EmbeddedConsumer {
    log: LogContext,
    subscription: Subscription,
    topics: Vec<Arc<Topic>>,
    member: MemberSession,
    owned: OwnedPartitions,
    /// Of what one poll returns of each partition; `None` until they are set.
    partition_limits: Option<FetchLimits>,
    /// What the next polls return before they read the log.
    events: VecDeque<Poll>,
    cursor: CommitCursor,
    settlement: SettlementState,
}

/// The settlement that was begun last.
enum SettlementState {
    /// None was begun, or its outcome was returned. Exit: `InFlight`, when one is begun.
    Idle,
    /// Its transaction runs in a task of its own, with these commits. Exit: `Finished`, when that has ended.
    InFlight(JoinHandle<Result<()>>, Vec<PartitionCommit>),
    /// It has ended. Exit: `Idle`, when its outcome is returned or the next one is begun.
    Finished(Result<()>),
}

/// The result of one read of the log.
enum GroupRead {
    /// This member is not in the group.
    Evicted,
    /// The group has a generation that this member has not applied.
    Rebalanced { generation: i64, assignment: Vec<AssignmentRow> },
    /// Records, and where to continue in each partition.
    Records { records: Vec<Record>, positions: Vec<FetchPosition> },
}

impl EmbeddedConsumer {
    /// See [`mfctl_core::ports::EventLog::subscribe`].
    pub(super) async fn subscribe(log: LogContext, subscription: Subscription) -> Result<Self> {
        if subscription.topics.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("group {} names no topic", subscription.group)));
        }
        let topics = log.topics.get_all(&log.db, &subscription.topics).await?;
        let mut consumer = Self {
            member: MemberSession::new(&log)?,
            cursor: log.db.commit_cursor(),
            log,
            subscription,
            topics,
            owned: OwnedPartitions::default(),
            partition_limits: None,
            events: VecDeque::new(),
            settlement: SettlementState::Idle,
        };
        consumer.join().await?;
        Ok(consumer)
    }

    /// Adds this member to the group and evicts dead members.
    async fn join(&mut self) -> Result<()> {
        let request = JoinRequest {
            group: self.subscription.group.to_string(),
            member_id: self.member.id.clone(),
            instance: self.subscription.instance.clone(),
            client: client_name(),
            topic_ids: self.topics.iter().map(|topic| topic.id).collect(),
            session_ms: i64::try_from(self.subscription.session_timeout.as_millis()).unwrap_or(i64::MAX),
        };
        let dir = self.log.members_dir.clone();
        let join = move |tx: &Connection| {
            liveness::remove_stale_lock_files(&dir, &liveness::members(tx, None)?);
            let group_id = membership::join(tx, &request, boot_ms())?;
            membership::evict(tx, group_id, &liveness::dead_members(tx, group_id, &dir)?)?;
            membership::claim_partitions(tx, group_id, &request.member_id)?;
            Ok(group_id)
        };
        let group_id = self.log.db.write("join a group", join).await?;
        self.member.on_joined(group_id);
        Ok(())
    }

    /// Keeps the membership alive and reads the log once. Returns records; queues every other event.
    async fn poll_once(&mut self, limits: FetchLimits) -> Result<Option<Poll>> {
        let Some(group_id) = self.member.group_id() else {
            self.join().await?;
            return Ok(None);
        };
        if !self.heartbeat_if_due().await? {
            return self.on_evicted().map(|()| None);
        }
        self.sweep_if_due(group_id).await?;
        // A commit in flight may be of a partition that is released: it comes first.
        if !matches!(self.settlement, SettlementState::InFlight(..)) {
            self.finish_release(group_id).await?;
        }
        match self.read_group(group_id, limits).await? {
            GroupRead::Evicted => self.on_evicted()?,
            GroupRead::Rebalanced { generation, assignment } => {
                if assignment.iter().any(|row| row.state == AssignmentState::Claimable) {
                    let id = self.member.id.clone();
                    let claim = move |tx: &Connection| membership::claim_partitions(tx, group_id, &id);
                    self.log.db.write("claim partitions", claim).await?;
                } else {
                    self.apply_assignment(generation, &assignment);
                }
            }
            GroupRead::Records { records, positions } => {
                self.owned.advance(positions);
                return Ok((!records.is_empty()).then_some(Poll::Records(records)));
            }
        }
        Ok(None)
    }

    /// Writes a heartbeat if one is due. Returns whether this member is still in the group, as far as it knows.
    async fn heartbeat_if_due(&mut self) -> Result<bool> {
        if self.member.last_heartbeat.elapsed() < self.heartbeat_interval() {
            return Ok(true);
        }
        let id = self.member.id.clone();
        let beat = move |tx: &Connection| membership::heartbeat(tx, &id, boot_ms());
        let is_member = self.log.db.write("send a heartbeat", beat).await?;
        self.member.last_heartbeat = Instant::now();
        Ok(is_member)
    }

    fn heartbeat_interval(&self) -> Duration {
        self.subscription.session_timeout / 4
    }

    /// Evicts dead members, if it is time to look for them.
    async fn sweep_if_due(&mut self, group_id: i64) -> Result<()> {
        if self.member.last_sweep.elapsed() < SWEEP_INTERVAL {
            return Ok(());
        }
        let dir = self.log.members_dir.clone();
        let find = move |c: &Connection| liveness::dead_members(c, group_id, &dir);
        let mut dead = self.log.db.read("look for a group's dead members", find).await?;
        dead.retain(|member| member.member_id != self.member.id);
        if !dead.is_empty() {
            let ids: Vec<&str> = dead.iter().map(|member| member.member_id.as_str()).collect();
            tracing::info!(group = %self.subscription.group, members = ?ids, "evicting dead members");
            self.log.db.write("evict members", move |tx| membership::evict(tx, group_id, &dead)).await?;
        }
        self.member.last_sweep = Instant::now();
        Ok(())
    }

    async fn read_group(&self, group_id: i64, limits: FetchLimits) -> Result<GroupRead> {
        let id = self.member.id.clone();
        let applied = self.member.generation();
        let positions = self.owned.fetch_positions();
        let of_each = self.partition_limits.unwrap_or(limits);
        let read = move |c: &Connection| {
            let Some(generation) = membership::generation(c, &id)? else { return Ok(GroupRead::Evicted) };
            if Some(generation) != applied {
                let assignment = membership::assignment(c, group_id, &id)?;
                return Ok(GroupRead::Rebalanced { generation, assignment });
            }
            let (records, positions) = fetch::fetch_evenly(c, positions, limits, of_each)?;
            Ok(GroupRead::Records { records, positions })
        };
        self.log.db.read_records("poll", read).await
    }

    /// Takes over the group's rows of a generation and queues what changed.
    fn apply_assignment(&mut self, generation: i64, rows: &[AssignmentRow]) {
        let changes = self.owned.reconcile(rows, &self.topics);
        self.queue_lost(changes.lost);
        let is_assigned_any = rows.iter().any(|row| row.state.is_assigned());
        // The first assignment is reported even if it is empty, but not while partitions are still to be claimed.
        let is_first = !self.member.has_reported_assignment() && !is_assigned_any;
        let reported = !changes.assigned.is_empty() || is_first;
        if reported {
            self.events.push_back(Poll::Assigned(changes.assigned));
        }
        if !changes.revoking.is_empty() {
            self.events.push_back(Poll::Revoking(changes.revoking));
        }
        self.member.on_assignment_applied(generation, reported);
    }

    /// This member was evicted: it loses all its partitions, and the next poll joins under a new id.
    fn on_evicted(&mut self) -> Result<()> {
        let member = MemberSession::new(&self.log)?;
        tracing::warn!(group = %self.subscription.group, instance = %self.subscription.instance,
            "evicted from the group for not polling within the session timeout; joining again");
        self.member = member;
        let lost = self.owned.clear();
        self.queue_lost(lost);
        Ok(())
    }

    fn queue_lost(&mut self, lost: Vec<TopicPartition>) {
        if !lost.is_empty() {
            self.events.push_back(Poll::Lost(lost));
        }
    }

    /// Frees the partitions that the caller has released. After an error or a cancellation, the next call tries again.
    async fn finish_release(&mut self, group_id: i64) -> Result<()> {
        let released = self.owned.releasing();
        if released.is_empty() {
            return Ok(());
        }
        let id = self.member.id.clone();
        let partitions = released.clone();
        let release = move |tx: &Connection| membership::release(tx, group_id, &id, &partitions);
        self.log.db.write("release partitions", release).await?;
        self.owned.remove(&released);
        Ok(())
    }

    /// Waits for the settlement in flight, if there is one. May be cancelled.
    async fn finish_settlement(&mut self) {
        let SettlementState::InFlight(task, commits) = &mut self.settlement else { return };
        let defect = |error| Err(Error::new(ErrorKind::Internal, "settle").because(error));
        let outcome = task.await.unwrap_or_else(defect);
        if outcome.is_ok() {
            // Its transaction wrote a heartbeat as well.
            self.member.last_heartbeat = Instant::now();
            self.owned.confirm(commits);
        }
        self.settlement = SettlementState::Finished(outcome);
    }
}

#[async_trait]
impl GroupConsumer for EmbeddedConsumer {
    async fn poll(&mut self, limits: FetchLimits, wait: Duration) -> Result<Poll> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let before = (self.member.group_id(), self.member.generation());
            if let Some(records) = self.poll_once(limits).await? {
                return Ok(records);
            }
            if !self.events.is_empty() || before != (self.member.group_id(), self.member.generation()) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Poll::Idle);
            }
            let timeout = left.min(SWEEP_INTERVAL).min(self.heartbeat_interval());
            self.log.db.wait_for_commit(&mut self.cursor, timeout.max(Duration::from_millis(1))).await;
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.owned.set_paused(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.owned.set_paused(partitions, false);
    }

    fn limit_each_partition(&mut self, limits: FetchLimits) {
        self.partition_limits = Some(limits);
    }

    fn generation(&self) -> Option<GroupGeneration> {
        self.member.generation().map(|generation| GroupGeneration { generation, member_id: self.member.id.clone() })
    }

    async fn confirm(&mut self) -> Result<()> {
        let id = self.member.id.clone();
        let seen = self.member.generation();
        let confirm = move |tx: &Connection| membership::confirm(tx, &id, seen, boot_ms());
        self.log.db.write("confirm a membership", confirm).await?;
        self.member.last_heartbeat = Instant::now();
        Ok(())
    }

    async fn begin_commit(&mut self, settlement: CommitRequest) -> Result<()> {
        self.finish_settlement().await;
        self.settlement = SettlementState::Idle;
        let commits = self.owned.commits(&settlement)?;
        let group_id = self.member.group_id().ok_or_else(|| fenced("settle: this member is not in its group"))?;
        if settlement.is_empty() {
            return Ok(());
        }
        let mut records = settlement.outputs;
        records.extend(settlement.dead_letters);
        let records = append::route(&self.log, records).await?;
        let id = self.member.id.clone();
        let now_ms = self.log.clock.now().as_millisecond();
        let in_flight = commits.clone();
        let settle = move |tx: &Connection| {
            // One write for the settlement and the heartbeat.
            if !membership::heartbeat(tx, &id, boot_ms())? {
                return Err(fenced("settle: this member was evicted from its group"));
            }
            for commit in commits {
                membership::check_owner(tx, group_id, &id, commit.owned)?;
                membership::commit(tx, group_id, commit, now_ms)?;
            }
            append::insert(tx, &records).map(drop)
        };
        let db = self.log.db.clone();
        debug_assert!(matches!(self.settlement, SettlementState::Idle), "one settlement at a time");
        let task = tokio::spawn(async move { db.write("settle", settle).await });
        self.settlement = SettlementState::InFlight(task, in_flight);
        Ok(())
    }

    async fn finish_commit(&mut self) -> Result<()> {
        self.finish_settlement().await;
        match std::mem::replace(&mut self.settlement, SettlementState::Idle) {
            SettlementState::Finished(outcome) => outcome,
            SettlementState::Idle | SettlementState::InFlight(..) => Ok(()),
        }
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.owned.begin_release(partitions);
        self.finish_settlement().await;
        match self.member.group_id() {
            Some(group_id) => self.finish_release(group_id).await,
            None => Ok(()),
        }
    }

    async fn rewind(&mut self) -> Result<()> {
        self.finish_settlement().await;
        let Some(group_id) = self.member.group_id() else { return Ok(()) };
        let id = self.member.id.clone();
        let rows = self.log.db.read("rewind", move |c| membership::assignment(c, group_id, &id)).await?;
        self.owned.rewind(&rows);
        Ok(())
    }

    async fn leave(mut self: Box<Self>) -> Result<()> {
        self.finish_settlement().await;
        let Some(group_id) = self.member.group_id() else { return Ok(()) };
        let id = self.member.id.clone();
        self.log.db.write("leave a group", move |tx| membership::leave(tx, group_id, &id)).await
    }
}

/// This host and process, for people.
fn client_name() -> String {
    let name = rustix::system::uname();
    format!("{} pid {}", name.nodename().to_string_lossy(), std::process::id())
}
