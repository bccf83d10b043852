//! The partitions assigned to this member, and rebalances.
//!
//! librdkafka waits for the answer to each decision of the coordinator, and rejoins the group by itself after it. Revoked
//! partitions are given up all at once: after the first answer it tells the group that all of them are free.

mod commits;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::Notify;

use super::partition::{BufferedPartition, PartitionQuota, PollBatch};
use crate::clients::KafkaClients;
use crate::context::{RawConsumer, Rebalance};
use crate::ffi::{GroupMetadata, PartitionQueue};
use crate::names::{WirePartition, partition_list};
use mfctl_core::domain::{GroupGeneration, GroupName, Record, TopicPartition};
use mfctl_core::ports::{FetchLimits, Poll};

/// Records of one or more partitions, and the partition that failed after them with its error code.
type CollectedRecords = (Vec<Record>, Option<(TopicPartition, Code)>);

/// A partition that librdkafka does not fetch for this long is not going to be fetched.
const FETCH_START_TIMEOUT: Duration = Duration::from_secs(8);

/// Where this member stands in its group.
///
/// - `Unassigned`: no assignment was reported since it joined, lost its partitions or was evicted. Exits: `Assigned` by an
///   assignment; `Revoking` when partitions are revoked that a partial loss left to it; `Evicted` when an eviction leaves
///   partitions that may be assigned again.
/// - `Assigned`: an assignment was reported, possibly an empty one. Exits: `Revoking` when owned partitions are revoked;
///   `Unassigned` by a loss or an eviction.
/// - `Revoking`: librdkafka waits until all of `requested` are unassigned, which happens once none of `unreleased` is left.
///   Exits: `Assigned` by the last release; `Unassigned` by a loss or an eviction.
/// - `Evicted`: the coordinator evicted the member while librdkafka waited for an answer, and did not report it. The
///   partitions in `pending_reassign` are still assigned in librdkafka, may be another member's, and must not be used until
///   the member is in its group again. Exits: `Unassigned` by a loss, by another eviction, or by an assignment, which returns
///   the partitions and at once leads on to `Assigned`.
/// - `Closed`: the member leaves its group. Entered from every other state; final.
enum MembershipState {
    Unassigned,
    Assigned,
    Revoking { requested: BTreeSet<TopicPartition>, unreleased: BTreeSet<TopicPartition> },
    Evicted { pending_reassign: BTreeMap<TopicPartition, BufferedPartition> },
    Closed,
}

impl MembershipState {
    fn may_become(&self, next: &Self) -> bool {
        match self {
            Self::Unassigned => true,
            Self::Assigned => !matches!(next, Self::Evicted { .. }),
            Self::Revoking { .. } => !matches!(next, Self::Evicted { .. } | Self::Revoking { .. }),
            Self::Evicted { .. } => matches!(next, Self::Unassigned | Self::Closed),
            Self::Closed => false,
        }
    }
}

/// See the module.
pub(super) struct Assignment {
    // In the order of dropping: queues before their consumer.
    owned: BTreeMap<TopicPartition, BufferedPartition>,
    state: MembershipState,
    consumer: Arc<RawConsumer>,
    /// Wakes the member when a partition's queue is no longer empty.
    waker: Arc<Notify>,
    clients: Arc<KafkaClients>,
    group: GroupName,
    /// The member id and the generation at the last change of the assignment.
    member: Option<GroupGeneration>,
    paused: HashSet<TopicPartition>,
    /// Of what one poll returns of each partition; `None` until they are set.
    pub(super) partition_limits: Option<FetchLimits>,
    /// Changes of the assignment that were not reported to the caller yet.
    event_queue: VecDeque<Poll>,
    /// Whether an assignment came since the last release.
    assigned_since_release: bool,
    /// Whether partitions were reassigned whose position may be past the commits.
    needs_rewind: bool,
    /// Counts polls, so that another partition comes first each time.
    polls: usize,
}

impl Assignment {
    pub(super) fn new(
        consumer: Arc<RawConsumer>,
        waker: Arc<Notify>,
        clients: Arc<KafkaClients>,
        group: GroupName,
    ) -> Self {
        Self {
            owned: BTreeMap::new(),
            state: MembershipState::Unassigned,
            consumer,
            waker,
            clients,
            group,
            member: None,
            paused: HashSet::new(),
            partition_limits: None,
            event_queue: VecDeque::new(),
            assigned_since_release: false,
            needs_rewind: false,
            polls: 0,
        }
    }

