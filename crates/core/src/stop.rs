//! The stop signal of long-running operations: cloned freely, polled or awaited.
//!
//! Independent of Unix signals; `cli` maps them to a [`StopReason`]. A second signal ends the process at once.

use std::fmt;

use tokio::sync::watch;

/// Why an operation is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// SIGHUP: the terminal was closed.
    HungUp,
    /// SIGINT: Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HungUp => "hung up (SIGHUP)",
            Self::Interrupted => "interrupted (SIGINT)",
            Self::Terminated => "terminated (SIGTERM)",
        })
    }
}

/// Receiver of the stop signal.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<StopReason>>);

/// Sender of the stop signal.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Option<StopReason>>);

impl Stop {
    /// Creates a connected sender and receiver.
    #[must_use]
    pub fn channel() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(None);
        (Stopper(sender), Self(receiver))
    }

    /// A receiver that is never asked to stop.
    #[must_use]
    pub fn never() -> Self {
        Self::channel().1
    }

    /// Reason of the stop, if it was requested.
    #[must_use]
    pub fn requested(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Waits for the stop signal; for ever once every sender is dropped.
    pub async fn wait(&self) -> StopReason {
        let mut receiver = self.0.clone();
        // The guard must be dropped before the next await: a future that holds it is not `Send`.
        let received = receiver.wait_for(Option::is_some).await.map(|reason| *reason);
        match received {
            Ok(reason) => reason.unwrap_or(StopReason::Terminated),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Stopper {
    /// Requests a stop; the first reason is kept. Returns whether this was the first request.
    pub fn stop(&self, reason: StopReason) -> bool {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_is_kept() {
        let (stopper, stop) = Stop::channel();
        assert_eq!(stop.requested(), None);
        assert!(stopper.stop(StopReason::Interrupted));
        assert!(!stopper.stop(StopReason::Terminated));
        assert_eq!(stop.wait().await, StopReason::Interrupted);
    }
}
