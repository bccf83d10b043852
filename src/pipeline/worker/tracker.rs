//! What is in flight, per partition: which record may run next, and how far the contiguous settled prefix reaches.
//!
//! Pure bookkeeping: no I/O, no async, no clock. `W` is work that waits to run, `D` what came of it.
//!
//! A *lane* is a partition from its assignment to its end. Work handed out before that end carries the lane's epoch, so
//! that what comes back too late is told from what belongs here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use mfctl_core::domain::TopicPartition;

/// A record in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Its partition.
    pub at: TopicPartition,
    /// The lane it belongs to.
    pub epoch: u64,
    /// Its offset.
    pub offset: i64,
}

/// What a record brings with it.
#[derive(Debug)]
pub enum Entry<W, D> {
    /// It has to run.
    Run(W),
    /// It is decided already: poison, or a duplicate.
    Decided(D),
}

#[derive(Debug)]
enum State<W, D> {
    Waiting(Option<W>),
    Running(Instant),
    Done(D),
}

#[derive(Debug)]
struct Slot<W, D> {
    offset: i64,
    key: Option<Bytes>,
    bytes: usize,
    state: State<W, D>,
}

#[derive(Debug)]
struct Lane<W, D> {
    epoch: u64,
    draining: bool,
    /// By offset, from the first that is not taken for settling.
    slots: VecDeque<Slot<W, D>>,
    /// What they hold, and how many of the first ones are done: counted along, for the loop asks after every event.
    slot_bytes: usize,
    prefix: usize,
    /// Offsets that may run, in order.
    ready: VecDeque<i64>,
    /// The offsets of each key that are not done; the first may run.
    keys: HashMap<Bytes, VecDeque<i64>>,
    running: usize,
    settling: usize,
    settling_bytes: usize,
}

impl<W, D> Slot<W, D> {
    fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }
}

impl<W, D> Lane<W, D> {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            draining: false,
            slots: VecDeque::new(),
            slot_bytes: 0,
            prefix: 0,
            ready: VecDeque::new(),
            keys: HashMap::new(),
            running: 0,
            settling: 0,
            settling_bytes: 0,
        }
    }

    fn find(&self, offset: i64) -> Option<usize> {
        self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
    }

    fn admit(&mut self, offset: i64, key: Option<Bytes>, bytes: usize, entry: Entry<W, D>) {
        let state = match entry {
            Entry::Decided(done) => State::Done(done),
            Entry::Run(work) => {
                let first = match &key {
                    None => true,
                    Some(key) => {
                        let line = self.keys.entry(key.clone()).or_default();
                        line.push_back(offset);
                        line.len() == 1
                    }
                };
                if first {
                    self.ready.push_back(offset);
                }
                State::Waiting(Some(work))
            }
        };
        self.slots.push_back(Slot { offset, key, bytes, state });
        self.slot_bytes += bytes;
        self.advance();
    }

    fn next(&mut self, now: Instant) -> Option<(i64, W)> {
        while let Some(offset) = self.ready.pop_front() {
            let Some(at) = self.find(offset) else { continue };
            if let State::Waiting(work) = &mut self.slots[at].state
                && let Some(work) = work.take()
            {
                self.slots[at].state = State::Running(now);
                self.running += 1;
                return Some((offset, work));
            }
        }
        None
    }

    fn finish(&mut self, offset: i64, done: D, more_bytes: usize) -> bool {
        let Some(at) = self.find(offset) else { return false };
        if !matches!(self.slots[at].state, State::Running(_)) {
            return false;
        }
        self.running -= 1;
        self.slots[at].state = State::Done(done);
        self.slots[at].bytes += more_bytes;
        self.slot_bytes += more_bytes;
        self.advance();
        if let Some(key) = self.slots[at].key.clone() {
            self.unblock(&key);
        }
        true
    }

    /// Lets the next record of a key run.
    fn unblock(&mut self, key: &Bytes) {
        if let Some(line) = self.keys.get_mut(key) {
            line.pop_front();
            match line.front() {
                Some(next) => self.ready.push_back(*next),
                None => {
                    self.keys.remove(key);
                }
            }
        }
    }

    /// Forgets every record from this place on. What of it runs comes back too late.
    fn cut(&mut self, from: usize) {
        let cut: Vec<_> = self.slots.drain(from..).collect();
        self.slot_bytes -= cut.iter().map(|slot| slot.bytes).sum::<usize>();
        self.prefix = self.prefix.min(from);
        self.running -= cut.iter().filter(|slot| matches!(slot.state, State::Running(_))).count();
        let kept = self.slots.back().map_or(i64::MIN, |slot| slot.offset);
        self.ready.retain(|offset| *offset <= kept);
        self.keys.retain(|_, line| {
            line.retain(|offset| *offset <= kept);
            !line.is_empty()
        });
    }

    /// Takes in no more, and forgets what waits: nothing behind the first that waits can settle.
    fn drain(&mut self) {
        self.draining = true;
        if let Some(first) = self.slots.iter().position(|slot| matches!(slot.state, State::Waiting(_))) {
            self.cut(first);
        }
    }

    /// Lets the prefix reach as far as it can.
    fn advance(&mut self) {
        while self.slots.get(self.prefix).is_some_and(Slot::is_done) {
            self.prefix += 1;
        }
    }

    /// Takes the first record, if it is done.
    fn take_first(&mut self) -> Option<(i64, D)> {
        let Slot { offset, bytes, state: State::Done(done), .. } = self.slots.pop_front_if(|slot| slot.is_done())?
        else {
            return None;
        };
        self.prefix -= 1;
        self.slot_bytes -= bytes;
        self.settling += 1;
        self.settling_bytes += bytes;
        Some((offset, done))
    }

    fn bytes(&self) -> usize {
        self.settling_bytes + self.slot_bytes
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.settling == 0 && self.prefix == 0
    }
}

