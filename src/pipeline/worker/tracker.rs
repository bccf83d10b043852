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
//! An assignment has an epoch, and so has each ticket given out under it: results that come in after the partition was
//! removed or assigned again are recognised as stale.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use mfctl_core::domain::TopicPartition;

/// Names a record in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordTicket {
    /// Its partition.
    pub at: TopicPartition,
    /// The epoch of the assignment it was read under.
    pub epoch: u64,
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

#[derive(Debug)]
enum SlotState<W, D> {
    /// `None` once the work was handed out.
    Waiting(Option<W>),
    Running(Instant),
    Finished(D),
}

#[derive(Debug)]
struct RecordSlot<W, D> {
    offset: i64,
    key: Option<Bytes>,
    bytes: usize,
    state: SlotState<W, D>,
}

impl<W, D> RecordSlot<W, D> {
    fn is_finished(&self) -> bool {
        matches!(self.state, SlotState::Finished(_))
    }
}

/// Whether an assigned partition admits records. A stopped one has no entry in the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionState {
    Consuming,
    Draining,
}

#[derive(Debug)]
struct AssignedPartition<W, D> {
    epoch: u64,
    state: PartitionState,
    /// By offset, from the first that was not taken for a commit.
    slots: VecDeque<RecordSlot<W, D>>,
    /// Bytes held by the slots, and the number of finished ones at their start. Kept up to date with each change: the
    /// loop asks after every event.
    slot_bytes: usize,
    finished_prefix: usize,
    /// Offsets that may run, in order.
    runnable: VecDeque<i64>,
    /// The unfinished offsets of each key; only the first may run.
    keys: HashMap<Bytes, VecDeque<i64>>,
    running: usize,
    committing: usize,
    committing_bytes: usize,
}

impl<W, D> AssignedPartition<W, D> {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            state: PartitionState::Consuming,
            slots: VecDeque::new(),
            slot_bytes: 0,
            finished_prefix: 0,
            runnable: VecDeque::new(),
            keys: HashMap::new(),
            running: 0,
            committing: 0,
            committing_bytes: 0,
        }
    }

    fn is_consuming(&self) -> bool {
        self.state == PartitionState::Consuming
    }

    fn position(&self, offset: i64) -> Option<usize> {
        self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
    }

    fn admit(&mut self, offset: i64, key: Option<Bytes>, bytes: usize, admission: Admission<W, D>) {
        debug_assert!(self.is_consuming(), "a draining partition admits nothing");
        debug_assert!(self.slots.back().is_none_or(|last| last.offset < offset), "offsets are admitted in order");
        let state = match admission {
            Admission::Finished(outcome) => SlotState::Finished(outcome),
            Admission::Run(work) => {
                let is_first = match &key {
                    None => true,
                    Some(key) => {
                        let offsets = self.keys.entry(key.clone()).or_default();
                        offsets.push_back(offset);
                        offsets.len() == 1
                    }
                };
                if is_first {
                    self.runnable.push_back(offset);
                }
                SlotState::Waiting(Some(work))
            }
        };
        self.slots.push_back(RecordSlot { offset, key, bytes, state });
        self.slot_bytes += bytes;
        self.extend_prefix();
    }

    fn next_runnable(&mut self, now: Instant) -> Option<(i64, W)> {
        while let Some(offset) = self.runnable.pop_front() {
            let Some(at) = self.position(offset) else { continue };
            if let SlotState::Waiting(work) = &mut self.slots[at].state
                && let Some(work) = work.take()
            {
                self.slots[at].state = SlotState::Running(now);
                self.running += 1;
                return Some((offset, work));
            }
        }
        None
    }

    fn finish(&mut self, offset: i64, outcome: D, more_bytes: usize) -> bool {
        let Some(at) = self.position(offset) else { return false };
        if !matches!(self.slots[at].state, SlotState::Running(_)) {
            return false;
        }
        self.running -= 1;
        self.slots[at].state = SlotState::Finished(outcome);
        self.slots[at].bytes += more_bytes;
        self.slot_bytes += more_bytes;
        self.extend_prefix();
        if let Some(key) = self.slots[at].key.clone() {
            self.unblock_key(&key);
        }
        true
    }

    /// The first record of a key is finished: the next one may run.
    fn unblock_key(&mut self, key: &Bytes) {
        if let Some(offsets) = self.keys.get_mut(key) {
            offsets.pop_front();
            match offsets.front() {
                Some(next) => self.runnable.push_back(*next),
                None => {
                    self.keys.remove(key);
                }
            }
        }
    }

    /// Drops every record from this position on. Results of those that run are stale.
    fn truncate(&mut self, from: usize) {
        let dropped: Vec<_> = self.slots.drain(from..).collect();
        self.slot_bytes -= dropped.iter().map(|slot| slot.bytes).sum::<usize>();
        self.finished_prefix = self.finished_prefix.min(from);
        self.running -= dropped.iter().filter(|slot| matches!(slot.state, SlotState::Running(_))).count();
        let last_kept = self.slots.back().map_or(i64::MIN, |slot| slot.offset);
        self.runnable.retain(|offset| *offset <= last_kept);
        self.keys.retain(|_, offsets| {
            offsets.retain(|offset| *offset <= last_kept);
            !offsets.is_empty()
        });
    }

    /// Consuming or Draining → Draining. Drops what waits, and all after it: only a contiguous prefix can be committed.
    fn drain(&mut self) {
        self.state = PartitionState::Draining;
        if let Some(first) = self.slots.iter().position(|slot| matches!(slot.state, SlotState::Waiting(_))) {
            self.truncate(first);
        }
    }

    /// Consuming or Draining → Draining, without this record and those after it.
    fn drain_before(&mut self, offset: i64) {
        if let Some(from) = self.position(offset) {
            self.truncate(from);
            self.state = PartitionState::Draining;
        }
    }

    fn extend_prefix(&mut self) {
        while self.slots.get(self.finished_prefix).is_some_and(RecordSlot::is_finished) {
            self.finished_prefix += 1;
        }
    }

    /// Takes the first record for a commit, if it is finished.
    fn take_first_finished(&mut self) -> Option<(i64, D)> {
        let RecordSlot { offset, bytes, state: SlotState::Finished(outcome), .. } =
            self.slots.pop_front_if(|slot| slot.is_finished())?
        else {
            return None;
        };
        debug_assert!(self.finished_prefix > 0, "a finished first record belongs to the prefix");
        self.finished_prefix -= 1;
        self.slot_bytes -= bytes;
        self.committing += 1;
        self.committing_bytes += bytes;
        Some((offset, outcome))
    }

    fn bytes(&self) -> usize {
        self.committing_bytes + self.slot_bytes
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.committing == 0 && self.finished_prefix == 0
    }

    fn is_blocked(&self, now: Instant, slow: Duration, full: usize) -> bool {
        self.slots.len() >= full
            && self.slots.front().is_some_and(
                |slot| matches!(slot.state, SlotState::Running(since) if now.saturating_duration_since(since) >= slow),
            )
    }
}

