//! The readiness of a running worker, shared with the HTTP server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The readiness of a running worker, for `/readyz`. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct WorkerHealth(Arc<HealthFlags>);

#[derive(Debug, Default)]
struct HealthFlags {
    joined: AtomicBool,
    breaker_open: AtomicBool,
    stopping: AtomicBool,
}

impl WorkerHealth {
    /// Why the worker is not ready; `None` when it is.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.0.stopping) {
            Some("stopping")
        } else if !is(&self.0.joined) {
            Some("not joined yet")
        } else if is(&self.0.breaker_open) {
            Some("a dependency is down")
        } else {
            None
        }
    }

    /// The first poll was answered: the worker is a member of its group.
    pub(super) fn set_joined(&self) {
        self.0.joined.store(true, Ordering::Relaxed);
    }

    /// A dependency went down or recovered.
    pub(super) fn set_breaker_open(&self, open: bool) {
        self.0.breaker_open.store(open, Ordering::Relaxed);
    }

    /// The worker shuts down; it does not become ready again.
    pub(super) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}
