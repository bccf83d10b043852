//! The phase of a worker as a whole.

use std::time::Instant;

use super::outcome::WorkerEnd;

/// The phase of a worker. Each partition has a state of its own as well, in the tracker.
#[derive(Debug)]
pub(super) enum WorkerPhase {
    /// Polls, and takes records in. Left for `Draining` on a stop request, when the group is drained, or on a fatal failure
    /// of a record; for `Stopped` on any other fatal failure, a long outage, or too many dead letters.
    Consuming,
    /// Takes nothing in; finishes and commits what runs. Left for `Stopped` on a fatal failure. The loop ends when all
    /// partitions are idle, at the deadline, or while a dependency is down.
    Draining { end: WorkerEnd, deadline: Instant },
    /// The loop ends at its next turn. What is in flight is redelivered to the next owner of its partition.
    Stopped(WorkerEnd),
}

impl WorkerPhase {
    pub(super) fn is_consuming(&self) -> bool {
        matches!(self, Self::Consuming)
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }

    /// Consuming → Draining.
    pub(super) fn drain(&mut self, end: WorkerEnd, deadline: Instant) {
        debug_assert!(self.is_consuming(), "only a worker that consumes begins to drain");
        *self = Self::Draining { end, deadline };
    }

    /// Consuming or Draining → Stopped.
    pub(super) fn stop(&mut self, end: WorkerEnd) {
        debug_assert!(!self.is_stopped(), "the first reason to stop is kept");
        *self = Self::Stopped(end);
    }
}
