//! The readiness of a running worker, shared with the HTTP server and with the reports of its pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use mfctl_core::breaker::{Outage, OutageCause};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::Dependency;

/// Why a worker pauses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPause {
    /// The dependency that is down.
    pub dependency: Dependency,
    /// Its error.
    pub reason: String,
    /// When it failed first.
    pub since: Timestamp,
}

impl WorkerPause {
    /// The pause in an outage; `now` is the worker's time.
    pub(super) fn new(outage: Outage, now: Timestamp) -> Self {
        let Outage { dependency, lasting, error, cause } = outage;
        let reason = match cause {
            OutageCause::Records => format!("it fails for many records, new ones are tried one at a time: {error}"),
            OutageCause::Canary | OutageCause::Call => error,
        };
        Self { dependency, reason, since: now.checked_sub(lasting).unwrap_or(now) }
    }
}

/// The readiness of a running worker, for `/readyz`. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct WorkerHealth(Arc<HealthFlags>);

#[derive(Debug, Default)]
struct HealthFlags {
    joined: AtomicBool,
    pause: watch::Sender<Option<WorkerPause>>,
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
        let down = self.0.pause.borrow().as_ref().map(|pause| pause.dependency);
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

    /// Subscribes to the pauses of the worker; `None` while it does not pause.
    #[must_use]
    pub fn pauses(&self) -> watch::Receiver<Option<WorkerPause>> {
        self.0.pause.subscribe()
    }

    /// The pause, if any. One of the same dependency goes on.
    pub(super) fn set_pause(&self, pause: Option<WorkerPause>) {
        let dependency = |pause: &Option<WorkerPause>| pause.as_ref().map(|pause| pause.dependency);
        self.0.pause.send_if_modified(|current| {
            let is_changed = dependency(current) != dependency(&pause);
            if is_changed {
                *current = pause;
            }
            is_changed
        });
    }

    /// The worker shuts down; it does not become ready again.
    pub(super) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}
