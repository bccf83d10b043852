//! The circuit breaker of a worker, which pauses intake during an outage of a dependency.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::ports::Error;
use crate::retry::RetryPolicy;
use crate::wait;

/// An error that may be the failure of a dependency.
pub trait DependencyFault: Display {
    /// Whether a dependency failed, as [`crate::ports::ErrorKind::is_dependency`].
    fn is_dependency(&self) -> bool;
}

impl DependencyFault for Error {
    fn is_dependency(&self) -> bool {
        self.kind().is_dependency()
    }
}

/// A call site of dependencies. Each has its own state, so that a healthy one does not hide an outage of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallSite {
    /// Polls and commits on the log.
    Log,
    /// Decoding (registry) and claiming (catalog).
    Intake,
    /// The step of a record.
    Step,
    /// The end of a batch: catalog writes before its commit.
    Finish,
}

/// A current outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Time since its first failure.
    pub lasting: Duration,
    /// Latest error.
    pub error: String,
}

/// Outage at one call site.
#[derive(Debug)]
struct OutageState {
    since: Instant,
    failures: u32,
    retry_at: Instant,
    /// Whether a caller is probing the dependency.
    probing: bool,
    error: String,
}

#[derive(Debug, Default)]
struct BreakerState {
    /// Call sites with an outage.
    outages: BTreeMap<CallSite, OutageState>,
    /// Number of calls per site that wait for the end of an outage.
    waiters: BTreeMap<CallSite, usize>,
}

/// The circuit breaker of one worker: open while any of its call sites has an outage.
///
/// An outage seen by [`Breaker::call`] also ends when its last waiter is dropped: cancelled work, even in the middle of a
/// call, must not leave the breaker open without a caller that could close it.
#[derive(Debug)]
pub struct Breaker {
    policy: RetryPolicy,
    state: Mutex<BreakerState>,
    changed: Notify,
}

impl Breaker {
    /// Creates a closed breaker.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, state: Mutex::default(), changed: Notify::new() }
    }

    /// Whether there is an outage.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.state().outages.is_empty()
    }

    /// The longest current outage.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let state = self.state();
        let oldest = state.outages.values().min_by_key(|outage| outage.since)?;
        Some(Outage { lasting: oldest.since.elapsed(), error: oldest.error.clone() })
    }

    /// Retries a call until it succeeds or fails for another reason than its dependency. During an outage one caller at a
    /// time probes the dependency, the others wait. `failed` is called with each failure of the dependency.
    ///
    /// # Errors
    /// An error of the call that is not a dependency's.
    pub async fn call<T, E, F>(
        &self,
        site: CallSite,
        mut call: impl FnMut() -> F,
        mut failed: impl FnMut(&E),
    ) -> Result<T, E>
    where
        E: DependencyFault,
        F: Future<Output = Result<T, E>>,
    {
        let mut waiter = None;
        loop {
            // A call that began before an outage says nothing about its end.
            let outage = self.state().outages.contains_key(&site);
            let mut probe = None;
            if outage {
                waiter.get_or_insert_with(|| self.add_waiter(site));
                probe = self.acquire_probe(site).await.map(|probe| (probe, Instant::now()));
            }
            match call().await {
                Err(error) if error.is_dependency() => {
                    failed(&error);
                    waiter.get_or_insert_with(|| self.add_waiter(site));
                    self.failure(site, &error);
                }
                answered => {
                    if let Some((_probe, started)) = probe {
                        self.success(site, started);
                    }
                    return answered;
                }
            }
        }
    }

    /// Records a failure of a call made outside of [`Breaker::call`]; returns the delay before the next attempt.
    pub fn failure(&self, site: CallSite, error: &impl Display) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        let outage = state.outages.entry(site).or_insert_with(|| OutageState {
            since: now,
            failures: 0,
            retry_at: now,
            probing: false,
            error: String::new(),
        });
        outage.failures = outage.failures.saturating_add(1);
        let wait = self.policy.backoff.delay(outage.failures);
        outage.retry_at = now + wait;
        outage.error = error.to_string();
        drop(state);
        self.changed.notify_waiters();
        wait
    }

    /// Records the success of a call that began at `started`; it ends an outage unless it began before the latest failure.
    pub fn success(&self, site: CallSite, started: Instant) {
        let mut state = self.state();
        if state.outages.get(&site).is_some_and(|outage| started >= outage.retry_at) {
            state.outages.remove(&site);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    fn add_waiter(&self, site: CallSite) -> OutageWaiter<'_> {
        *self.state().waiters.entry(site).or_default() += 1;
        OutageWaiter { breaker: self, site }
    }

    /// Waits for the permit to probe: until the retry delay has passed and no other caller probes. `None`: the outage is
    /// over.
    async fn acquire_probe(&self, site: CallSite) -> Option<ProbePermit<'_>> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state();
                let outage = state.outages.get_mut(&site)?;
                let now = Instant::now();
                if now >= outage.retry_at && !outage.probing {
                    outage.probing = true;
                    return Some(ProbePermit { breaker: self, site });
                }
                outage.retry_at.saturating_duration_since(now).max(Duration::from_millis(10))
            };
            tokio::select! {
                () = changed => {}
                () = wait::pause(wait) => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permit to probe a dependency, released on drop.
struct ProbePermit<'a> {
    breaker: &'a Breaker,
    site: CallSite,
}

