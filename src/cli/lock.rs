//! The lock that serializes changes to an environment's platform and settings: the key `<env>/mfctl-lock/apply`.

use std::time::{Duration, Instant};

use super::failure::Result;
use super::output::{Output, humane};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigLock, ConfigStore, ErrorKind};
use mfctl_core::wait::{Attempts, Backoff};

/// How long the lock outlives a process that died; Consul may take twice as long to release it.
const LEASE: Duration = Duration::from_secs(10);
/// Delay between two attempts while another process holds the lock.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Acquires the lock for `actor`. Waits up to `timeout` while another process holds it, and prints the holder once.
///
/// # Errors
/// Exit 7, naming the holder and the time since which it holds the lock; otherwise those of the store.
pub async fn take(
    store: &dyn ConfigStore,
    env: &EnvName,
    actor: &str,
    timeout: Duration,
    output: &Output,
) -> Result<Box<dyn ConfigLock>> {
    let key = format!("{env}/mfctl-lock/apply");
    let mut attempts = Attempts::new(Instant::now() + timeout, Backoff::constant(RETRY_DELAY));
    let mut announced = false;
    loop {
        match store.lock(&key, actor, LEASE).await {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == ErrorKind::Locked => {
                if !announced && !timeout.is_zero() {
                    output.note(format!("waiting up to {}: {error}", humane::duration(timeout)));
                    announced = true;
                }
                if !attempts.pause().await {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
