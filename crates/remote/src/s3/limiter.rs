//! Limits how many requests are in flight. When the store throttles, the limit is halved; while it does not, the limit grows by
//! one at a time (additive increase, multiplicative decrease, as in TCP).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests in flight while the store does not throttle.
const MAX_IN_FLIGHT: usize = 256;
/// Throttling responses within this time of a decrease belong to the same burst, and do not decrease the limit again.
const DECREASE_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two increases.
const INCREASE_INTERVAL: Duration = Duration::from_millis(250);

/// The limit of requests in flight to one store.
#[derive(Debug)]
pub(super) struct RequestLimiter {
    permits: Semaphore,
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    limit: usize,
    /// Permits that are in use above the limit; they are removed when they are released.
    excess: usize,
    decreased_at: Option<Instant>,
    changed_at: Option<Instant>,
}

impl Default for RequestLimiter {
    fn default() -> Self {
        let state = LimiterState { limit: MAX_IN_FLIGHT, excess: 0, decreased_at: None, changed_at: None };
        Self { permits: Semaphore::new(MAX_IN_FLIGHT), state: Mutex::new(state) }
    }
}

/// The right to have one request in flight.
pub(super) struct RequestPermit<'a> {
    limiter: &'a RequestLimiter,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        if state.excess > 0 {
            state.excess -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

impl RequestLimiter {
    /// Waits until another request may be sent.
    pub(super) async fn acquire(&self) -> RequestPermit<'_> {
        // The semaphore is never closed; without a permit the request could still be sent.
        RequestPermit { limiter: self, permit: self.permits.acquire().await.ok() }
    }

    /// Halves the limit, once per burst of throttling.
    fn decrease(&self, now: Instant) {
        let mut state = self.state();
        if state.decreased_at.is_some_and(|at| now.duration_since(at) < DECREASE_INTERVAL) {
            return;
        }
        let limit = (state.limit / 2).max(1);
        let removed = state.limit - limit;
        state.limit = limit;
        state.decreased_at = Some(now);
        state.changed_at = Some(now);
        state.excess += removed - self.permits.forget_permits(removed);
        tracing::debug!(limit, "the store throttles: fewer requests in flight");
    }

    /// Raises the limit by one, if the last change is long enough ago.
    fn increase(&self, now: Instant) {
        let mut state = self.state();
        let is_recent = state.changed_at.is_some_and(|at| now.duration_since(at) < INCREASE_INTERVAL);
        if state.limit >= MAX_IN_FLIGHT || is_recent {
            return;
        }
        state.limit += 1;
        state.changed_at = Some(now);
        if state.excess > 0 {
            state.excess -= 1;
        } else {
            self.permits.add_permits(1);
        }
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds every response to the limiter, also those that the SDK retries.
#[derive(Debug)]
pub(super) struct ThrottleInterceptor(pub(super) Arc<RequestLimiter>);

impl Intercept for ThrottleInterceptor {
    fn name(&self) -> &'static str {
        "ThrottleInterceptor"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.response().status().as_u16() {
            429 | 503 => self.0.decrease(Instant::now()),
            _ => self.0.increase(Instant::now()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limit_halves_once_per_burst_and_grows_by_one() {
        let limiter = RequestLimiter::default();
        let now = Instant::now();
        let held: Vec<_> = futures_util::future::join_all((0..MAX_IN_FLIGHT).map(|_| limiter.acquire())).await;
        limiter.decrease(now);
        limiter.decrease(now);
        // One lock for both values: locking again while the first guard lives would deadlock.
        let values = |state: MutexGuard<'_, LimiterState>| (state.limit, state.excess);
        assert_eq!(values(limiter.state()), (MAX_IN_FLIGHT / 2, MAX_IN_FLIGHT / 2));
        drop(held);
        assert_eq!((limiter.permits.available_permits(), limiter.state().excess), (MAX_IN_FLIGHT / 2, 0));
        for n in 1..=3u32 {
            limiter.increase(now + INCREASE_INTERVAL * n);
            limiter.increase(now + INCREASE_INTERVAL * n);
        }
        assert_eq!(limiter.permits.available_permits(), MAX_IN_FLIGHT / 2 + 3);
        for n in 10..30 {
            limiter.decrease(now + DECREASE_INTERVAL * n);
        }
        assert_eq!((limiter.state().limit, limiter.permits.available_permits()), (1, 1));
    }
}
