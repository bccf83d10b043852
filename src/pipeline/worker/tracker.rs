//! The records in flight, per partition: which may run next, and how far the contiguous finished prefix reaches.
//!
//! Pure bookkeeping: no I/O, no async, no clock. `W` is the work that waits to run, `D` what a record was finished with.
//!
//! An assigned partition is in one of two states:
//!
//! - *Consuming*: records are admitted and run. Left for *Draining* when another member asks for the partition, when the
//!   worker shuts down, or when a record fails in a way that stops the worker.
//! - *Draining*: nothing is admitted; what runs is finished and committed. Left by removal, which makes the partition
//!   *Stopped*: it was released, or lost.
//!
//! An assignment has a number, and so has each ticket given out under it: results that come in after the partition was
//! removed or assigned again are recognised as stale.
//!
//! Each partition has an equal share of the worker's window, in records and in bytes, and is read only while it holds less:
//! a record that does not end, or waits for its next attempt, fills the share of its own partition and no more.

mod partition;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::partition::AssignedPartition;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::FetchLimits;

/// Names a record in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordTicket {
    /// Its partition.
    pub at: TopicPartition,
    /// The number of the assignment it was read under.
    pub assignment: u64,
    /// Its offset.
    pub offset: i64,
}

/// How a record enters the tracker.
#[derive(Debug)]
pub enum Admission<W, D> {
    /// With work to run.
    Run(W),
    /// Finished at intake: a dead letter, or a duplicate.
    Finished(D),
}

/// What the next poll may return.
#[derive(Debug, PartialEq, Eq)]
pub struct PollRoom {
    /// The partitions of which it may return nothing.
    pub full: BTreeSet<TopicPartition>,
    /// Upper bounds for each of the others; `None` when there is no other.
    pub of_each: Option<FetchLimits>,
}

/// The assigned partitions of one worker, with their records in flight.
#[derive(Debug)]
pub struct RecordTracker<W, D> {
    partitions: BTreeMap<TopicPartition, AssignedPartition<W, D>>,
    last_assignment: u64,
    next_turn: usize,
}

impl<W, D> Default for RecordTracker<W, D> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), last_assignment: 0, next_turn: 0 }
    }
}

impl<W, D> RecordTracker<W, D> {
    /// Starts an assignment in state Consuming, under a new number, which is returned. Records of an earlier assignment
    /// are dropped.
    pub fn assign(&mut self, at: TopicPartition) -> u64 {
        self.last_assignment += 1;
        self.partitions.insert(at, AssignedPartition::new(self.last_assignment));
        self.last_assignment
    }

    /// Ends an assignment: the partition is Stopped.
    pub fn remove(&mut self, at: &TopicPartition) {
        self.partitions.remove(at);
    }

    /// Assigns every partition again, and returns each with its number: drops all records in flight.
    pub fn reassign_all(&mut self) -> Vec<(TopicPartition, u64)> {
        self.partitions().into_iter().map(|at| (at.clone(), self.assign(at))).collect()
    }

    /// The assignment of a partition that consumes; `None` for one that drains or is not assigned.
    #[must_use]
    pub fn consuming_assignment(&self, at: &TopicPartition) -> Option<u64> {
        self.partitions.get(at).filter(|partition| partition.is_consuming()).map(|partition| partition.assignment)
    }

    /// Whether a ticket is of its partition's current assignment.
    #[must_use]
    pub fn is_current(&self, ticket: &RecordTicket) -> bool {
        self.partitions.get(&ticket.at).is_some_and(|partition| partition.assignment == ticket.assignment)
    }

    /// Admits a record, in the order of the partition. `false`: the ticket is stale, or the partition drains.
    pub fn admit(
        &mut self,
        ticket: &RecordTicket,
        key: Option<Bytes>,
        bytes: usize,
        admission: Admission<W, D>,
    ) -> bool {
        match self.current(ticket).filter(|partition| partition.is_consuming()) {
            Some(partition) => {
                partition.admit(ticket.offset, key, bytes, admission);
                true
            }
            None => false,
        }
    }

    /// The next record to run: round-robin over the partitions, and in order within each key. Of a partition that holds its
    /// share of the window's bytes, only the first unfinished record is run.
    pub fn next_runnable(&mut self, window: FetchLimits) -> Option<(RecordTicket, W)> {
        let count = self.partitions.len();
        let max_bytes = self.share(window).max_bytes;
        for step in 0..count {
            let turn = (self.next_turn + step) % count;
            if let Some((at, partition)) = self.partitions.iter_mut().nth(turn)
                && let Some((offset, work)) = partition.next_runnable(max_bytes)
            {
                self.next_turn = turn + 1;
                return Some((RecordTicket { at: at.clone(), assignment: partition.assignment, offset }, work));
            }
        }
        None
    }

