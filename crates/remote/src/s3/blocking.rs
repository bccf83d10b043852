//! Blocking work off the async threads.

use mfctl_core::ports::{Error, ErrorKind, Result};

/// Runs blocking work on Tokio's blocking pool; `what` names it should it panic.
pub(super) async fn run_blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::new(ErrorKind::Internal, what).because(error))
}
