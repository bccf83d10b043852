//! The slots in which steps run. A record that waits for its next attempt, or for the end of an outage, holds none, so that
//! other records use it meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use mfctl_core::wait;

/// How long at most a waiting record overlooks that the number of slots was raised.
const RECHECK: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct SlotCounts {
    taken: usize,
    waiting: usize,
}

/// Counts the slots that are taken, and the records that wait for one. How many there are is up to the callers: it is a
/// setting that may change.
#[derive(Debug, Default)]
pub(super) struct StepSlots {
    counts: Mutex<SlotCounts>,
    freed: Notify,
    given_up: Notify,
}

impl StepSlots {
    /// Slots taken or waited for. A record that was started goes before those that were not.
    pub(super) fn demand(&self) -> usize {
        let counts = self.counts();
        counts.taken + counts.waiting
    }

    /// Takes a slot, for a caller that has looked at [`StepSlots::demand`].
    pub(super) fn take(self: &Arc<Self>) -> StepSlot {
        self.counts().taken += 1;
        StepSlot(Arc::clone(self))
    }

    /// Waits for one of `limit` slots.
    pub(super) async fn acquire(self: &Arc<Self>, limit: impl Fn() -> usize) -> StepSlot {
        let _waiting = Waiting::new(self);
        loop {
            let freed = self.freed.notified();
            {
                let mut counts = self.counts();
                if counts.taken < limit().max(1) {
                    counts.taken += 1;
                    return StepSlot(Arc::clone(self));
                }
            }
            tokio::select! {
                () = freed => {}
                () = wait::pause(RECHECK) => {}
            }
        }
    }

    /// A record gave its slot up before it was done: another may be started.
    pub(super) fn give_up(&self) {
        self.given_up.notify_one();
    }

    /// Waits for [`StepSlots::give_up`].
    pub(super) async fn given_up(&self) {
        self.given_up.notified().await;
    }

    fn counts(&self) -> MutexGuard<'_, SlotCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot, free again when it is dropped.
#[derive(Debug)]
pub(super) struct StepSlot(Arc<StepSlots>);

impl Drop for StepSlot {
    fn drop(&mut self) {
        self.0.counts().taken -= 1;
        self.0.freed.notify_waiters();
    }
}

/// A record that waits for a slot.
struct Waiting<'a>(&'a StepSlots);

impl<'a> Waiting<'a> {
    fn new(slots: &'a StepSlots) -> Self {
        slots.counts().waiting += 1;
        Self(slots)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.counts().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_is_waited_for_and_counted_until_the_wait_is_dropped() {
        let slots = Arc::new(StepSlots::default());
        let first = slots.take();
        let mut second = Box::pin(slots.acquire(|| 1));
        let mut third = Box::pin(slots.acquire(|| 1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert_eq!(slots.demand(), 3);
        drop(third);
        assert_eq!(slots.demand(), 2);
        drop(first);
        let second = second.await;
        assert_eq!(slots.demand(), 1);
        drop(second);
        assert_eq!(slots.demand(), 0);
    }
}
