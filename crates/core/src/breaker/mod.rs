//! The circuit breaker of a worker, which pauses intake during an outage of a dependency.
//!
//! A call that fails is either part of an outage or the failure of its record alone. It is an outage when the dependency's
//! canary fails too, when [`DISTINCT_RECORDS`] records fail in a row, when the call was not made for one record, or when the
//! store or disk is full, or the host has run out of open files, memory or processes. Calls in an outage wait for its end, and
//! nothing is charged to their records. A record that fails alone is tried again while all others go on, and fails for good
//! after [`RecordLimit`].

mod guards;
mod site;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;

pub use site::{CallSite, DependencyFault, RecordLimit};
pub use state::{Outage, OutageCause, OutageEnd};

use crate::domain::RecordAddress;
use crate::ports::{Dependency, Error, ErrorKind, Result};
use crate::retry::RetryPolicy;
use crate::wait;
use guards::{FailingRecord, OutageWaiter, ProbePermit};
use site::RecordFailures;
use state::{DependencyState, OutageState};

/// So many records that fail in a row are an outage, even while the canary succeeds.
const DISTINCT_RECORDS: usize = 16;
/// A canary that began this long before a failure or later tells about it.
const CANARY_VALID: Duration = Duration::from_secs(1);
/// A canary that takes longer has failed.
const CANARY_TIMEOUT: Duration = Duration::from_secs(15);

/// What a breaker needs of the worker around it.
#[async_trait]
pub trait BreakerHost: Send + Sync {
    /// The canary: a cheap call that succeeds exactly while the dependency works for records in general. `None` without one.
    async fn check(&self, dependency: Dependency) -> Option<Result<()>>;

    /// An outage began, noticed by this cause.
    fn opened(&self, dependency: Dependency, cause: OutageCause, error: &str);

    /// An outage ended.
    fn closed(&self, dependency: Dependency, end: OutageEnd);
}

/// The result of a canary: when it began, and its error. `None` inside: the dependency has no canary.
type CanaryResult = Option<(Instant, Option<std::result::Result<(), String>>)>;

/// The circuit breakers of one worker, one per dependency: open during its outage.
///
/// An outage seen by [`Breaker::call`] also ends when its last waiter is dropped: cancelled work, even in the middle of a
/// call, must not leave the breaker open without a caller that could close it.
pub struct Breaker {
    policy: RetryPolicy,
    limit: RecordLimit,
    host: Arc<dyn BreakerHost>,
    state: Mutex<BTreeMap<Dependency, DependencyState>>,
    /// One canary of a dependency runs at a time; the others wait for its result.
    canaries: Mutex<BTreeMap<Dependency, Arc<tokio::sync::Mutex<CanaryResult>>>>,
    changed: Notify,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What a failure of a dependency is part of.
enum Judgement {
    /// An outage of the dependency.
    Outage,
    /// The record's own, as far as is known.
    Record,
}

impl Breaker {
    /// Creates a closed breaker.
    #[must_use]
    pub fn new(policy: RetryPolicy, limit: RecordLimit, host: Arc<dyn BreakerHost>) -> Self {
        Self { policy, limit, host, state: Mutex::default(), canaries: Mutex::default(), changed: Notify::new() }
    }

    /// Whether there is an outage.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().values().any(|state| state.outage.is_some())
    }

    /// Whether there is an outage in which no new record would help: any but one of [`OutageCause::Records`], which the
    /// success of another record ends.
    #[must_use]
    pub fn stops_intake(&self) -> bool {
        let stops = |outage: &OutageState| outage.cause != OutageCause::Records;
        self.state().values().filter_map(|state| state.outage.as_ref()).any(stops)
    }

