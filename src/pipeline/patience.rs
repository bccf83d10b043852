//! Waiting for a dependency that does not answer, for so long.

use std::time::{Duration, Instant};

use super::retry::Policy;
use super::stop::Stop;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Error, ErrorKind};

    fn down() -> Error {
        Error::new(ErrorKind::Unreachable, "x")
    }

    fn outage(error: &Error) -> Option<String> {
        error.kind().is_dependency().then(|| error.full())
    }

    /// A large file over a connection that breaks now and then.
    #[tokio::test]
    async fn a_call_that_was_at_work_for_long_is_no_outage() {
        let (mut calls, stop, give_up) = (0, Stop::never(), Duration::from_millis(20));
        let answer = patiently(give_up, give_up, &stop, outage, || {
            calls += 1;
            let fails = calls < 4;
            async move {
                tokio::time::sleep(2 * give_up).await;
                if fails { Err(down()) } else { Ok(7) }
            }
        });
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
        let (mut calls, stop, long) = (0, Stop::never(), Duration::from_secs(60));
        let answer = patiently(long, long, &stop, outage, || {
            calls += 1;
            let fails = calls < 4;
            async move { if fails { Err(down()) } else { Ok(7) } }
        });
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
