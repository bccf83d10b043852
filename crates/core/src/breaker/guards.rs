//! What a call holds while it waits or fails; each is undone when the call ends or is cancelled.

use super::Breaker;
use crate::domain::RecordAddress;
use crate::ports::Dependency;

/// The permit to probe a dependency, released on drop.
pub(super) struct ProbePermit<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) dependency: Dependency,
}

impl Drop for ProbePermit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        if let Some(outage) = state.get_mut(&self.dependency).and_then(|state| state.outage.as_mut()) {
            outage.probing = false;
        }
        drop(state);
        self.breaker.changed.notify_waiters();
    }
}

/// A call that waits for the end of an outage. Dropping the last one ends the outage.
pub(super) struct OutageWaiter<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) dependency: Dependency,
}

impl Drop for OutageWaiter<'_> {
    fn drop(&mut self) {
        let left = match self.breaker.state().get_mut(&self.dependency) {
            Some(state) => {
                state.waiters = state.waiters.saturating_sub(1);
                state.waiters
            }
            None => return,
        };
        if left == 0 {
            self.breaker.close_if(self.dependency, false, |_| true);
        }
    }
}

/// A record whose latest call failed; no longer once it is dropped.
pub(super) struct FailingRecord<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) dependency: Dependency,
    pub(super) record: &'a RecordAddress,
}

impl Drop for FailingRecord<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.breaker.state().get_mut(&self.dependency) {
            state.failing.remove(self.record);
        }
    }
}
