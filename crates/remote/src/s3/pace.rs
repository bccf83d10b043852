//! How many requests are under way at once: fewer at once when the store asks to go slower, slowly more when it does
//! not. Additive increase, multiplicative decrease, as TCP does it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests at once when nothing is amiss.
const MOST: usize = 256;
/// One burst of refusals is one reason to go slower.
const BURST: Duration = Duration::from_secs(1);
/// How long the store must not complain before there is one more.
const STEP: Duration = Duration::from_millis(250);

/// The pace of one store.
#[derive(Debug)]
pub(super) struct Pace {
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Turns to be taken out of circulation as they come back.
    owed: usize,
    slowed_at: Option<Instant>,
    changed_at: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        let state = State { limit: MOST, owed: 0, slowed_at: None, changed_at: None };
        Self { turns: Semaphore::new(MOST), state: Mutex::new(state) }
    }
}

/// The right to have one request under way.
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if state.owed > 0 {
            state.owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

impl Pace {
    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // The semaphore is never closed; without a permit the request would still be right.
        Turn { pace: self, permit: self.turns.acquire().await.ok() }
    }

    /// Halves the number of requests.
    fn slow_down(&self, now: Instant) {
        let mut state = self.state();
        if state.slowed_at.is_some_and(|at| now.duration_since(at) < BURST) {
            return;
        }
        let limit = (state.limit / 2).max(1);
        let fewer = state.limit - limit;
        (state.limit, state.slowed_at, state.changed_at) = (limit, Some(now), Some(now));
        state.owed += fewer - self.turns.forget_permits(fewer);
        tracing::debug!(limit, "the store asks to go slower");
    }

    /// One more request, if it is time.
    fn speed_up(&self, now: Instant) {
        let mut state = self.state();
        if state.limit >= MOST || state.changed_at.is_some_and(|at| now.duration_since(at) < STEP) {
            return;
        }
        state.limit += 1;
        state.changed_at = Some(now);
        if state.owed > 0 {
            state.owed -= 1;
        } else {
            self.turns.add_permits(1);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees every answer, those that the SDK tries again included.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Pace>);

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Pace"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.response().status().as_u16() {
            429 | 503 => self.0.slow_down(Instant::now()),
            _ => self.0.speed_up(Instant::now()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_halves_once_a_burst_and_comes_back_by_ones() {
        let pace = Pace::default();
        let now = Instant::now();
        let held: Vec<_> = futures_util::future::join_all((0..MOST).map(|_| pace.turn())).await;
        pace.slow_down(now);
        pace.slow_down(now);
        // One look: a second while the first is held would wait for itself.
        let seen = |state: std::sync::MutexGuard<'_, State>| (state.limit, state.owed);
        assert_eq!(seen(pace.state()), (MOST / 2, MOST / 2));
        drop(held);
        assert_eq!((pace.turns.available_permits(), pace.state().owed), (MOST / 2, 0));
        for n in 1..=3u32 {
            pace.speed_up(now + STEP * n);
            pace.speed_up(now + STEP * n);
        }
        assert_eq!(pace.turns.available_permits(), MOST / 2 + 3);
        for n in 10..30 {
            pace.slow_down(now + BURST * n);
        }
        assert_eq!((pace.state().limit, pace.turns.available_permits()), (1, 1));
    }
}
