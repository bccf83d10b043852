//! A lock on a key by a session: the lock is held for as long as the session is renewed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::exchange::Exchange;
use super::{keys, requests};
use mfctl_core::ports::{ConfigChange, ConfigLock, Error, ErrorKind, Result};

/// Consul's minimum TTL of a session.
const MIN_TTL: Duration = Duration::from_secs(10);
/// How long a lock whose session ended cannot be acquired, so that its holder can notice the loss.
const LOCK_DELAY: &str = "1s";

/// The value of a lock's key.
#[derive(Debug, Serialize, Deserialize)]
struct LockHolder {
    holder: String,
    since: Timestamp,
}

struct SessionLock {
    exchange: Arc<Exchange>,
    key: String,
    session: String,
    renewal: JoinHandle<()>,
}

/// Acquires the lock on a key; `Locked`, naming the holder, when another session has it.
pub(super) async fn acquire(
    exchange: &Arc<Exchange>,
    key: &str,
    holder: &str,
    lifetime: Duration,
) -> Result<Box<dyn ConfigLock>> {
    let ttl = lifetime.max(MIN_TTL);
    let session = create_session(exchange, ttl).await?;
    let renewal = tokio::spawn(renew(Arc::clone(exchange), session.clone(), ttl / 3));
    let lock = SessionLock { exchange: Arc::clone(exchange), key: key.to_owned(), session, renewal };
    match lock.acquire(holder).await {
        Ok(true) => Ok(Box::new(lock)),
        Ok(false) => {
            let locked = locked_by(exchange, key).await;
            lock.end_session().await;
            Err(locked)
        }
        Err(error) => {
            lock.end_session().await;
            Err(error)
        }
    }
}

async fn create_session(exchange: &Exchange, ttl: Duration) -> Result<String> {
    let what = "create a Consul session";
    let request = requests::create_session(exchange.base(), ttl.as_secs(), LOCK_DELAY)?;
    Ok(exchange.send(request, what).await?.content(what)?.id)
}

/// Renews the session each `period` until it no longer exists. A renewal that fails is only logged: whether the lock is still
/// held is what [`ConfigLock::check`] answers.
async fn renew(exchange: Arc<Exchange>, session: String, period: Duration) {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick completes at once; the session is new.
    interval.tick().await;
    loop {
        interval.tick().await;
        let Ok(request) = requests::renew_session(exchange.base(), &session) else { return };
        match exchange.send(request, "renew a Consul session").await {
            Ok(response) if response.status == StatusCode::NOT_FOUND => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error.full(), "session renewal failed"),
        }
    }
}

async fn locked_by(exchange: &Exchange, key: &str) -> Error {
    let pair = keys::read_pair(exchange, key).await.ok().flatten().filter(|pair| pair.session.is_some());
    let value = pair.and_then(|pair| keys::entry(pair).ok());
    match value.and_then(|entry| serde_json::from_slice::<LockHolder>(&entry.value).ok()) {
        Some(LockHolder { holder, since }) => {
            Error::new(ErrorKind::Locked, format!("{holder} has the lock {key} since {since:.0}"))
                .hint("wait for its release; the lock of a process that died is released within 20 s")
        }
        None => {
            Error::new(ErrorKind::Locked, format!("the lock {key} was just released")).hint("try again in a second")
        }
    }
}

impl SessionLock {
    async fn acquire(&self, holder: &str) -> Result<bool> {
        let what = format!("acquire the lock {}", self.key);
        let value = json!(LockHolder { holder: holder.to_owned(), since: Timestamp::now() });
        let value = value.to_string().into_bytes();
        let request = requests::acquire_lock(self.exchange.base(), &self.key, &self.session, value)?;
        self.exchange.send(request, &what).await?.content(&what)
    }

    /// Ends the session. A failure is ignored: without renewals it ends by itself.
    async fn end_session(&self) {
        self.renewal.abort();
        if let Ok(request) = requests::delete_session(self.exchange.base(), &self.session) {
            let _ = self.exchange.send(request, "end a Consul session").await;
        }
    }
}

#[async_trait]
impl ConfigLock for SessionLock {
    async fn check(&self) -> Result<()> {
        let session = keys::read_pair(&self.exchange, &self.key).await?.and_then(|pair| pair.session);
        if session.as_deref() == Some(self.session.as_str()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Locked, format!("the lock {} was lost", self.key)).hint(
            "this process or Consul was stopped for longer than the session's TTL; another may hold the lock now",
        ))
    }

    fn lock_check(&self) -> ConfigChange {
        ConfigChange::CheckLock { key: self.key.clone(), session: self.session.clone() }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let what = format!("release the lock {}", self.key);
        let request = requests::release_lock(self.exchange.base(), &self.key, &self.session)?;
        let released = self.exchange.send(request, &what).await;
        self.end_session().await;
        released.map(drop)
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
