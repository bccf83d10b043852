//! When the loop commits, how much at once, and the commit that is under way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::CommitBatch;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::PassedRecords;

/// The adaptive commit size never goes below this many records.
const MIN_RECORDS: usize = 16;
/// Bounds of the time that a finished record waits for others to be committed with. Within them it is the duration of the
/// last commit: a commit costs about the same whatever its size, so that at most half of the time goes into commits.
const MIN_LINGER: Duration = Duration::from_millis(20);
const MAX_LINGER: Duration = Duration::from_millis(500);

/// The commit that is under way. There is one at a time.
#[derive(Debug)]
pub(super) enum CommitState<E> {
    /// None. Left for `Preparing` when a batch is due.
    Idle,
    /// The batch is being finished by a task. Left for `InFlight` when the transaction begins; for `Idle` when the finish
    /// fails, when every record of the batch is stale, or when the transaction does not begin.
    Preparing,
    /// The transaction is under way. Left for `Idle` with its result, whatever it is.
    InFlight(InFlightCommit<E>),
}

/// A transaction that is under way.
#[derive(Debug)]
pub(super) struct InFlightCommit<E> {
    pub(super) batch: CommitBatch<E>,
    pub(super) offsets: BTreeMap<TopicPartition, i64>,
    /// The offsets, with what the catalog needs to complete the claims below them.
    pub(super) passed: Vec<PassedRecords>,
    /// The number of outputs.
    pub(super) emitted: usize,
    /// When the batch was taken from the tracker.
    pub(super) taken_at: Instant,
    /// When the transaction began.
    pub(super) began_at: Instant,
}

/// Decides when a commit is due, adapts its size, and keeps the one under way.
#[derive(Debug)]
pub(super) struct CommitScheduler<E> {
    state: CommitState<E>,
    /// When the records that are finished now are to be committed at the latest.
    due_at: Option<Instant>,
    last_duration: Duration,
    /// The next commit's upper bound: a quarter after a failed commit, which may have been too large to end within the
    /// transaction timeout on this network; twice as many after one that succeeded.
    max_records: usize,
    configured_max_records: usize,
}

impl<E> CommitScheduler<E> {
    pub(super) fn new(configured_max_records: usize) -> Self {
        Self {
            state: CommitState::Idle,
            due_at: None,
            last_duration: Duration::ZERO,
            max_records: configured_max_records,
            configured_max_records,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, CommitState::Idle)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, CommitState::InFlight(_))
    }

    pub(super) fn max_records(&self) -> usize {
        self.max_records
    }

    /// The time by which [`CommitScheduler::is_due`] is to be asked again.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether to commit now: a batch is full, its records have waited long enough, or the loop has nothing else to do.
    pub(super) fn is_due(&mut self, now: Instant, committable: usize, loop_is_idle: bool) -> bool {
        if !self.is_idle() || committable == 0 {
            self.due_at = None;
            return false;
        }
        let linger = self.last_duration.clamp(MIN_LINGER, MAX_LINGER);
        let due_at = *self.due_at.get_or_insert(now + linger);
        if !loop_is_idle && committable < self.max_records && now < due_at {
            return false;
        }
        self.due_at = None;
        true
    }

    /// Idle → Preparing.
    pub(super) fn prepare(&mut self) {
        debug_assert!(self.is_idle(), "one commit at a time");
        self.state = CommitState::Preparing;
    }

    /// Preparing → Idle: there is nothing to commit.
    pub(super) fn cancel(&mut self) {
        debug_assert!(matches!(self.state, CommitState::Preparing), "only a commit that is prepared is cancelled");
        self.state = CommitState::Idle;
    }

    /// Preparing → InFlight.
    pub(super) fn begin(&mut self, commit: InFlightCommit<E>) {
        debug_assert!(matches!(self.state, CommitState::Preparing), "only a prepared batch is committed");
        self.state = CommitState::InFlight(commit);
    }

    /// InFlight → Idle. `None`, and no transition, in any other state.
    pub(super) fn end(&mut self) -> Option<InFlightCommit<E>> {
        match std::mem::replace(&mut self.state, CommitState::Idle) {
            CommitState::InFlight(commit) => Some(commit),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Any state → Idle: the loop starts over.
    pub(super) fn reset(&mut self) {
        self.state = CommitState::Idle;
    }

    /// Notes a commit that succeeded.
    pub(super) fn succeeded(&mut self, duration: Duration) {
        self.last_duration = duration;
        self.max_records = (self.max_records * 2).min(self.configured_max_records);
    }

    /// Notes a commit of which the log refuses a record: the next one is of one record, so that it is known which.
    pub(super) fn refused(&mut self) {
        self.max_records = 1;
    }

    /// Notes a commit that failed: the next one is smaller.
    pub(super) fn failed(&mut self) {
        self.max_records = (self.max_records / 4).max(MIN_RECORDS).min(self.configured_max_records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(now: Instant) -> InFlightCommit<()> {
        let (batch, offsets, passed) = (Vec::new(), BTreeMap::new(), Vec::new());
        InFlightCommit { batch, offsets, passed, emitted: 0, taken_at: now, began_at: now }
    }

    #[test]
    fn a_commit_is_due_when_full_when_lingered_or_when_idle_and_one_at_a_time() {
        let mut commit = CommitScheduler::<()>::new(100);
        let now = Instant::now();
        assert!(!commit.is_due(now, 0, true), "nothing to commit");
        assert!(!commit.is_due(now, 1, false));
        assert_eq!(commit.due_at(), Some(now + MIN_LINGER));
        assert!(commit.is_due(now + MIN_LINGER, 1, false), "lingered");
        assert!(commit.is_due(now, 1, true), "idle");
        assert!(commit.is_due(now, 100, false), "full");
        commit.prepare();
        assert!(!commit.is_due(now, 100, true), "one is prepared");
        commit.begin(in_flight(now));
        assert!(!commit.is_due(now, 100, true), "one is in flight");
        assert!(commit.end().is_some() && commit.end().is_none());
        assert!(commit.is_idle());
    }

    #[test]
    fn a_failed_commit_quarters_the_next_and_a_successful_one_doubles_it_again() {
        let mut commit = CommitScheduler::<()>::new(200);
        let sizes: Vec<usize> = std::iter::repeat_with(|| {
            commit.failed();
            commit.max_records()
        })
        .take(3)
        .collect();
        assert_eq!(sizes, [50, MIN_RECORDS, MIN_RECORDS]);
        (0..5).for_each(|_| commit.succeeded(Duration::ZERO));
        assert_eq!(commit.max_records(), 200);
    }
}
