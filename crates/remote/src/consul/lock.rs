//! A lock by a session: it lives as long as it is renewed, and the key is free again when it does not.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;

use super::Consul;
use super::store::path;
use mfctl_core::ports::{ConfigChange, ConfigLock, Error, ErrorKind, Result};

/// Consul takes no shorter life of a session.
const SHORTEST: Duration = Duration::from_secs(10);
/// How long a lock that was lost cannot be taken by another, so that its holder can notice.
const DELAY: &str = "1s";

/// What stands in a lock's key.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    holder: String,
    since: Timestamp,
}

#[derive(Deserialize)]
struct Session {
    #[serde(rename = "ID")]
    id: String,
}

struct SessionLock {
    consul: Consul,
    key: String,
    session: String,
    renewing: JoinHandle<()>,
}

pub(super) async fn take(consul: &Consul, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>> {
    let lifetime = lifetime.max(SHORTEST);
    let session = begin(consul, lifetime).await?;
    let renewing = tokio::spawn(renew(consul.clone(), session.clone(), lifetime / 3));
    let lock = SessionLock { consul: consul.clone(), key: key.to_owned(), session, renewing };
    let value = json!(Holder { holder: holder.to_owned(), since: Timestamp::now() });
    let query = [("acquire", lock.session.clone())];
    let what = format!("take the lock {key}");
    let answer = consul.exchange.ask(Method::PUT, &path(key), &query, Some(&value), &what).await;
    match answer.and_then(|answer| answer.read::<bool>(&what)) {
        Ok(true) => Ok(Box::new(lock)),
        Ok(false) => {
            let held = held_by(consul, key).await;
            lock.end().await;
            Err(held)
        }
        Err(error) => {
            lock.end().await;
            Err(error)
        }
    }
}

/// A session that no health check ends, and that releases what it holds when it is over.
async fn begin(consul: &Consul, lifetime: Duration) -> Result<String> {
    let what = "begin a session with Consul";
    let body = json!({
        "Name": "mfctl",
        "TTL": format!("{}s", lifetime.as_secs()),
        "Behavior": "release",
        "LockDelay": DELAY,
        "NodeChecks": [],
    });
    let answer = consul.exchange.ask(Method::PUT, &["session", "create"], &[], Some(&body), what).await?;
    Ok(answer.read::<Session>(what)?.id)
}

/// Keeps the session alive. What does not succeed is tried again: whether the lock is still held, its check says.
async fn renew(consul: Consul, session: String, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let what = "renew a session with Consul";
        let answer = consul.exchange.ask(Method::PUT, &["session", "renew", &session], &[], None, what).await;
        match answer {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error.full(), "the lock's session was not renewed"),
        }
    }
}

async fn held_by(consul: &Consul, key: &str) -> Error {
    let found = match consul.pair(key).await {
        Ok(Some(pair)) if pair.session.is_some() => pair.entry().ok(),
        _ => None,
    };
    let holder = found.and_then(|entry| serde_json::from_slice::<Holder>(&entry.value).ok());
    match holder {
        Some(Holder { holder, since }) => {
            Error::new(ErrorKind::Locked, format!("{holder} has the lock {key} since {since:.0}"))
                .hint("wait for it; a lock of a process that died is free again within 20 s")
        }
        None => Error::new(ErrorKind::Locked, format!("the lock {key} was just let go")).hint("try again in a second"),
    }
}

impl SessionLock {
    async fn end(&self) {
        self.renewing.abort();
        let path = ["session", "destroy", self.session.as_str()];
        // It ends by itself soon.
        let _ = self.consul.exchange.ask(Method::PUT, &path, &[], None, "end a session with Consul").await;
    }
}

#[async_trait]
impl ConfigLock for SessionLock {
    async fn check(&self) -> Result<()> {
        let held = self.consul.pair(&self.key).await?.and_then(|pair| pair.session);
        if held.as_deref() == Some(self.session.as_str()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Locked, format!("the lock {} was lost", self.key))
            .hint("this process stood still for too long, or Consul did; another may have taken it"))
    }

    fn lock_check(&self) -> ConfigChange {
        ConfigChange::CheckLock { key: self.key.clone(), session: self.session.clone() }
    }

    async fn release(self: Box<Self>) -> Result<()> {
        let query = [("release", self.session.clone())];
        let what = format!("let go of the lock {}", self.key);
        let released = self.consul.exchange.ask(Method::PUT, &path(&self.key), &query, None, &what).await;
        self.end().await;
        released.map(drop)
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
