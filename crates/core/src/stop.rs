//! The wish to stop, as every long run hears it: cloned freely, asked or awaited.
//!
//! Knows no signals; `cli` turns them into a [`StopReason`]. A second signal ends the process there and then.

use std::fmt;

use tokio::sync::watch;

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// SIGHUP: the terminal went away.
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

/// Hears of the wish to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<StopReason>>);

/// Voices it.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Option<StopReason>>);

impl Stop {
    /// A pair of voice and ear.
    #[must_use]
    pub fn channel() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(None);
        (Stopper(sender), Self(receiver))
    }

    /// One that is never asked to stop.
    #[must_use]
    pub fn never() -> Self {
        Self::channel().1
    }

    /// Why to stop, if asked.
    #[must_use]
    pub fn requested(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Waits until asked; for ever if nobody can ask any more.
    pub async fn wait(&self) -> StopReason {
        let mut receiver = self.0.clone();
        // The guard is given back before anything else is awaited: a future that holds one cannot change threads.
        let heard = receiver.wait_for(Option::is_some).await.map(|reason| *reason);
        match heard {
            Ok(reason) => reason.unwrap_or(StopReason::Terminated),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Stopper {
    /// Asks for a stop; the first reason stands. Answers whether this was the first.
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
    async fn the_first_reason_stands() {
        let (stopper, stop) = Stop::channel();
        assert_eq!(stop.requested(), None);
        assert!(stopper.stop(StopReason::Interrupted));
        assert!(!stopper.stop(StopReason::Terminated));
        assert_eq!(stop.wait().await, StopReason::Interrupted);
    }
}