    /// Finishes a running record, whose outcome holds `more_bytes`. `false`: the ticket is stale.
    pub fn finish(&mut self, ticket: &RecordTicket, outcome: D, more_bytes: usize) -> bool {
        self.current(ticket).is_some_and(|partition| partition.finish(ticket.offset, outcome, more_bytes))
    }

    /// Drains the partition up to this record, which must neither run again here nor be skipped.
    pub fn drain_before(&mut self, ticket: &RecordTicket) {
        if let Some(partition) = self.current(ticket) {
            partition.drain_before(ticket.offset);
        }
    }

    /// Drains a partition: it admits nothing more.
    pub fn drain(&mut self, at: &TopicPartition) {
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.drain();
        }
    }

    /// Drains every partition.
    pub fn drain_all(&mut self) {
        self.partitions.values_mut().for_each(AssignedPartition::drain);
    }

    /// Takes contiguous finished prefixes for a commit, at most `max` records, in the order of each partition.
    pub fn take_committable(&mut self, max: usize) -> Vec<(RecordTicket, D)> {
        let mut taken = Vec::new();
        for (at, partition) in &mut self.partitions {
            while taken.len() < max
                && let Some((offset, outcome)) = partition.take_first_finished()
            {
                taken.push((RecordTicket { at: at.clone(), assignment: partition.assignment, offset }, outcome));
            }
        }
        taken
    }

    /// Everything taken is committed, and no longer in flight.
    pub fn committed(&mut self) {
        self.partitions.values_mut().for_each(AssignedPartition::committed);
    }

    /// Records that could be taken for a commit.
    #[must_use]
    pub fn committable(&self) -> usize {
        self.partitions.values().map(AssignedPartition::committable).sum()
    }

    /// Records admitted and not committed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.partitions.values().map(AssignedPartition::in_flight).sum()
    }

    /// Records that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.partitions.values().map(AssignedPartition::running).sum()
    }

    /// Whether nothing of this partition runs, is committed or could be committed; `true` for one that is not assigned.
    #[must_use]
    pub fn is_idle(&self, at: &TopicPartition) -> bool {
        self.partitions.get(at).is_none_or(AssignedPartition::is_idle)
    }

    /// Whether every partition is idle, as [`RecordTracker::is_idle`].
    #[must_use]
    pub fn all_idle(&self) -> bool {
        self.partitions.values().all(AssignedPartition::is_idle)
    }

    /// The assigned partitions, draining ones included.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Whether a poll may return records: some partition has room in its share of the window, or none is assigned yet.
    #[must_use]
    pub fn has_room(&self, window: FetchLimits) -> bool {
        let share = self.share(window);
        self.partitions.is_empty() || self.partitions.values().any(|partition| partition.room(share).is_some())
    }

    /// What the next poll may return. Partitions that are assigned later have all of their share: until the others have
    /// committed what they held before, all together may hold up to twice the window.
    #[must_use]
    pub fn poll_room(&self, window: FetchLimits) -> PollRoom {
        let share = self.share(window);
        let mut full = BTreeSet::new();
        let mut of_each: Option<FetchLimits> = self.partitions.is_empty().then_some(window);
        for (at, partition) in &self.partitions {
            let Some(room) = partition.room(share) else {
                full.insert(at.clone());
                continue;
            };
            let least = of_each.get_or_insert(room);
            least.max_records = least.max_records.min(room.max_records);
            least.max_bytes = least.max_bytes.min(room.max_bytes);
        }
        PollRoom { full, of_each }
    }

    /// An equal share of the window for each assigned partition.
    fn share(&self, window: FetchLimits) -> FetchLimits {
        let partitions = self.partitions.len().max(1);
        FetchLimits {
            max_records: (window.max_records / partitions).max(1),
            max_bytes: (window.max_bytes / partitions).max(1),
        }
    }

    fn current(&mut self, ticket: &RecordTicket) -> Option<&mut AssignedPartition<W, D>> {
        self.partitions.get_mut(&ticket.at).filter(|partition| partition.assignment == ticket.assignment)
    }
}

#[cfg(test)]
mod tests;
