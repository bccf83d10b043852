//! Waiting for a dependency that does not answer. A full store is not waited for: the job stops and can be resumed.

use std::time::{Duration, Instant};

use crate::pipeline::retry::Policy;
use crate::pipeline::stop::Stop;
use crate::ports::{Error, ErrorKind, Result};

/// After this long without an answer the job is interrupted. A call that took longer was at work meanwhile: it sent a
/// large file, whose next try goes on where it broke off.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Calls again while the dependency is at fault, until it answers, time is up or a stop is asked for.
pub(super) async fn patiently<T, F>(stop: &Stop, call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for_so_long(GIVE_UP, stop, call).await
}

async fn for_so_long<T, F>(give_up: Duration, stop: &Stop, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (policy, mut failures, mut down_since) = (Policy::default(), 0, Instant::now());
    loop {
        let called = Instant::now();
        let answer = call().await;
        if called.elapsed() > give_up {
            (failures, down_since) = (0, Instant::now());
        }
        match answer {
            Err(error) if waited_for(&error) && down_since.elapsed() < give_up => {
                failures += 1;
                tracing::warn!(error = error.full(), "trying again");
                tokio::select! {
                    () = tokio::time::sleep(policy.wait(failures)) => {}
                    _ = stop.wait() => return Err(error),
                }
            }
            answer => return answer,
        }
    }
}

fn waited_for(error: &Error) -> bool {
    error.kind().is_dependency() && error.kind() != ErrorKind::Full
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A large file over a connection that breaks now and then.
    #[tokio::test]
    async fn a_call_that_was_at_work_for_long_is_no_outage() {
        let (mut calls, stop, give_up) = (0, Stop::never(), Duration::from_millis(20));
        let answer = for_so_long(give_up, &stop, || {
            calls += 1;
            let fails = calls < 4;
            async move {
                tokio::time::sleep(2 * give_up).await;
                if fails { Err(Error::new(ErrorKind::Unreachable, "x")) } else { Ok(7) }
            }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let down = for_so_long(give_up, &stop, || async { Err::<(), _>(Error::new(ErrorKind::Unreachable, "x")) });
        assert_eq!(down.await.unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[tokio::test]
    async fn an_outage_is_waited_for_and_a_full_disk_is_not() {
        let mut calls = 0;
        let stop = Stop::never();
        let answer = patiently(&stop, || {
            calls += 1;
            let fails = calls < 4;
            async move { if fails { Err(Error::new(ErrorKind::Unreachable, "x")) } else { Ok(7) } }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let full = patiently(&stop, || async { Err::<(), _>(Error::new(ErrorKind::Full, "x")) });
        assert_eq!(full.await.unwrap_err().kind(), ErrorKind::Full);
    }
}
