//! The one retry policy: what a failure means, how often an operation is retried, and for how long.
//!
//! A failure of a *dependency* is retried without limit and is never charged to a record. A failure of the *record* is retried
//! a few times where that could help. Every other failure stops the worker.

use std::time::{Duration, Instant};

use crate::ports::{Error, ErrorKind};
use crate::stop::Stop;
use crate::wait::{self, Backoff};

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// A dependency failed: retry without limit.
    RetryDependency,
    /// The record failed, and a retry could succeed.
    RetryRecord,
    /// The record failed, and no retry could succeed.
    DeadLetter,
    /// Neither a retry nor a dead letter would help: stop the worker.
    Stop,
}

/// The action for an error of this kind.
#[must_use]
pub fn action_for(kind: ErrorKind) -> FailureAction {
    match kind {
        kind if kind.is_dependency() => FailureAction::RetryDependency,
        ErrorKind::Conflict | ErrorKind::Locked | ErrorKind::Fenced | ErrorKind::Internal => FailureAction::RetryRecord,
        ErrorKind::Denied | ErrorKind::TooNew | ErrorKind::Unprepared => FailureAction::Stop,
        _ => FailureAction::DeadLetter,
    }
}

/// Number of attempts for a record, and the delay between two attempts of anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts for a record, the first included.
    pub attempts: u32,
    /// Delay between two attempts.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, backoff: Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5)) }
    }
}

/// Retries a call until it succeeds, fails for good, has failed for `timeout`, or a stop is requested.
///
/// `retryable` returns the log message of a failure that may pass, `None` for one that is final. A call that ran longer than
/// `progress_after` has made progress, such as a large upload that the next attempt resumes, and restarts the timeout;
/// `Duration::MAX` means that no call does.
///
/// # Errors
/// The last failure of the call.
pub async fn retry_until_deadline<T, E, F>(
    timeout: Duration,
    progress_after: Duration,
    stop: &Stop,
    retryable: impl Fn(&E) -> Option<String>,
    mut call: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let backoff = RetryPolicy::default().backoff;
    let mut failures = 0;
    let mut failing_since = Instant::now();
    loop {
        let called = Instant::now();
        let answer = call().await;
        if called.elapsed() > progress_after {
            failures = 0;
            failing_since = Instant::now();
        }
        match answer {
            Err(failure) if failing_since.elapsed() < timeout => {
                let Some(error) = retryable(&failure) else { return Err(failure) };
                failures += 1;
                tracing::warn!(error, "retrying");
                tokio::select! {
                    () = wait::pause(backoff.delay(failures)) => {}
                    _ = stop.wait() => return Err(failure),
                }
            }
            answer => return answer,
        }
    }
}

/// Retries a call up to `policy.attempts` times, the first included, with the policy's backoff between two attempts.
///
/// `may_retry` decides about each failure. `retrying` is given each failure that another attempt follows, with the number of
/// the attempt that failed, from 1, and the delay. Returns the number of attempts, and the result of the last.
pub async fn retry_attempts<T, E, F>(
    policy: &RetryPolicy,
    mut may_retry: impl FnMut(&E) -> bool,
    mut retrying: impl FnMut(&E, u32, Duration),
    mut call: impl FnMut() -> F,
) -> (u32, Result<T, E>)
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match call().await {
            Ok(answer) => return (attempts, Ok(answer)),
            Err(error) => error,
        };
        if !may_retry(&error) || attempts >= policy.attempts {
            return (attempts, Err(error));
        }
        let delay = policy.backoff.delay(attempts);
        retrying(&error, attempts, delay);
        drop(error);
        wait::pause(delay).await;
    }
}

