//! Blocking work of librdkafka, kept off the async threads.

use std::convert::Infallible;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mfctl_core::ports::{Error, ErrorKind, Result};

/// Runs a blocking call off the async threads. It runs to its end even if the caller stops waiting.
pub(super) async fn run_blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(call).await;
    done.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "call Kafka").because(error)))
}

/// Runs slow cleanup, such as closing connections or leaving a group, on a thread of its own.
pub(super) fn close_in_background(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(work) {
        tracing::warn!(target: "kafka", %error, "could not start a thread to close a client");
    }
}

/// Starts a named background thread.
///
/// # Errors
/// `Internal` when the system starts no thread.
pub(super) fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::Internal, "start a thread for Kafka's events").because(error))
}

/// A background thread that runs its work once per interval. Dropping this handle wakes the thread and ends it; the work is
/// then dropped on the thread.
pub(super) struct PeriodicThread {
    /// Never sends: dropping it disconnects the channel that the thread sleeps on.
    _stop: mpsc::Sender<Infallible>,
}

impl PeriodicThread {
    pub(super) fn spawn(name: &str, interval: Duration, mut work: impl FnMut() + Send + 'static) -> Result<Self> {
        let (stop, stopped) = mpsc::channel::<Infallible>();
        spawn_thread(name, move || {
            loop {
                work();
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

/// Locks a mutex whether or not a thread panicked while holding it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_handle_ends_a_periodic_thread_without_waiting_for_its_interval() {
        let (ran, runs) = mpsc::channel();
        let thread = PeriodicThread::spawn("test", Duration::from_secs(3600), move || {
            let _ = ran.send(());
        })
        .unwrap();
        runs.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(thread);
        assert_eq!(runs.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    }
}
