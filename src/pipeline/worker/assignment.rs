//! The partitions assigned to a worker: their membership, their records in flight, and what waits for intake.

use std::collections::BTreeMap;

use super::fences::{ClaimFences, UnfencedPartition};
use super::intake::IntakeBatch;
use super::intake_queue::IntakeQueue;
use super::membership::GroupMembership;
use super::tracker::{PollRoom, RecordTicket, RecordTracker};
use mfctl_core::domain::TopicPartition;
use mfctl_core::domain::claim::MintedEpoch;
use mfctl_core::ports::FetchLimits;

/// Keeps membership, tracker and intake of the assigned partitions in step.
///
/// A partition is *Consuming* from [`WorkerAssignment::assign`], *Draining* from [`WorkerAssignment::revoke`] or
/// [`WorkerAssignment::drain_all`], and *Stopped* from [`WorkerAssignment::remove`].
pub(super) struct WorkerAssignment<W, D> {
    pub(super) membership: GroupMembership,
    pub(super) tracker: RecordTracker<W, D>,
    pub(super) intake: IntakeQueue,
    pub(super) fences: ClaimFences,
}

impl<W, D> WorkerAssignment<W, D> {
    pub(super) fn new(membership: GroupMembership) -> Self {
        Self {
            membership,
            tracker: RecordTracker::default(),
            intake: IntakeQueue::new(),
            fences: ClaimFences::default(),
        }
    }

    /// Stopped → Consuming, or → Draining when the worker drains.
    pub(super) fn assign(&mut self, partitions: Vec<TopicPartition>, worker_drains: bool) {
        for at in partitions {
            self.membership.forget(&at);
            self.fences.remove(&at);
            let number = self.tracker.assign(at.clone());
            if worker_drains {
                self.tracker.drain(&at);
            }
            self.intake.push_assigned(UnfencedPartition { assignment: assignment(at, number), replaces: None });
        }
    }

    /// Consuming → Draining: another member waits for these partitions.
    pub(super) fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        partitions.iter().for_each(|at| self.tracker.drain(at));
        self.membership.revoke(partitions);
    }

    /// Consuming → Draining, for every partition: the worker drains.
    pub(super) fn drain_all(&mut self) {
        self.tracker.drain_all();
        self.intake.clear_backlog();
    }

    /// Any state → Stopped: the partitions are released or lost.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.tracker.remove(at);
            self.fences.remove(at);
            self.membership.forget(at);
        }
        self.intake.remove(partitions);
    }

    /// The revoked partitions to release now: those with nothing in flight, and those whose deadline has passed.
    pub(super) fn releasable(&self) -> Vec<TopicPartition> {
        self.membership.releasable(|at| self.tracker.is_idle(at))
    }

    /// Pauses the partitions of which the next poll may return nothing: those that hold their share of the window, or all.
    /// Returns upper bounds for each of the others; `None` when there is no other.
    pub(super) fn limit_poll(&mut self, takes_records: bool, window: FetchLimits) -> Option<FetchLimits> {
        let room = match takes_records {
            true => self.tracker.poll_room(window),
            false => PollRoom { full: self.tracker.partitions().into_iter().collect(), of_each: None },
        };
        self.membership.pause_only(room.full);
        room.of_each
    }

    /// The next batch for intake, if there is one. None before a rewind that is pending: until then a commit under the epochs
    /// before may still be applied.
    pub(super) fn start_intake(&mut self, tasks_idle: bool) -> Option<IntakeBatch> {
        if self.membership.is_rewind_pending() {
            return None;
        }
        let Self { membership, tracker, intake, fences } = self;
        intake.start(tasks_idle, membership.generation(), fences, |at| tracker.consuming_assignment(at))
    }

    /// Drops all records in flight, to consume again from the committed offsets, under new claim epochs: what a task still asks
    /// of the catalog is fenced then. `replaces` has the stored epochs that this member may replace. Revoked partitions stay
    /// Draining; so does every other when the worker drains.
    pub(super) fn start_over(&mut self, worker_drains: bool, mut replaces: BTreeMap<TopicPartition, MintedEpoch>) {
        self.membership.rewind_before_poll();
        self.fences.clear();
        let reassigned = self.tracker.reassign_all().into_iter();
        let unfenced = reassigned.map(|(at, number)| UnfencedPartition {
            replaces: replaces.remove(&at),
            assignment: assignment(at, number),
        });
        self.intake.reset(unfenced.collect());
        self.membership.revoking().for_each(|at| self.tracker.drain(at));
        if worker_drains {
            self.tracker.drain_all();
        }
    }

    /// Whether no record is in flight or waits for intake.
    pub(super) fn is_idle(&self) -> bool {
        self.tracker.in_flight() == 0 && self.intake.is_idle()
    }
}

/// Names an assignment of a partition.
fn assignment(at: TopicPartition, number: u64) -> RecordTicket {
    RecordTicket { at, assignment: number, offset: 0 }
}