    /// Changes the state and returns the one before.
    fn transition(&mut self, next: MembershipState) -> MembershipState {
        debug_assert!(self.state.may_become(&next), "group {}: no such transition", self.group);
        std::mem::replace(&mut self.state, next)
    }

    /// The next change of the assignment to report.
    pub(super) fn next_event(&mut self) -> Option<Poll> {
        self.event_queue.pop_front()
    }

    /// Whether partitions were reassigned that have to be rewound; false when asked again.
    pub(super) fn take_needs_rewind(&mut self) -> bool {
        std::mem::take(&mut self.needs_rewind)
    }

    pub(super) fn has_assignment_since_release(&self) -> bool {
        self.assigned_since_release
    }

    /// Delivers no records of these partitions until they are resumed. Partitions that are not owned are ignored.
    pub(super) fn pause(&mut self, partitions: &[TopicPartition]) {
        let owned = partitions.iter().filter(|at| self.owned.contains_key(at)).cloned();
        self.paused.extend(owned);
    }

    pub(super) fn resume(&mut self, partitions: &[TopicPartition]) {
        self.paused.retain(|at| !partitions.contains(at));
    }

    /// Applies a decision of the coordinator, and answers it unless records in flight have to be committed first.
    pub(super) fn rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assign(&partitions),
            Rebalance::Revoke { partitions, lost: true } => self.lose(&partitions),
            Rebalance::Revoke { partitions, lost: false } => self.revoke(&partitions),
        }
    }

    fn assign(&mut self, partitions: &[WirePartition]) {
        self.update_member();
        let mut assigned = self.reclaim_pending();
        for (topic, partition) in partitions {
            let Some(at) = self.clients.names.partition(topic, *partition) else { continue };
            let Some(queue) = PartitionQueue::split(&self.consumer, topic, *partition, &self.waker) else { continue };
            self.consumer.context().fetch_restarted(&(topic.clone(), *partition));
            self.owned.insert(at.clone(), BufferedPartition::new(queue));
            assigned.push(at);
        }
        self.log_failed(self.consumer.incremental_assign(&partition_list(partitions)), "assign partitions");
        self.assigned_since_release = true;
        self.report_assigned(assigned);
    }

    fn report_assigned(&mut self, assigned: Vec<TopicPartition>) {
        let is_first = matches!(self.state, MembershipState::Unassigned);
        if assigned.is_empty() && !(is_first && self.owned.is_empty()) {
            return;
        }
        if is_first {
            self.transition(MembershipState::Assigned);
        }
        self.event_queue.push_back(Poll::Assigned(assigned));
    }

    /// The member was evicted, which librdkafka did not report because it was waiting for an answer: everything that it owned
    /// is void. Partitions that are not being revoked wait for the next assignment.
    fn evict(&mut self) {
        if !self.owned.is_empty() {
            self.event_queue.push_back(Poll::Lost(self.owned.keys().cloned().collect()));
        }
        self.paused.clear();
        let mut pending_reassign = match self.transition(MembershipState::Unassigned) {
            MembershipState::Evicted { pending_reassign } => pending_reassign,
            MembershipState::Revoking { requested, .. } => {
                self.unassign_requested(&requested);
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        for (at, mut owned) in std::mem::take(&mut self.owned) {
            if !owned.is_revoking {
                owned.end_ownership();
                pending_reassign.insert(at, owned);
            }
        }
        if !pending_reassign.is_empty() {
            self.transition(MembershipState::Evicted { pending_reassign });
        }
    }

    /// Owns the partitions again that were kept during an eviction; they have to be rewound to their commits.
    fn reclaim_pending(&mut self) -> Vec<TopicPartition> {
        if !matches!(self.state, MembershipState::Evicted { .. }) {
            return Vec::new();
        }
        let MembershipState::Evicted { pending_reassign } = self.transition(MembershipState::Unassigned) else {
            return Vec::new();
        };
        let reclaimed: Vec<TopicPartition> = pending_reassign.keys().cloned().collect();
        for (at, mut owned) in pending_reassign {
            owned.has_fetched = true;
            self.owned.insert(at, owned);
        }
        self.needs_rewind |= !reclaimed.is_empty();
        reclaimed
    }

    fn lose(&mut self, partitions: &[WirePartition]) {
        let lost = self.owned_among(partitions);
        for at in &lost {
            self.owned.remove(at);
            self.paused.remove(at);
        }
        drop(self.transition(MembershipState::Unassigned));
        self.log_failed(self.consumer.incremental_unassign(&partition_list(partitions)), "unassign lost partitions");
        if !lost.is_empty() {
            self.event_queue.push_back(Poll::Lost(lost));
        }
    }

    fn revoke(&mut self, partitions: &[WirePartition]) {
        self.update_member();
        if let MembershipState::Evicted { pending_reassign } = &mut self.state {
            pending_reassign.retain(|at, _| !partitions.contains(&self.clients.names.wire_partition(at)));
        }
        let revoked = self.owned_among(partitions);
        if revoked.is_empty() {
            let unassigned = self.consumer.incremental_unassign(&partition_list(partitions));
            return self.log_failed(unassigned, "unassign partitions");
        }
        for at in &revoked {
            if let Some(owned) = self.owned.get_mut(at) {
                owned.is_revoking = true;
                owned.discard();
            }
        }
        let more: BTreeSet<TopicPartition> = revoked.iter().cloned().collect();
        match &mut self.state {
            MembershipState::Revoking { requested, unreleased } => {
                requested.extend(more.iter().cloned());
                unreleased.extend(more);
            }
            _ => drop(self.transition(MembershipState::Revoking { requested: more.clone(), unreleased: more })),
        }
        self.event_queue.push_back(Poll::Revoking(revoked));
    }

    /// Gives up partitions that are being revoked. The last of them answers the revocation, and this returns true.
    pub(super) fn release(&mut self, partitions: &[TopicPartition]) -> bool {
        let MembershipState::Revoking { unreleased, .. } = &mut self.state else { return false };
        for at in partitions {
            if unreleased.remove(at) {
                self.owned.remove(at);
                self.paused.remove(at);
            }
        }
        if !unreleased.is_empty() {
            return false;
        }
        if let MembershipState::Revoking { requested, .. } = self.transition(MembershipState::Assigned) {
            self.unassign_requested(&requested);
        }
        self.assigned_since_release = false;
        true
    }

    fn unassign_requested(&self, requested: &BTreeSet<TopicPartition>) {
        let wire: Vec<WirePartition> = requested.iter().map(|at| self.clients.names.wire_partition(at)).collect();
        self.log_failed(self.consumer.incremental_unassign(&partition_list(&wire)), "unassign partitions");
    }

    /// Answers every open rebalance and gives everything up: the member leaves.
    pub(super) fn close(&mut self) {
        let last = self.transition(MembershipState::Closed);
        if let MembershipState::Revoking { requested, .. } = &last {
            self.unassign_requested(requested);
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let answered = match rebalance {
                Rebalance::Assign(_) => self.consumer.incremental_assign(&TopicPartitionList::new()),
                Rebalance::Revoke { partitions, .. } => {
                    self.consumer.incremental_unassign(&partition_list(&partitions))
                }
            };
            self.log_failed(answered, "answer a rebalance while closing");
        }
        self.owned.clear();
        drop(last);
    }

    /// Logs an answer that librdkafka does not accept: it no longer waits for it, and reports what it did instead.
    fn log_failed(&self, answered: KafkaResult<()>, doing: &str) {
        if let Err(error) = answered {
            tracing::warn!(target: "kafka", group = %self.group, %error, "could not {doing}");
        }
    }

    /// Takes over the member id and the generation of a decision of the coordinator. Under another member id than
    /// before, another member may have owned the partitions in between.
    fn update_member(&mut self) {
        let member = GroupMetadata::of(&self.consumer).and_then(|metadata| metadata.generation());
        let id_of = |member: &Option<GroupGeneration>| member.as_ref().map(|member| member.member_id.clone());
        if id_of(&self.member) != id_of(&member) {
            self.evict();
        }
        self.member = member;
    }

    /// The member id and the generation, as of the last change of the assignment; `None` before the first assignment
    /// and after an eviction.
    pub(super) fn generation(&self) -> Option<GroupGeneration> {
        match self.state {
            MembershipState::Unassigned if self.owned.is_empty() => None,
            MembershipState::Evicted { .. } | MembershipState::Closed => None,
            _ => self.member.clone(),
        }
    }

    fn owned_among(&self, partitions: &[WirePartition]) -> Vec<TopicPartition> {
        let names = &self.clients.names;
        let partitions = partitions.iter().filter_map(|(topic, partition)| names.partition(topic, *partition));
        partitions.filter(|at| self.owned.contains_key(at)).collect()
    }

    /// Delivers buffered records within the limits, without waiting. Starts with another partition each time. `None` while
    /// every partition is paused or being revoked; else the records, and the partition that cannot be read.
    pub(super) fn collect(&mut self, limits: FetchLimits) -> Option<CollectedRecords> {
        let mut batch = PollBatch::new(limits);
        let of_each = PartitionQuota::new(self.partition_limits.unwrap_or(limits));
        let is_open = |at: &TopicPartition, owned: &BufferedPartition| !owned.is_revoking && !self.paused.contains(at);
        let open = self.owned.iter_mut().filter(|(at, owned)| is_open(at, owned));
        let mut open: Vec<(&TopicPartition, &mut BufferedPartition, PartitionQuota)> =
            open.map(|(at, owned)| (at, owned, of_each.clone())).collect();
        if open.is_empty() {
            return None;
        }
        self.polls = self.polls.wrapping_add(1);
        let first = self.polls % open.len();
        open.rotate_left(first);
        let mut failed = None;
        let mut has_more = true;
        while has_more && !batch.is_full {
            has_more = false;
            for (at, owned, quota) in open.iter_mut().filter(|(_, _, quota)| quota.room() > 0) {
                if !owned.has_buffered() {
                    let room = batch.room().min(quota.room()).max(1);
                    failed = owned.refill(at, room).map(|code| ((*at).clone(), code)).or(failed);
                }
                has_more |= owned.has_buffered();
                batch.take(owned, quota);
                if batch.is_full {
                    break;
                }
            }
        }
        Some((batch.records, failed))
    }

    /// Assigns partitions again that librdkafka does not fetch. It asks for the commit where a new partition begins, and if
    /// the coordinator has moved meanwhile, it neither asks again nor reports it (confluentinc/librdkafka#5586).
    pub(super) fn restart_stalled_fetches(&mut self) {
        if matches!(self.state, MembershipState::Revoking { .. }) {
            return;
        }
        let context = self.consumer.context();
        let is_stalled = |(at, owned): &(&TopicPartition, &BufferedPartition)| {
            !owned.has_fetched
                && !owned.is_revoking
                && context.is_not_fetched_for(&self.clients.names.wire_partition(at), FETCH_START_TIMEOUT)
        };
        let stalled: Vec<TopicPartition> = self.owned.iter().filter(is_stalled).map(|(at, _)| at.clone()).collect();
        if !stalled.is_empty() {
            let partitions = stalled.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            tracing::warn!(target: "kafka", group = %self.group, partitions,
                "partitions are not being fetched; assigning them again");
            self.restart_fetches(&stalled);
        }
    }

    /// Unassigns partitions in librdkafka and assigns them again; the group does not notice. None of their records may have
    /// been delivered.
    fn restart_fetches(&mut self, partitions: &[TopicPartition]) {
        let wire: Vec<WirePartition> = partitions.iter().map(|at| self.clients.names.wire_partition(at)).collect();
        // The old queue's wake-up is removed before the new one is installed.
        partitions.iter().for_each(|at| drop(self.owned.remove(at)));
        let list = partition_list(&wire);
        self.log_failed(self.consumer.incremental_unassign(&list), "unassign partitions to assign them again");
        for (at, (topic, partition)) in partitions.iter().zip(&wire) {
            self.consumer.context().fetch_restarted(&(topic.clone(), *partition));
            if let Some(queue) = PartitionQueue::split(&self.consumer, topic, *partition, &self.waker) {
                self.owned.insert(at.clone(), BufferedPartition::new(queue));
            }
        }
        self.log_failed(self.consumer.incremental_assign(&list), "assign partitions again");
    }

    /// Discards every buffered record, and returns the partitions that have to seek back to their commits.
    pub(super) fn discard_all(&mut self) -> Vec<WirePartition> {
        self.owned.values_mut().for_each(BufferedPartition::discard);
        let fetched = self.owned.iter().filter(|(_, owned)| owned.has_fetched && !owned.is_revoking);
        fetched.map(|(at, _)| self.clients.names.wire_partition(at)).collect()
    }

    /// Every partition is at its commit: those that were sought, and those that were assigned meanwhile.
    pub(super) fn rewound(&mut self) {
        for owned in self.owned.values_mut() {
            owned.discard();
            owned.has_fetched = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evicted_member_owns_nothing_until_it_is_assigned_again() {
        let evicted = || MembershipState::Evicted { pending_reassign: BTreeMap::new() };
        let revoking = || MembershipState::Revoking { requested: BTreeSet::new(), unreleased: BTreeSet::new() };
        assert!(evicted().may_become(&MembershipState::Unassigned) && !evicted().may_become(&revoking()));
        assert!(MembershipState::Unassigned.may_become(&evicted()) && !revoking().may_become(&evicted()));
        assert!(evicted().may_become(&MembershipState::Closed));
        assert!(!MembershipState::Closed.may_become(&MembershipState::Assigned));
    }
}
