//! The one lock on changing an environment's platform and settings: `<env>/mfctl-lock/apply`.

use std::time::{Duration, Instant};

use super::failure::Result;
use super::output::{Output, humane};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigLock, ConfigStore, ErrorKind};

/// How long it outlives a process that died, at most twice.
const LIFETIME: Duration = Duration::from_secs(10);
/// How often one that another has is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Takes it in somebody's name; waits this long for another to give it back, and says for whom.
///
/// # Errors
/// Exit 7 with who has it and since when; otherwise those of the store.
pub async fn take(
    store: &dyn ConfigStore,
    env: &EnvName,
    actor: &str,
    patience: Duration,
    output: &Output,
) -> Result<Box<dyn ConfigLock>> {
    let (key, until) = (format!("{env}/mfctl-lock/apply"), Instant::now() + patience);
    let mut is_told = false;
    loop {
        match store.lock(&key, actor, LIFETIME).await {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == ErrorKind::Locked && Instant::now() < until => {
                if !is_told {
                    output.note(format!("waiting up to {}: {error}", humane::duration(patience)));
                    is_told = true;
                }
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
