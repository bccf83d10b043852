//! Waiting for a dependency that does not answer. A full store is not waited for: the job stops and can be resumed.

use std::time::{Duration, Instant};

use crate::pipeline::retry::Policy;
use crate::pipeline::stop::Stop;
use crate::ports::{Error, ErrorKind, Result};

/// After this long without an answer the job is interrupted.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Calls again while the dependency is at fault, until it answers, time is up or a stop is asked for.
pub(super) async fn patiently<T, F>(stop: &Stop, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (began, policy, mut failures) = (Instant::now(), Policy::default(), 0);
    loop {
        match call().await {
            Err(error) if waited_for(&error) && began.elapsed() < GIVE_UP => {
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