    /// The longest current outage.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let state = self.state();
        let outages = state.iter().filter_map(|(dependency, state)| Some((*dependency, state.outage.as_ref()?)));
        let (dependency, oldest) = outages.min_by_key(|(_, outage)| outage.since)?;
        let OutageState { since, error, cause, .. } = oldest;
        Some(Outage { dependency, lasting: since.elapsed(), error: error.clone(), cause: *cause })
    }

    /// Retries a call until it succeeds, fails for another reason than a dependency, or has failed alone for as long as
    /// [`RecordLimit`] allows. During an outage of one of the site's dependencies one caller at a time probes it, the others
    /// wait. `failed` is called with each failure of a dependency.
    ///
    /// # Errors
    /// An error of the call that is not a dependency's; a dependency's that only this record has.
    pub async fn call<'a, T, E, F>(
        &'a self,
        site: CallSite<'a>,
        call: impl FnMut() -> F,
        failed: impl FnMut(&E),
    ) -> std::result::Result<T, E>
    where
        E: DependencyFault,
        F: Future<Output = std::result::Result<T, E>>,
    {
        self.call_and_release(site, call, failed, || {}).await
    }

    /// As [`Breaker::call`]. `release` is called each time before the caller waits for the end of an outage, to give up what the
    /// caller that probes may need.
    ///
    /// # Errors
    /// As [`Breaker::call`].
    pub async fn call_and_release<'a, T, E, F>(
        &'a self,
        site: CallSite<'a>,
        mut call: impl FnMut() -> F,
        mut failed: impl FnMut(&E),
        mut release: impl FnMut(),
    ) -> std::result::Result<T, E>
    where
        E: DependencyFault,
        F: Future<Output = std::result::Result<T, E>>,
    {
        let mut waiters: BTreeMap<Dependency, OutageWaiter<'_>> = BTreeMap::new();
        let mut alone: Option<RecordFailures> = None;
        let mut failing: Option<FailingRecord<'a>> = None;
        loop {
            // A call that began before an outage says nothing about its end.
            let mut probe = None;
            if let Some(dependency) = self.outage_to_wait_for(&site, alone.is_some()) {
                waiters.entry(dependency).or_insert_with(|| self.add_waiter(dependency));
                release();
                let Some(permit) = self.acquire_probe(dependency).await else { continue };
                if self.is_ended_by_canary(dependency) {
                    // The records are not charged for an outage.
                    alone = None;
                    self.probe_with_canary(dependency).await;
                    continue;
                }
                probe = Some(permit);
            }
            let started = Instant::now();
            match call().await {
                Err(error) if error.is_dependency() => {
                    failed(&error);
                    let dependency = site.dependency_of(&error);
                    waiters.entry(dependency).or_insert_with(|| self.add_waiter(dependency));
                    let failures = alone.get_or_insert_with(|| RecordFailures::new(started));
                    failures.count += 1;
                    let so_far = *failures;
                    if let Some(record) = site.record {
                        self.note_failing(dependency, record);
                        if failing.as_ref().is_none_or(|failing| failing.dependency != dependency) {
                            failing = Some(FailingRecord { breaker: self, dependency, record });
                        }
                    }
                    let judged = self.judge(dependency, &site, &error).await;
                    drop(probe);
                    match judged {
                        Judgement::Outage if self.cause(dependency) == Some(OutageCause::Records) => {}
                        Judgement::Outage => {
                            alone = None;
                            failing = None;
                        }
                        Judgement::Record if self.limit.is_reached(so_far, error.is_throttled()) => return Err(error),
                        Judgement::Record => wait::pause(self.policy.backoff.delay(so_far.count)).await,
                    }
                }
                answered => {
                    self.answered(&site, probe.as_ref(), started);
                    return answered;
                }
            }
        }
    }

    /// Records a failure of a call made outside of [`Breaker::call`]; returns the delay before the next attempt.
    pub fn failure(&self, dependency: Dependency, error: &impl Display) -> Duration {
        self.open(dependency, OutageCause::Call, error)
    }

    /// Records the success of a call that began at `started`; it ends an outage unless it began before the latest failure.
    pub fn success(&self, dependency: Dependency, started: Instant) {
        self.close_if(dependency, true, |outage| started >= outage.retry_at);
    }

    /// Ends an outage of [`OutageCause::Records`] and charges the records: the canary has succeeded all the time, so that
    /// waiting longer would not help them. No such outage begins before `pause` has passed or a record has succeeded.
    pub fn charge_records(&self, dependency: Dependency, pause: Duration) {
        self.state().entry(dependency).or_default().charging_until = Some(Instant::now() + pause);
        self.close_if(dependency, false, |outage| outage.cause == OutageCause::Records);
    }

    /// The open dependency that a call has to wait for. A record that has not failed yet is tried during an outage of
    /// other records.
    fn outage_to_wait_for(&self, site: &CallSite<'_>, has_failed: bool) -> Option<Dependency> {
        let state = self.state();
        site.uses.iter().copied().find(|dependency| {
            let outage = state.get(dependency).and_then(|state| state.outage.as_ref());
            outage.is_some_and(|outage| has_failed || outage.cause != OutageCause::Records)
        })
    }

    fn cause(&self, dependency: Dependency) -> Option<OutageCause> {
        self.state().get(&dependency)?.outage.as_ref().map(|outage| outage.cause)
    }

    fn is_ended_by_canary(&self, dependency: Dependency) -> bool {
        self.cause(dependency) == Some(OutageCause::Canary)
    }

    /// Decides whether a failure is part of an outage, which it then begins or prolongs.
    async fn judge(&self, dependency: Dependency, site: &CallSite<'_>, error: &impl DependencyFault) -> Judgement {
        let current = self.cause(dependency);
        if site.record.is_none() || error.is_full() || current == Some(OutageCause::Call) {
            self.open(dependency, OutageCause::Call, error);
            return Judgement::Outage;
        }
        match self.canary(dependency).await {
            None => {
                self.open(dependency, OutageCause::Call, error);
                Judgement::Outage
            }
            Some(Err(canary_error)) => {
                self.open(
                    dependency,
                    OutageCause::Canary,
                    &format!("{error}; the check of it failed too: {canary_error}"),
                );
                Judgement::Outage
            }
            Some(Ok(())) if self.many_records_fail(dependency) => {
                self.open(dependency, OutageCause::Records, error);
                Judgement::Outage
            }
            Some(Ok(())) => Judgement::Record,
        }
    }

    fn many_records_fail(&self, dependency: Dependency) -> bool {
        let state = self.state();
        let Some(state) = state.get(&dependency) else { return false };
        let is_charging = state.charging_until.is_some_and(|until| Instant::now() < until);
        !is_charging && (state.outage.is_some() || state.failing.len() >= DISTINCT_RECORDS)
    }

    /// Runs the canary of a dependency, or takes the result of one that ran just now.
    async fn canary(&self, dependency: Dependency) -> Option<std::result::Result<(), String>> {
        let asked = Instant::now();
        let cell = Arc::clone(lock(&self.canaries).entry(dependency).or_default());
        let mut latest = cell.lock().await;
        if let Some((began, result)) = &*latest
            && *began + CANARY_VALID >= asked
        {
            return result.clone();
        }
        let began = Instant::now();
        let checked = tokio::time::timeout(CANARY_TIMEOUT, self.host.check(dependency)).await;
        let result = match checked {
            Err(_) => Some(Err(format!("no answer within {} s", CANARY_TIMEOUT.as_secs()))),
            Ok(None) => None,
            Ok(Some(Err(error))) if is_outage(&error) => Some(Err(error.full())),
            Ok(Some(_)) => Some(Ok(())),
        };
        *latest = Some((began, result.clone()));
        result
    }

    /// Ends an outage that a canary began if it succeeds now.
    async fn probe_with_canary(&self, dependency: Dependency) {
        match self.canary(dependency).await {
            Some(Err(error)) => drop(self.open(dependency, OutageCause::Canary, &error)),
            Some(Ok(())) | None => self.close_if(dependency, true, |outage| outage.cause == OutageCause::Canary),
        }
    }

    /// Begins or prolongs an outage; returns the delay before the next attempt.
    fn open(&self, dependency: Dependency, cause: OutageCause, error: &impl Display) -> Duration {
        let error = error.to_string();
        let mut state = self.state();
        let entry = state.entry(dependency).or_default();
        let begins = entry.outage.is_none();
        let outage = entry.outage.get_or_insert_with(|| OutageState::new(cause));
        let wait = outage.failed(cause, &error, &self.policy);
        drop(state);
        if begins {
            self.host.opened(dependency, cause, &error);
        }
        self.changed.notify_waiters();
        wait
    }

    /// A call had an answer: its dependencies work, for this record at least.
    fn answered(&self, site: &CallSite<'_>, probe: Option<&ProbePermit<'_>>, started: Instant) {
        // As it is until the first failure of the worker.
        if self.state().is_empty() {
            return;
        }
        for dependency in site.uses.iter().copied() {
            if let Some(state) = self.state().get_mut(&dependency) {
                state.failing.clear();
                state.charging_until = None;
            }
            let probed = probe.is_some_and(|probe| probe.dependency == dependency);
            self.close_if(dependency, true, |outage| match outage.cause {
                OutageCause::Records => started >= outage.since,
                OutageCause::Call => probed && started >= outage.retry_at,
                OutageCause::Canary => false,
            });
        }
    }

    fn close_if(&self, dependency: Dependency, recovered: bool, ends: impl FnOnce(&OutageState) -> bool) {
        let mut state = self.state();
        let Some(entry) = state.get_mut(&dependency) else { return };
        if entry.outage.take_if(|outage| ends(outage)).is_some() {
            let last = state.values().all(|state| state.outage.is_none());
            drop(state);
            let end = if recovered { OutageEnd::Recovered { last } } else { OutageEnd::Unwatched };
            self.host.closed(dependency, end);
            self.changed.notify_waiters();
        }
    }

    fn add_waiter(&self, dependency: Dependency) -> OutageWaiter<'_> {
        self.state().entry(dependency).or_default().waiters += 1;
        OutageWaiter { breaker: self, dependency }
    }

    fn note_failing(&self, dependency: Dependency, record: &RecordAddress) {
        self.state().entry(dependency).or_default().failing.insert(record.clone());
    }

    /// Waits for the permit to probe: until the retry delay has passed and no other caller probes. `None`: the outage is
    /// over.
    async fn acquire_probe(&self, dependency: Dependency) -> Option<ProbePermit<'_>> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state();
                let outage = state.get_mut(&dependency)?.outage.as_mut()?;
                let now = Instant::now();
                if now >= outage.retry_at && !outage.probing {
                    outage.probing = true;
                    return Some(ProbePermit { breaker: self, dependency });
                }
                outage.retry_at.saturating_duration_since(now).max(Duration::from_millis(10))
            };
            tokio::select! {
                () = changed => {}
                () = wait::pause(wait) => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<Dependency, DependencyState>> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a canary's error is an outage. A store that throttles answers, and its backend paces the requests; any other
/// error stops the worker when the record's own call meets it, unless the store denies that record's object alone.
fn is_outage(error: &Error) -> bool {
    error.kind().is_dependency() && error.kind() != ErrorKind::Throttled
}
