//! The state of one dependency's breaker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::domain::RecordAddress;
use crate::ports::Dependency;
use crate::retry::RetryPolicy;

/// What began an outage, which decides what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageCause {
    /// The canary fails. Ends when it succeeds.
    Canary,
    /// Many records fail in a row, although the canary succeeds. Ends when one succeeds.
    Records,
    /// A call failed that was not made for one record, that found the store or disk full, or whose dependency has no canary.
    /// Ends when a call succeeds.
    Call,
}

/// How an outage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageEnd {
    /// The dependency works again; `last` when no other is down.
    Recovered {
        /// Whether no other outage goes on.
        last: bool,
    },
    /// No call waits for its end any more: whether the dependency works is not known.
    Unwatched,
}

/// A current outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The dependency that is down.
    pub dependency: Dependency,
    /// Time since its first failure.
    pub lasting: Duration,
    /// Latest error.
    pub error: String,
    /// What it was noticed by.
    pub cause: OutageCause,
}

/// An outage of one dependency.
#[derive(Debug)]
pub(super) struct OutageState {
    pub(super) since: Instant,
    pub(super) retry_at: Instant,
    /// Whether a caller is probing the dependency.
    pub(super) probing: bool,
    pub(super) error: String,
    pub(super) cause: OutageCause,
    failures: u32,
}

impl OutageState {
    pub(super) fn new(cause: OutageCause) -> Self {
        let now = Instant::now();
        Self { since: now, retry_at: now, probing: false, error: String::new(), cause, failures: 0 }
    }

    /// Notes another failure; returns the delay before the next attempt. An outage that was noticed by its records alone
    /// takes a graver cause; any other keeps its own.
    pub(super) fn failed(&mut self, cause: OutageCause, error: &str, policy: &RetryPolicy) -> Duration {
        if self.cause == OutageCause::Records {
            self.cause = cause;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = policy.backoff.delay(self.failures);
        self.retry_at = Instant::now() + wait;
        error.clone_into(&mut self.error);
        wait
    }
}

/// What is known of one dependency.
#[derive(Debug, Default)]
pub(super) struct DependencyState {
    /// `None` while the breaker is closed.
    pub(super) outage: Option<OutageState>,
    /// Number of calls that wait for the end of an outage, or are tried again.
    pub(super) waiters: usize,
    /// Records whose latest call failed, since the latest call that was answered.
    pub(super) failing: BTreeSet<RecordAddress>,
    /// Until then many failing records begin no outage.
    pub(super) charging_until: Option<Instant>,
}
