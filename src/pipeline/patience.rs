//! Waiting for a dependency that does not answer, for so long.

use std::time::{Duration, Instant};

use super::retry::Policy;
use super::stop::Stop;
use crate::ports::Error;

/// Calls again while the failure may pass, until there is an answer, time is up or a stop is asked for. `waited_for` says
/// whether it may, in words for the log. A call that took longer than `at_work` was at work meanwhile, and no outage: it
/// sent a large file, whose next try goes on where it broke off. `Duration::MAX`: no call does.
///
/// # Errors
/// The call's last.
pub async fn patiently<T, E, F>(
    give_up: Duration,
    at_work: Duration,
    stop: &Stop,
    waited_for: impl Fn(&E) -> Option<String>,
    mut call: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let (policy, mut failures, mut down_since) = (Policy::default(), 0, Instant::now());
    loop {
        let called = Instant::now();
        let answer = call().await;
        if called.elapsed() > at_work {
            (failures, down_since) = (0, Instant::now());
        }
        match answer {
            Err(failure) if down_since.elapsed() < give_up => {
                let Some(error) = waited_for(&failure) else { return Err(failure) };
                failures += 1;
                tracing::warn!(error, "trying again");
                tokio::select! {
                    () = tokio::time::sleep(policy.wait(failures)) => {}
                    _ = stop.wait() => return Err(failure),
                }
            }
            answer => return answer,
        }
    }
}

/// A dependency's failure, in words for the log.
#[must_use]
pub fn outage(error: &Error) -> Option<String> {
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

    /// Down three times, and then it answers.
    async fn comes_back(calls: &AtomicU32, takes: Duration) -> Result<u32, Error> {
        let before = calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(takes).await;
        if before < 3 { Err(down()) } else { Ok(7) }
    }

    /// A large file over a connection that breaks now and then.
    #[tokio::test]
    async fn a_call_that_was_at_work_for_long_is_no_outage() {
        let (calls, stop, give_up) = (AtomicU32::new(0), Stop::never(), Duration::from_millis(20));
        let answer = patiently(give_up, give_up, &stop, outage, || comes_back(&calls, 2 * give_up));
        assert_eq!(answer.await.unwrap(), 7);
        let down = patiently(give_up, give_up, &stop, outage, || async { Err::<(), _>(down()) });
        assert_eq!(down.await.unwrap_err().kind(), ErrorKind::Unreachable);
    }

    /// A server that lets each call wait for long before it fails.
    #[tokio::test]
    async fn calls_that_only_wait_do_not_prolong_the_outage() {
        let (stop, give_up) = (Stop::never(), Duration::from_millis(20));
        let answer = patiently(give_up, Duration::MAX, &stop, outage, || async move {
            tokio::time::sleep(2 * give_up).await;
            Err::<(), _>(down())
        });
        let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[tokio::test]
    async fn what_is_not_waited_for_is_told_at_once() {
        let (calls, stop, long) = (AtomicU32::new(0), Stop::never(), Duration::from_secs(60));
        let answer = patiently(long, long, &stop, outage, || comes_back(&calls, Duration::ZERO));
        assert_eq!(answer.await.unwrap(), 7);
        let denied =
            patiently(long, long, &stop, outage, || async { Err::<(), _>(Error::new(ErrorKind::Denied, "x")) });
        assert_eq!(denied.await.unwrap_err().kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let (stopper, stop) = Stop::channel();
        stopper.stop(crate::pipeline::stop::StopReason::Terminated);
        let answer =
            patiently(Duration::from_secs(60), Duration::MAX, &stop, outage, || async { Err::<(), _>(down()) });
        assert_eq!(answer.await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
}
