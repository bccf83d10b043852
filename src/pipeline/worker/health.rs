//! The readiness of a running worker, shared with the HTTP server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mfctl_core::ports::Dependency;

/// The readiness of a running worker, for `/readyz`. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct WorkerHealth(Arc<HealthFlags>);

#[derive(Debug, Default)]
struct HealthFlags {
    joined: AtomicBool,
    down: Mutex<Option<Dependency>>,
    stopping: AtomicBool,
}

impl WorkerHealth {
    /// Why the worker is not ready; `None` when it is.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.0.stopping) {
            return Some("stopping");
        }
        if !is(&self.0.joined) {
            return Some("not joined yet");
        }
        let down = *self.0.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.map(|dependency| match dependency {
            Dependency::Log => "a dependency is down: the log",
            Dependency::Catalog => "a dependency is down: the catalog",
            Dependency::Objects => "a dependency is down: the object store",
            Dependency::Registry => "a dependency is down: the schema registry",
            Dependency::Search => "a dependency is down: the search index",
            Dependency::Parser => "a dependency is down: the parser",
            Dependency::Scratch => "a dependency is down: the folder for temporary files",
        })
    }

    /// The first poll was answered: the worker is a member of its group.
    pub(super) fn set_joined(&self) {
        self.0.joined.store(true, Ordering::Relaxed);
    }

    /// The dependency that is down, if any.
    pub(super) fn set_down(&self, down: Option<Dependency>) {
        *self.0.down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }

    /// The worker shuts down; it does not become ready again.
    pub(super) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}
