//! The circuit breaker of a worker, which stops intake while a dependency is down.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::ports::Error;
use crate::retry::RetryPolicy;
use crate::wait;

/// An error that may be a dependency's fault.
pub trait DependencyFault: Display {
    /// Whether it is.
    fn is_dependency(&self) -> bool;
}

impl DependencyFault for Error {
    fn is_dependency(&self) -> bool {
        self.kind().is_dependency()
    }
}

/// A place that calls dependencies. Each has its own state, so that one that works does not hide one that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallSite {
    /// Polling and settling on the log.
    Log,
    /// Decoding (the registry) and claiming (the catalog).
    Intake,
    /// Running a step.
    Step,
    /// Finishing a batch.
    Finish,
}

/// An outage as a person would be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// How long it has lasted without a break.
    pub lasting: Duration,
    /// The latest error.
    pub error: String,
}

#[derive(Debug)]
struct Broken {
    since: Instant,
    failures: u32,
    retry_at: Instant,
    probing: bool,
    error: String,
}

#[derive(Debug, Default)]
struct State {
    broken: BTreeMap<CallSite, Broken>,
    /// Calls that failed and go on trying.
    waiting: BTreeMap<CallSite, usize>,
}

/// The circuit breaker of one worker: open while any of its places cannot reach its dependency.
///
/// An outage that [`Breaker::call`] met is over too when nobody waits for its end any more: work that is given up, also
/// in the middle of a call, must not leave the breaker open with nobody to close it.
#[derive(Debug)]
pub struct Breaker {
    policy: RetryPolicy,
    state: Mutex<State>,
    changed: Notify,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, state: Mutex::default(), changed: Notify::new() }
    }

    /// Whether a dependency is down.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.state().broken.is_empty()
    }

    /// The longest outage there is, if any.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let state = self.state();
        let oldest = state.broken.values().min_by_key(|broken| broken.since)?;
        Some(Outage { lasting: oldest.since.elapsed(), error: oldest.error.clone() })
    }

    /// Calls until the answer is no dependency's fault. While the place is broken one caller at a time probes it, the
    /// others wait. `failed` hears of each failure.
    ///
    /// # Errors
    /// Whatever the call gives that is not a dependency's fault.
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
        let mut waiting = None;
        loop {
            // A call that begins while the place works proves nothing about an outage that begins meanwhile.
            let broken = self.state().broken.contains_key(&site);
            let mut probe = None;
            if broken {
                waiting.get_or_insert_with(|| self.wait_for(site));
                probe = self.turn(site).await.map(|probe| (probe, Instant::now()));
            }
            match call().await {
                Err(error) if error.is_dependency() => {
                    failed(&error);
                    waiting.get_or_insert_with(|| self.wait_for(site));
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

    /// Notes a failure of a call that is not made through [`Breaker::call`]; answers how long to wait before the next.
    pub fn failure(&self, site: CallSite, error: &impl Display) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        let broken = state.broken.entry(site).or_insert_with(|| Broken {
            since: now,
            failures: 0,
            retry_at: now,
            probing: false,
            error: String::new(),
        });
        broken.failures = broken.failures.saturating_add(1);
        let wait = self.policy.backoff.delay(broken.failures);
        broken.retry_at = now + wait;
        broken.error = error.to_string();
        drop(state);
        self.changed.notify_waiters();
        wait
    }

    /// Notes an answer to a call that began at `started`. One that began before the latest failure proves nothing.
    pub fn success(&self, site: CallSite, started: Instant) {
        let mut state = self.state();
        if state.broken.get(&site).is_some_and(|broken| started >= broken.retry_at) {
            state.broken.remove(&site);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    fn wait_for(&self, site: CallSite) -> Waiting<'_> {
        *self.state().waiting.entry(site).or_default() += 1;
        Waiting { breaker: self, site }
    }

    /// Waits until this place may be called: at once while it works, else when the wait is over and nobody else probes.
    async fn turn(&self, site: CallSite) -> Option<Probe<'_>> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state();
                let broken = state.broken.get_mut(&site)?;
                let now = Instant::now();
                if now >= broken.retry_at && !broken.probing {
                    broken.probing = true;
                    return Some(Probe { breaker: self, site });
                }
                broken.retry_at.saturating_duration_since(now).max(Duration::from_millis(10))
            };
            tokio::select! {
                () = changed => {}
                () = wait::pause(wait) => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to probe, given back when dropped, however the probe ended.
struct Probe<'a> {
    breaker: &'a Breaker,
    site: CallSite,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(broken) = self.breaker.state().broken.get_mut(&self.site) {
            broken.probing = false;
        }
        self.breaker.changed.notify_waiters();
    }
}

/// A call that waits for the end of an outage. The last one that goes takes the outage with it.
struct Waiting<'a> {
    breaker: &'a Breaker,
    site: CallSite,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        let left = state.waiting.get(&self.site).map_or(0, |waiting| waiting.saturating_sub(1));
        state.waiting.insert(self.site, left);
        if left == 0 && state.broken.remove(&self.site).is_some() {
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
    async fn a_dependency_is_called_until_it_answers_and_the_breaker_is_open_meanwhile() {
        let breaker = Breaker::new(quick());
        let (mut calls, mut told) = (0, 0);
        let ping = || {
            calls += 1;
            let (call, open) = (calls, breaker.is_open());
            async move {
                assert_eq!(open, call > 1, "call {call}");
                if call < 7 { Err(Error::new(ErrorKind::Unreachable, "ping")) } else { Ok(call) }
            }
        };
        assert_eq!(breaker.call(CallSite::Step, ping, |_| told += 1).await.unwrap(), 7);
        assert_eq!(told, 6);
        assert!(!breaker.is_open());
    }

    #[tokio::test]
    async fn an_outage_is_forgotten_with_the_last_work_that_waits_for_its_end() {
        let breaker = Breaker::new(RetryPolicy { backoff: Backoff::constant(Duration::from_secs(3600)), ..quick() });
        let call = || {
            let down = || async { Err::<(), _>(Error::new(ErrorKind::Full, "write")) };
            Box::pin(breaker.call(CallSite::Step, down, |_| ()))
        };
        let (mut one, mut other) = (call(), call());
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut other).is_pending());
        breaker.failure(CallSite::Log, &"refused");
        drop(one);
        assert_eq!(breaker.outage().unwrap().error, Error::new(ErrorKind::Full, "write").to_string());
        drop(other);
        assert_eq!(breaker.outage().unwrap().error, "refused", "the log's is its own");
    }

    #[tokio::test]
    async fn an_answer_from_before_the_outage_does_not_end_it_nor_does_another_places() {
        let breaker = Breaker::new(quick());
        let before = Instant::now();
        breaker.failure(CallSite::Step, &"refused");
        breaker.success(CallSite::Step, before);
        breaker.success(CallSite::Intake, Instant::now());
        assert_eq!(breaker.outage().unwrap().error, "refused");
    }
}
