//! The records in flight of one assigned partition.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::Admission;
use mfctl_core::ports::FetchLimits;

/// A partition is read again only when this part of its share is free, so that it is not read record by record.
const MIN_FREE_PART: usize = 8;

#[derive(Debug)]
enum SlotState<W, D> {
    /// `None` once the work was handed out.
    Waiting(Option<W>),
    Running,
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
pub(super) struct AssignedPartition<W, D> {
    pub(super) assignment: u64,
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
    pub(super) fn new(assignment: u64) -> Self {
        Self {
            assignment,
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

    pub(super) fn is_consuming(&self) -> bool {
        self.state == PartitionState::Consuming
    }

    fn position(&self, offset: i64) -> Option<usize> {
        self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
    }

    pub(super) fn admit(&mut self, offset: i64, key: Option<Bytes>, bytes: usize, admission: Admission<W, D>) {
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

    /// The next record to run. While the partition holds `max_bytes` or more, only its first unfinished one, which alone
    /// lets it commit what it holds.
    pub(super) fn next_runnable(&mut self, max_bytes: usize) -> Option<(i64, W)> {
        if self.bytes() >= max_bytes {
            let first = self.slots.get(self.finished_prefix)?.offset;
            let work = self.start(self.finished_prefix)?;
            self.runnable.retain(|offset| *offset != first);
            return Some((first, work));
        }
        while let Some(offset) = self.runnable.pop_front() {
            let Some(at) = self.position(offset) else { continue };
            if let Some(work) = self.start(at) {
                return Some((offset, work));
            }
        }
        None
    }

    /// Waiting → Running. `None`, and no transition, in any other state.
    fn start(&mut self, at: usize) -> Option<W> {
        let SlotState::Waiting(work) = &mut self.slots[at].state else { return None };
        let work = work.take()?;
        self.slots[at].state = SlotState::Running;
        self.running += 1;
        Some(work)
    }

    pub(super) fn finish(&mut self, offset: i64, outcome: D, more_bytes: usize) -> bool {
        let Some(at) = self.position(offset) else { return false };
        if !matches!(self.slots[at].state, SlotState::Running) {
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
        self.running -= dropped.iter().filter(|slot| matches!(slot.state, SlotState::Running)).count();
        let last_kept = self.slots.back().map_or(i64::MIN, |slot| slot.offset);
        self.runnable.retain(|offset| *offset <= last_kept);
        self.keys.retain(|_, offsets| {
            offsets.retain(|offset| *offset <= last_kept);
            !offsets.is_empty()
        });
    }

    /// Consuming or Draining → Draining. Drops what waits, and all after it: only a contiguous prefix can be committed.
    pub(super) fn drain(&mut self) {
        self.state = PartitionState::Draining;
        if let Some(first) = self.slots.iter().position(|slot| matches!(slot.state, SlotState::Waiting(_))) {
            self.truncate(first);
        }
    }

    /// Consuming or Draining → Draining, without this record and those after it.
    pub(super) fn drain_before(&mut self, offset: i64) {
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
    pub(super) fn take_first_finished(&mut self) -> Option<(i64, D)> {
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

    /// What was taken is committed, and no longer in flight.
    pub(super) fn committed(&mut self) {
        self.committing = 0;
        self.committing_bytes = 0;
    }

    /// Records that could be taken for a commit.
    pub(super) fn committable(&self) -> usize {
        self.finished_prefix
    }

    /// Records admitted and not committed.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() + self.committing
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Bytes held by the records in flight and their outcomes.
    pub(super) fn bytes(&self) -> usize {
        self.committing_bytes + self.slot_bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.committing == 0 && self.finished_prefix == 0
    }

    /// What it may be read further; `None` while less than [`MIN_FREE_PART`] of its share is free.
    pub(super) fn room(&self, share: FetchLimits) -> Option<FetchLimits> {
        let max_records = share.max_records.saturating_sub(self.in_flight());
        let max_bytes = share.max_bytes.saturating_sub(self.bytes());
        let has_room = max_records >= share.max_records.div_ceil(MIN_FREE_PART)
            && max_bytes >= share.max_bytes.div_ceil(MIN_FREE_PART);
        has_room.then_some(FetchLimits { max_records, max_bytes })
    }
}
