//! Unix signals: SIGHUP, SIGINT and SIGTERM become the stop signal of the command.
//!
//! The first signal requests a clean stop; a second one ends the process at once with the exit code of the second signal.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Failure, FailureKind, Result};
use mfctl_core::stop::{Stop, StopReason, Stopper};

/// The failure of a command that was stopped by a signal and shut down cleanly; its exit code is 128 plus the signal.
#[must_use]
pub fn stopped(reason: StopReason, message: impl Into<String>) -> Failure {
    let kind = match reason {
        StopReason::HungUp => FailureKind::HungUp,
        StopReason::Interrupted => FailureKind::Interrupted,
        StopReason::Terminated => FailureKind::Terminated,
    };
    Failure::new(kind, message)
}

/// Installs the signal handlers.
///
/// # Errors
/// When a handler cannot be installed.
pub fn listen() -> Result<Stop> {
    let (stopper, stop) = Stop::channel();
    for (kind, reason) in [
        (SignalKind::hangup(), StopReason::HungUp),
        (SignalKind::interrupt(), StopReason::Interrupted),
        (SignalKind::terminate(), StopReason::Terminated),
    ] {
        let signals =
            signal(kind).map_err(|error| Failure::unexpected("cannot install the signal handlers").because(&error))?;
        tokio::spawn(relay(signals, reason, stopper.clone()));
    }
    Ok(stop)
}

async fn relay(mut signals: Signal, reason: StopReason, stopper: Stopper) {
    while signals.recv().await.is_some() {
        if !stopper.stop(reason) {
            // The second signal. Nothing is lost: a commit is complete before it is acknowledged.
            super::leave::exit(stopped(reason, "").exit_code());
        }
    }
}