impl Drop for ProbePermit<'_> {
    fn drop(&mut self) {
        if let Some(outage) = self.breaker.state().outages.get_mut(&self.site) {
            outage.probing = false;
        }
        self.breaker.changed.notify_waiters();
    }
}

/// A call that waits for the end of an outage. Dropping the last one ends the outage.
struct OutageWaiter<'a> {
    breaker: &'a Breaker,
    site: CallSite,
}

impl Drop for OutageWaiter<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        let left = state.waiters.get(&self.site).map_or(0, |waiters| waiters.saturating_sub(1));
        state.waiters.insert(self.site, left);
        if left == 0 && state.outages.remove(&self.site).is_some() {
            drop(state);
            self.breaker.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ErrorKind;
    use crate::wait::Backoff;

    fn quick() -> RetryPolicy {
        RetryPolicy { attempts: 5, backoff: Backoff::exponential(Duration::from_millis(1), Duration::from_millis(4)) }
    }

    #[tokio::test]
    async fn the_breaker_is_open_until_the_dependency_recovers() {
        let breaker = Breaker::new(quick());
        let mut calls = 0;
        let mut failures = 0;
        let ping = || {
            calls += 1;
            let call = calls;
            let open = breaker.is_open();
            async move {
                assert_eq!(open, call > 1, "call {call}");
                if call < 7 { Err(Error::new(ErrorKind::Unreachable, "ping")) } else { Ok(call) }
            }
        };
        assert_eq!(breaker.call(CallSite::Step, ping, |_| failures += 1).await.unwrap(), 7);
        assert_eq!(failures, 6);
        assert!(!breaker.is_open());
    }

    #[tokio::test]
    async fn an_outage_ends_when_its_last_waiter_is_dropped() {
        let breaker = Breaker::new(RetryPolicy { backoff: Backoff::constant(Duration::from_secs(3600)), ..quick() });
        let call = || {
            let down = || async { Err::<(), _>(Error::new(ErrorKind::Full, "write")) };
            Box::pin(breaker.call(CallSite::Step, down, |_| ()))
        };
        let mut one = call();
        let mut other = call();
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut other).is_pending());
        breaker.failure(CallSite::Log, &"refused");
        drop(one);
        assert_eq!(breaker.outage().unwrap().error, Error::new(ErrorKind::Full, "write").to_string());
        drop(other);
        assert_eq!(breaker.outage().unwrap().error, "refused", "the log's is its own");
    }

    #[tokio::test]
    async fn only_a_later_success_of_the_same_site_ends_an_outage() {
        let breaker = Breaker::new(quick());
        let before = Instant::now();
        breaker.failure(CallSite::Step, &"refused");
        breaker.success(CallSite::Step, before);
        breaker.success(CallSite::Intake, Instant::now());
        assert_eq!(breaker.outage().unwrap().error, "refused");
    }
}
