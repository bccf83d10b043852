//! Signals of the terminal and the system, turned into the wish to stop.
//!
//! The first asks for a clean stop; a second ends the process at once with the signal's code.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Failure, FailureKind, Result};
use mfctl_core::stop::{Stop, StopReason, Stopper};

/// The failure that a stop for this reason ends with, after everything was left whole.
#[must_use]
pub fn stopped(reason: StopReason, message: impl Into<String>) -> Failure {
    let kind = match reason {
        StopReason::HungUp => FailureKind::HungUp,
        StopReason::Interrupted => FailureKind::Interrupted,
        StopReason::Terminated => FailureKind::Terminated,
    };
    Failure::new(kind, message)
}

/// Begins to listen.
///
/// # Errors
/// When the system refuses the handlers.
pub fn listen() -> Result<Stop> {
    let (stopper, stop) = Stop::channel();
    for (kind, reason) in [
        (SignalKind::hangup(), StopReason::HungUp),
        (SignalKind::interrupt(), StopReason::Interrupted),
        (SignalKind::terminate(), StopReason::Terminated),
    ] {
        let signals = signal(kind).map_err(|error| Failure::unexpected("cannot listen to signals").because(&error))?;
        tokio::spawn(relay(signals, reason, stopper.clone()));
    }
    Ok(stop)
}

async fn relay(mut signals: Signal, reason: StopReason, stopper: Stopper) {
    while signals.recv().await.is_some() {
        if !stopper.stop(reason) {
            // Whoever asks twice wants it now. Nothing is lost: every commit was whole before it was answered.
            super::leave::now(stopped(reason, "").exit_code());
        }
    }
}
