//! Following what is below a prefix of the configuration store, through outages and stores that begin anew.

use std::sync::Arc;
use std::time::Duration;

use mfctl_core::ports::{ConfigSnapshot, ConfigStore, Error};
use mfctl_core::retry::RetryPolicy;

/// How long the store is asked to wait for a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where somebody who follows has come to.
pub struct Follower {
    store: Arc<dyn ConfigStore>,
    prefix: String,
    index: u64,
    failures: u32,
}

/// What following brought.
pub enum Seen {
    /// As it is now; often as it was before.
    Now {
        /// All of it.
        snapshot: ConfigSnapshot,
        /// Whether the store did not answer before.
        is_back: bool,
    },
    /// The store did not answer. The next look waits a while first.
    Lost {
        /// Why.
        error: Error,
        /// Whether it answered until now.
        is_news: bool,
    },
}

impl Follower {
    /// Goes on from the moment of `snapshot`.
    #[must_use]
    pub fn new(store: Arc<dyn ConfigStore>, prefix: impl Into<String>, snapshot: &ConfigSnapshot) -> Self {
        Self { store, prefix: prefix.into(), index: snapshot.index, failures: 0 }
    }

    /// Waits until something may have changed. May be dropped at any time and called again.
    pub async fn next(&mut self) -> Seen {
        // After an outage it looks at once: the store may have begun anew, and would then wait for a moment that is far
        // ahead of it.
        let found = if self.failures == 0 {
            self.store.wait_for_change(&self.prefix, self.index, PATIENCE).await
        } else {
            tokio::time::sleep(RetryPolicy::default().backoff.delay(self.failures)).await;
            self.store.list(&self.prefix).await
        };
        match found {
            Ok(snapshot) => {
                self.index = snapshot.index;
                Seen::Now { snapshot, is_back: std::mem::take(&mut self.failures) > 0 }
            }
            Err(error) => {
                self.failures += 1;
                Seen::Lost { error, is_news: self.failures == 1 }
            }
        }
    }
}