/// The assigned partitions of one worker, with their records in flight.
#[derive(Debug)]
pub struct RecordTracker<W, D> {
    partitions: BTreeMap<TopicPartition, AssignedPartition<W, D>>,
    last_epoch: u64,
    next_turn: usize,
}

impl<W, D> Default for RecordTracker<W, D> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), last_epoch: 0, next_turn: 0 }
    }
}

impl<W, D> RecordTracker<W, D> {
    /// Starts an assignment in state Consuming, at a new epoch, which is returned. Records of an earlier assignment are
    /// dropped.
    pub fn assign(&mut self, at: TopicPartition) -> u64 {
        self.last_epoch += 1;
        self.partitions.insert(at, AssignedPartition::new(self.last_epoch));
        self.last_epoch
    }

    /// Ends an assignment: the partition is Stopped.
    pub fn remove(&mut self, at: &TopicPartition) {
        self.partitions.remove(at);
    }

    /// Assigns every partition again, and returns each with its epoch: drops all records in flight.
    pub fn reassign_all(&mut self) -> Vec<(TopicPartition, u64)> {
        self.partitions().into_iter().map(|at| (at.clone(), self.assign(at))).collect()
    }

    /// The epoch of a partition that consumes; `None` for one that drains or is not assigned.
    #[must_use]
    pub fn consuming_epoch(&self, at: &TopicPartition) -> Option<u64> {
        self.partitions.get(at).filter(|partition| partition.is_consuming()).map(|partition| partition.epoch)
    }

    /// Whether a ticket is of its partition's current assignment.
    #[must_use]
    pub fn is_current(&self, ticket: &RecordTicket) -> bool {
        self.partitions.get(&ticket.at).is_some_and(|partition| partition.epoch == ticket.epoch)
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

    /// The next record to run: round-robin over the partitions, and in order within each key.
    pub fn next_runnable(&mut self, now: Instant) -> Option<(RecordTicket, W)> {
        let count = self.partitions.len();
        for step in 0..count {
            let turn = (self.next_turn + step) % count;
            if let Some((at, partition)) = self.partitions.iter_mut().nth(turn)
                && let Some((offset, work)) = partition.next_runnable(now)
            {
                self.next_turn = turn + 1;
                return Some((RecordTicket { at: at.clone(), epoch: partition.epoch, offset }, work));
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
                taken.push((RecordTicket { at: at.clone(), epoch: partition.epoch, offset }, outcome));
            }
        }
        taken
    }

    /// Everything taken is committed, and no longer in flight.
    pub fn committed(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.committing = 0;
            partition.committing_bytes = 0;
        }
    }

    /// Records that could be taken for a commit.
    #[must_use]
    pub fn committable(&self) -> usize {
        self.partitions.values().map(|partition| partition.finished_prefix).sum()
    }

    /// Records admitted and not committed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.partitions.values().map(|partition| partition.slots.len() + partition.committing).sum()
    }

    /// Bytes held by the records in flight and their outcomes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.partitions.values().map(AssignedPartition::bytes).sum()
    }

    /// Records that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.partitions.values().map(|partition| partition.running).sum()
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

    /// Partitions whose first record has run for at least `slow` and that hold at least `full` records: to read more of
    /// them would only fill memory.
    #[must_use]
    pub fn blocked(&self, now: Instant, slow: Duration, full: usize) -> Vec<TopicPartition> {
        let blocked = self.partitions.iter().filter(|(_, partition)| partition.is_blocked(now, slow, full));
        blocked.map(|(at, _)| at.clone()).collect()
    }

    fn current(&mut self, ticket: &RecordTicket) -> Option<&mut AssignedPartition<W, D>> {
        self.partitions.get_mut(&ticket.at).filter(|partition| partition.epoch == ticket.epoch)
    }
}

#[cfg(test)]
mod tests;
