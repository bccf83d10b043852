//! Follows the keys under a prefix of the configuration store, through outages and through stores that lost their history.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::ports::{ConfigSnapshot, ConfigStore, Error};
use mfctl_core::retry::RetryPolicy;

/// How long one blocking query waits for a change.
const QUERY_WAIT: Duration = Duration::from_secs(60);

/// Follows one prefix from a given snapshot on.
pub struct ConfigFollower {
    store: Arc<dyn ConfigStore>,
    prefix: String,
    index: u64,
    failures: u32,
    /// When to query again after a failure.
    retry_at: Instant,
}

/// One result of a query.
pub enum ConfigUpdate {
    /// The keys as they are now, which may be as they were before.
    Current {
        /// All keys under the prefix.
        snapshot: ConfigSnapshot,
        /// Whether an outage ended with this.
        after_outage: bool,
    },
    /// The store did not answer. The next query is delayed.
    Unavailable {
        /// Why.
        error: Error,
        /// Whether an outage began with this.
        is_first: bool,
    },
}

impl ConfigFollower {
    /// Follows `prefix` from the index of `snapshot` on.
    #[must_use]
    pub fn new(store: Arc<dyn ConfigStore>, prefix: impl Into<String>, snapshot: &ConfigSnapshot) -> Self {
        Self { store, prefix: prefix.into(), index: snapshot.index, failures: 0, retry_at: Instant::now() }
    }

    /// Waits until something may have changed. May be dropped at any time and called again.
    pub async fn next(&mut self) -> ConfigUpdate {
        // After an outage it lists without an index: the store may have lost its history, and a blocking query would wait
        // for an index far above the store's.
        let queried = if self.failures == 0 {
            self.store.wait_for_change(&self.prefix, self.index, QUERY_WAIT).await
        } else {
            tokio::time::sleep_until(self.retry_at.into()).await;
            self.store.list(&self.prefix).await
        };
        match queried {
            Ok(snapshot) => {
                self.index = snapshot.index;
                ConfigUpdate::Current { snapshot, after_outage: std::mem::take(&mut self.failures) > 0 }
            }
            Err(error) => {
                self.failures += 1;
                self.retry_at = Instant::now() + RetryPolicy::default().backoff.delay(self.failures);
                ConfigUpdate::Unavailable { error, is_first: self.failures == 1 }
            }
        }
    }
}
