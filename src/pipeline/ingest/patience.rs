//! Waiting for a dependency that does not answer. A full store is not waited for: the job stops and can be resumed.

use std::time::{Duration, Instant};

use crate::pipeline::stop::Stop;
use crate::ports::{Error, ErrorKind, Result};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// After this long without an answer the job is interrupted.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Calls again while the dependency is at fault, until it answers, time is up or a stop is asked for.
pub(super) async fn patiently<T, F>(stop: &Stop, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (began, mut wait) = (Instant::now(), FIRST);
    loop {
        match call().await {
            Err(error) if waited_for(&error) && began.elapsed() < GIVE_UP => {
                tracing::warn!(error = error.full(), "trying again");
                tokio::select! {
                    () = tokio::time::sleep(wait.mul_f64(1.0 - fastrand::f64() / 2.0)) => {}
                    _ = stop.wait() => return Err(error),
                }
                wait = (wait * 2).min(LONGEST);
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