/// The lanes of one worker.
#[derive(Debug)]
pub struct Tracker<W, D> {
    lanes: BTreeMap<TopicPartition, Lane<W, D>>,
    epochs: u64,
    turn: usize,
}

impl<W, D> Default for Tracker<W, D> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), epochs: 0, turn: 0 }
    }
}

impl<W, D> Tracker<W, D> {
    /// Begins a lane; one that was there ends, with all that is in it.
    pub fn open(&mut self, at: TopicPartition) {
        self.epochs += 1;
        self.lanes.insert(at, Lane::new(self.epochs));
    }

    /// Ends a lane.
    pub fn close(&mut self, at: &TopicPartition) {
        self.lanes.remove(at);
    }

    /// Ends every lane and begins it anew, empty.
    pub fn reopen_all(&mut self) {
        let all: Vec<_> = self.lanes.keys().cloned().collect();
        all.into_iter().for_each(|at| self.open(at));
    }

    /// The epoch of a lane that takes records in; `None` if there is none or it drains.
    #[must_use]
    pub fn open_epoch(&self, at: &TopicPartition) -> Option<u64> {
        self.lanes.get(at).filter(|lane| !lane.draining).map(|lane| lane.epoch)
    }

    /// Whether a ticket's lane is still the one it was handed out for.
    #[must_use]
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        self.lanes.get(&ticket.at).is_some_and(|lane| lane.epoch == ticket.epoch)
    }

    /// Takes a record in, in the order of the partition. Answers whether its lane is open.
    pub fn admit(&mut self, ticket: &Ticket, key: Option<Bytes>, bytes: usize, entry: Entry<W, D>) -> bool {
        match self.current(ticket).filter(|lane| !lane.draining) {
            Some(lane) => {
                lane.admit(ticket.offset, key, bytes, entry);
                true
            }
            None => false,
        }
    }

    /// The next record that may run: partitions take turns; within a key one after another.
    pub fn next(&mut self, now: Instant) -> Option<(Ticket, W)> {
        let lanes = self.lanes.len();
        for step in 0..lanes {
            let turn = (self.turn + step) % lanes;
            if let Some((at, lane)) = self.lanes.iter_mut().nth(turn)
                && let Some((offset, work)) = lane.next(now)
            {
                self.turn = turn + 1;
                return Some((Ticket { at: at.clone(), epoch: lane.epoch, offset }, work));
            }
        }
        None
    }

    /// Notes what came of a record, which now holds so many bytes more. Answers whether it came in time.
    pub fn finish(&mut self, ticket: &Ticket, done: D, more_bytes: usize) -> bool {
        self.current(ticket).is_some_and(|lane| lane.finish(ticket.offset, done, more_bytes))
    }

    /// A record that must neither run again here nor be passed: its lane drains up to it.
    pub fn abandon(&mut self, ticket: &Ticket) {
        if let Some(lane) = self.current(ticket)
            && let Some(from) = lane.find(ticket.offset)
        {
            lane.cut(from);
            lane.draining = true;
        }
    }

    /// Lets a lane take in no more.
    pub fn drain(&mut self, at: &TopicPartition) {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.drain();
        }
    }

    /// Lets every lane take in no more.
    pub fn drain_all(&mut self) {
        self.lanes.values_mut().for_each(Lane::drain);
    }

    /// Takes contiguous settled prefixes, at most `max` records, in the order of each partition.
    pub fn take_settled(&mut self, max: usize) -> Vec<(Ticket, D)> {
        let mut taken = Vec::new();
        for (at, lane) in &mut self.lanes {
            while taken.len() < max
                && let Some((offset, done)) = lane.take_first()
            {
                taken.push((Ticket { at: at.clone(), epoch: lane.epoch, offset }, done));
            }
        }
        taken
    }

    /// Everything taken for settling is settled.
    pub fn settled(&mut self) {
        for lane in self.lanes.values_mut() {
            (lane.settling, lane.settling_bytes) = (0, 0);
        }
    }

    /// Records that could be taken for settling now.
    #[must_use]
    pub fn settleable(&self) -> usize {
        self.lanes.values().map(|lane| lane.prefix).sum()
    }

    /// Records read and not settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.slots.len() + lane.settling).sum()
    }

    /// What they hold, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Records that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.lanes.values().map(|lane| lane.running).sum()
    }

    /// Whether nothing of this lane runs or could settle; true for one that is not there.
    #[must_use]
    pub fn is_idle(&self, at: &TopicPartition) -> bool {
        self.lanes.get(at).is_none_or(Lane::is_idle)
    }

    /// Whether that holds for every lane.
    #[must_use]
    pub fn all_idle(&self) -> bool {
        self.lanes.values().all(Lane::is_idle)
    }

    /// The lanes, draining ones included.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.lanes.keys().cloned().collect()
    }

    /// Lanes whose first record has run for at least `slow` and that hold at least `full` records behind it: reading
    /// more of them would only fill memory.
    #[must_use]
    pub fn held_up(&self, now: Instant, slow: Duration, full: usize) -> Vec<TopicPartition> {
        let held = |lane: &Lane<W, D>| {
            lane.slots.len() >= full
                && lane.slots.front().is_some_and(
                    |slot| matches!(slot.state, State::Running(since) if now.saturating_duration_since(since) >= slow),
                )
        };
        self.lanes.iter().filter(|(_, lane)| held(lane)).map(|(at, _)| at.clone()).collect()
    }

    fn current(&mut self, ticket: &Ticket) -> Option<&mut Lane<W, D>> {
        self.lanes.get_mut(&ticket.at).filter(|lane| lane.epoch == ticket.epoch)
    }
}

#[cfg(test)]
mod tests;
