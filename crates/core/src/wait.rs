//! The one way to wait for a condition: probe, back off, probe again, until it holds or a deadline passes.
//!
//! Nothing else sleeps in a loop. Waits do not stack: a function that waits and is called from one that waits takes the
//! caller's deadline.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long to wait between two probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// The same delay each time.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self { first: delay, longest: delay }
    }

    /// A delay that doubles from `first` up to `longest`, with up to half of it taken away at random, so that many clients
    /// do not return at the same moment.
    #[must_use]
    pub const fn exponential(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The delay after this many failures in a row, counted from 1.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        if self.first == self.longest {
            return self.first;
        }
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(1.0 - fastrand::f64() / 2.0)
    }
}

/// The attempts of one wait, for a loop whose probe cannot be a closure of [`wait_until`], because it borrows mutably.
#[derive(Debug)]
pub struct Attempts {
    deadline: Instant,
    backoff: Backoff,
    probes: u32,
}

impl Attempts {
    /// The first attempt is due at once, the last one at the deadline.
    #[must_use]
    pub const fn new(deadline: Instant, backoff: Backoff) -> Self {
        Self { deadline, backoff, probes: 0 }
    }

    /// [`Attempts::pause`] on a thread that may block.
    pub fn pause_blocking(&mut self) -> bool {
        let Some(delay) = self.next_delay() else { return false };
        sleep_blocking(delay);
        true
    }

    /// Waits until another attempt is due; `false` at once when the deadline has passed.
    pub async fn pause(&mut self) -> bool {
        let Some(delay) = self.next_delay() else { return false };
        pause(delay).await;
        true
    }

    /// The delay before the next probe, the last of which comes at the deadline; `None` once the deadline has passed.
    fn next_delay(&mut self) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.probes = self.probes.saturating_add(1);
        (!left.is_zero()).then(|| self.backoff.delay(self.probes).min(left))
    }
}

/// Probes until the result is final or the deadline has passed: at least once, and for the last time at the deadline.
///
/// A probe returns `Break` with the final result, or `Continue` with the pending state.
///
/// # Errors
/// The pending state of the last probe.
pub async fn wait_until<T, P, F>(deadline: Instant, backoff: Backoff, mut probe: impl FnMut() -> F) -> Result<T, P>
where
    // Not `AsyncFnMut`: its future is not `Send` for every lifetime, which the ports' methods require.
    F: Future<Output = ControlFlow<T, P>>,
{
    let mut attempts = Attempts::new(deadline, backoff);
    loop {
        match probe().await {
            ControlFlow::Break(answer) => return Ok(answer),
            ControlFlow::Continue(pending) => {
                if !attempts.pause().await {
                    return Err(pending);
                }
            }
        }
    }
}

/// [`wait_until`] on a thread that may block.
///
/// # Errors
/// As [`wait_until`].
pub fn wait_until_blocking<T, P>(
    deadline: Instant,
    backoff: Backoff,
    mut probe: impl FnMut() -> ControlFlow<T, P>,
) -> Result<T, P> {
    let mut attempts = Attempts::new(deadline, backoff);
    loop {
        match probe() {
            ControlFlow::Break(answer) => return Ok(answer),
            ControlFlow::Continue(pending) => match attempts.next_delay() {
                Some(delay) => sleep_blocking(delay),
                None => return Err(pending),
            },
        }
    }
}

/// Waits this long, once. Not for a loop: [`wait_until`] ends when its condition holds.
#[expect(clippy::disallowed_methods, reason = "the one place where a task sleeps")]
pub async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}

#[expect(clippy::disallowed_methods, reason = "the one place where a thread sleeps")]
fn sleep_blocking(delay: Duration) {
    std::thread::sleep(delay);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const BACKOFF: Backoff = Backoff::constant(Duration::from_millis(1));

    #[test]
    fn delays_double_up_to_the_longest_and_keep_at_least_half() {
        let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5));
        for (failures, full_ms) in [(1, 100), (2, 200), (3, 400), (20, 5000), (u32::MAX, 5000)] {
            let delay = backoff.delay(failures).as_millis();
            assert!(delay <= full_ms && delay >= full_ms / 2, "{failures}: {delay} ms");
        }
        assert_eq!(BACKOFF.delay(7), Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_first_final_answer() {
        let probes = Cell::new(0);
        let answer = wait_until(Instant::now() + Duration::from_secs(60), BACKOFF, async || {
            probes.set(probes.get() + 1);
            if probes.get() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(probes.get()) }
        });
        assert_eq!(answer.await, Ok(3));
    }

    #[tokio::test]
    async fn a_deadline_that_has_passed_allows_one_probe_and_answers_what_it_saw() {
        let probes = Cell::new(0);
        let answer: Result<(), u32> = wait_until(Instant::now(), BACKOFF, async || {
            probes.set(probes.get() + 1);
            ControlFlow::Continue(probes.get())
        })
        .await;
        assert_eq!(answer, Err(1));
    }

    #[test]
    fn the_last_probe_comes_after_the_deadline_however_long_the_delay() {
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut last = Instant::now();
        let answer: Result<(), ()> =
            wait_until_blocking(deadline, Backoff::constant(Duration::from_secs(3600)), || {
                last = Instant::now();
                ControlFlow::Continue(())
            });
        assert_eq!(answer, Err(()));
        assert!(last >= deadline);
    }
}