/// The log message of a dependency's failure; `None` for any other, for [`retry_until_deadline`].
#[must_use]
pub fn dependency_failure(error: &Error) -> Option<String> {
    error.kind().is_dependency().then(|| error.full())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ports::ErrorKind;

    fn down() -> Error {
        Error::new(ErrorKind::Unreachable, "x")
    }

    /// Fails three times and then succeeds.
    async fn recovers(calls: &AtomicU32, takes: Duration) -> Result<u32, Error> {
        let before = calls.fetch_add(1, Ordering::Relaxed);
        wait::pause(takes).await;
        if before < 3 { Err(down()) } else { Ok(7) }
    }

    #[test]
    fn dependency_failures_are_never_dead_lettered() {
        for kind in [ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::Throttled, ErrorKind::Full] {
            assert_eq!(action_for(kind), FailureAction::RetryDependency);
        }
        assert_eq!(action_for(ErrorKind::Denied), FailureAction::Stop);
        assert_eq!(action_for(ErrorKind::Unprepared), FailureAction::Stop);
        assert_eq!(action_for(ErrorKind::Invalid), FailureAction::DeadLetter);
        assert_eq!(action_for(ErrorKind::Internal), FailureAction::RetryRecord);
    }

    /// A large file over a connection that breaks now and then.
    #[tokio::test]
    async fn a_call_with_progress_restarts_the_timeout() {
        let calls = AtomicU32::new(0);
        let stop = Stop::never();
        let give_up = Duration::from_millis(20);
        let answer =
            retry_until_deadline(give_up, give_up, &stop, dependency_failure, || recovers(&calls, 2 * give_up));
        assert_eq!(answer.await.unwrap(), 7);
        let down = retry_until_deadline(give_up, give_up, &stop, dependency_failure, || async { Err::<(), _>(down()) });
        assert_eq!(down.await.unwrap_err().kind(), ErrorKind::Unreachable);
    }

    /// A server where each call waits for a long time before it fails.
    #[tokio::test]
    async fn calls_without_progress_count_against_the_timeout() {
        let stop = Stop::never();
        let give_up = Duration::from_millis(20);
        let answer = retry_until_deadline(give_up, Duration::MAX, &stop, dependency_failure, || async move {
            wait::pause(2 * give_up).await;
            Err::<(), _>(down())
        });
        let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[tokio::test]
    async fn final_failures_are_returned_at_once() {
        let calls = AtomicU32::new(0);
        let stop = Stop::never();
        let long = Duration::from_secs(60);
        let answer = retry_until_deadline(long, long, &stop, dependency_failure, || recovers(&calls, Duration::ZERO));
        assert_eq!(answer.await.unwrap(), 7);
        let denied = retry_until_deadline(long, long, &stop, dependency_failure, || async {
            Err::<(), _>(Error::new(ErrorKind::Denied, "x"))
        });
        assert_eq!(denied.await.unwrap_err().kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn attempts_end_with_success_a_final_failure_or_the_policys_limit() {
        let policy = RetryPolicy { attempts: 3, backoff: Backoff::constant(Duration::from_millis(1)) };
        for (kind, succeeds_at, attempts, retried) in [
            (ErrorKind::Internal, 2, 2, vec![1]),
            (ErrorKind::Internal, 9, 3, vec![1, 2]),
            (ErrorKind::Invalid, 9, 1, vec![]),
        ] {
            let calls = AtomicU32::new(0);
            let mut failed = Vec::new();
            let may_retry = |error: &Error| action_for(error.kind()) == FailureAction::RetryRecord;
            let (made, result) = retry_attempts(
                &policy,
                may_retry,
                |_, attempt, _| failed.push(attempt),
                || async {
                    let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                    if call < succeeds_at { Err(Error::new(kind, "x")) } else { Ok(call) }
                },
            )
            .await;
            assert_eq!((made, result.is_ok(), failed), (attempts, succeeds_at < 9, retried));
        }
    }

    #[tokio::test]
    async fn a_stop_ends_the_retries() {
        let (stopper, stop) = Stop::channel();
        stopper.stop(crate::stop::StopReason::Terminated);
        let answer =
            retry_until_deadline(Duration::from_secs(60), Duration::MAX, &stop, dependency_failure, || async {
                Err::<(), _>(down())
            });
        assert_eq!(answer.await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
}
