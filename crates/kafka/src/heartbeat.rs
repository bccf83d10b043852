//! Tells a producer that is at work from one that hangs in a call of librdkafka.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blocking::lock;

/// When a producer last returned from a call. Shared by the thread that runs its transaction and the task that waits.
#[derive(Debug)]
pub(super) struct Heartbeat {
    last_beat: Mutex<Instant>,
    is_abandoned: AtomicBool,
}

impl Heartbeat {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { last_beat: Mutex::new(Instant::now()), is_abandoned: AtomicBool::new(false) })
    }

    /// A call returned, or a transaction begins.
    pub(super) fn beat(&self) {
        *lock(&self.last_beat) = Instant::now();
    }

    /// How long the producer has not returned from a call.
    pub(super) fn silent_for(&self) -> Duration {
        lock(&self.last_beat).elapsed()
    }

    /// Tells the producer that another one replaces it.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// Whether another producer replaces this one: it must not begin anything any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }
}
