//! The configuration store: keys and values, blocking queries, transactions.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::exchange::{ConsulResponse, Exchange};
use super::requests::{self, KvPair};
use super::{Consul, keys, lock};
use mfctl_core::ports::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, Error, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES,
    Result,
};

/// Consul's maximum of `wait`.
const MAX_BLOCKING_WAIT: Duration = Duration::from_secs(600);
/// The shortest time between two answers of a blocking query, up to doubled at random: it limits the query rate when keys
/// change all the time.
const MIN_QUERY_INTERVAL: Duration = Duration::from_millis(100);
/// Part of Consul's error where ACLs are disabled.
const ACLS_DISABLED: &str = "ACL support disabled";

/// An answer of the ACL authorization endpoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AclDecision {
    allow: bool,
}

/// The body of a transaction that was rolled back.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransactionFailure {
    #[serde(default)]
    errors: Vec<OperationError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OperationError {
    op_index: usize,
    what: String,
}

#[async_trait]
impl ConfigStore for Consul {
    async fn identity(&self) -> Result<String> {
        let what = "list Consul's datacenters";
        let response = self.exchange.send(requests::list_datacenters(self.exchange.base())?, what).await?;
        // The nearest is first: the agent's own.
        let none = || Error::new(ErrorKind::Unreachable, format!("{what}: the list is empty"));
        response.content(what)?.into_iter().next().ok_or_else(none)
    }

    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>> {
        keys::check_url_key(key)?;
        keys::read_pair(&self.exchange, key).await?.map(keys::entry).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot> {
        keys::check_prefix(prefix)?;
        let what = format!("read the keys below {prefix}");
        let response = self.exchange.send(requests::list_keys(self.exchange.base(), prefix)?, &what).await?;
        snapshot(&self.exchange, &response, prefix, &what).await
    }

    async fn wait_for_change(&self, prefix: &str, after: u64, timeout: Duration) -> Result<ConfigSnapshot> {
        keys::check_prefix(prefix)?;
        let what = format!("wait for a change below {prefix}");
        let wait = timeout.min(MAX_BLOCKING_WAIT);
        // Consul adds up to a sixteenth at random, so that not all clients return at once.
        let response_timeout = wait + wait / 16 + Duration::from_secs(10);
        let request = requests::watch_keys(self.exchange.base(), prefix, after, wait.as_millis().max(1))?;
        let earliest_answer = Instant::now() + MIN_QUERY_INTERVAL.mul_f64(1.0 + fastrand::f64()).min(timeout);
        let response = self.exchange.send(request.timeout(response_timeout), &what).await?;
        let found = snapshot(&self.exchange, &response, prefix, &what).await?;
        if found.index < after {
            // The index went backwards: the store was restored or rebuilt, and earlier indexes mean nothing.
            return self.list(prefix).await;
        }
        if found.index > after {
            tokio::time::sleep_until(earliest_answer.into()).await;
        }
        Ok(found)
    }

    async fn apply(&self, change: &[ConfigChange]) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let what = "change keys in Consul";
        let request = self.exchange.request(Method::PUT, &["txn"]).json(&operations(change)?);
        let response: ConsulResponse<TransactionFailure> = self.exchange.send(request, what).await?;
        match response.status {
            StatusCode::CONFLICT => Err(rolled_back(change, &response.content(what)?)),
            StatusCode::NOT_FOUND => Err(Error::new(ErrorKind::Invalid, format!("{what}: {}", response.excerpt()))),
            _ => Ok(()),
        }
    }

    async fn lock(&self, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>> {
        keys::check_url_key(key)?;
        lock::acquire(&self.exchange, key, holder, lifetime).await
    }
}

async fn snapshot(
    exchange: &Exchange,
    response: &ConsulResponse<Vec<KvPair>>,
    prefix: &str,
    what: &str,
) -> Result<ConfigSnapshot> {
    keys::check_is_consul(response, what)?;
    // Keys that the token cannot read are left out of a list without an error, even if it is all of them.
    if response.is_filtered || exchange.is_anonymous() && !anonymous_can_read(exchange, prefix).await? {
        let rule = format!("key_prefix {prefix:?} {{ policy = \"read\" }}");
        return Err(exchange.filtered(what, &rule));
    }
    let index = response.index.unwrap_or(0);
    if response.status == StatusCode::NOT_FOUND {
        return Ok(ConfigSnapshot { entries: Vec::new(), index });
    }
    let pairs = response.content(what)?;
    // Keys that end in a slash are folders.
    let keys = pairs.into_iter().filter(|pair| !pair.key.ends_with('/'));
    let mut entries = keys.map(keys::entry).collect::<Result<Vec<_>>>()?;
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(ConfigSnapshot { entries, index })
}

/// Whether an anonymous client may read all keys with this prefix: its lists do not report what ACLs filtered. A rule that
/// denies some of them again is not noticed.
async fn anonymous_can_read(exchange: &Exchange, prefix: &str) -> Result<bool> {
    let what = format!("ask Consul who may read below {prefix}");
    let body = json!([{"Resource": "key", "Segment": prefix, "Access": "read"}]);
    let request = exchange.request(Method::POST, &["internal", "acl", "authorize"]).json(&body);
    let answer: Result<ConsulResponse<Vec<AclDecision>>> = exchange.send(request, &what).await;
    match answer {
        Ok(response) => Ok(response.content(&what)?.iter().any(|decision| decision.allow)),
        Err(error) if error.kind() == ErrorKind::Denied && error.full().contains(ACLS_DISABLED) => Ok(true),
        Err(error) => Err(error),
    }
}

fn operations(change: &[ConfigChange]) -> Result<Value> {
    if change.len() > MAX_CHANGES {
        let what = format!("a change has {} parts; the maximum is {MAX_CHANGES}", change.len());
        return Err(Error::new(ErrorKind::Invalid, what));
    }
    change.iter().map(|part| Ok(json!({"KV": operation(part)?}))).collect()
}

fn operation(part: &ConfigChange) -> Result<Value> {
    keys::check_key(key_of(part))?;
    Ok(match part {
        ConfigChange::Set { key, value, .. } if value.len() > MAX_VALUE_BYTES => {
            return Err(Error::new(ErrorKind::Invalid, format!("the value of {key} is larger than 512 KiB")));
        }
        ConfigChange::Set { key, value, if_version } => match if_version {
            Some(version) => json!({"Verb": "cas", "Key": key, "Value": STANDARD.encode(value), "Index": version}),
            None => json!({"Verb": "set", "Key": key, "Value": STANDARD.encode(value)}),
        },
        ConfigChange::Delete { key, if_version: Some(version) } => {
            json!({"Verb": "delete-cas", "Key": key, "Index": version})
        }
        ConfigChange::Delete { key, if_version: None } => json!({"Verb": "delete", "Key": key}),
        ConfigChange::CheckVersion { key, version: 0 } => json!({"Verb": "check-not-exists", "Key": key}),
        ConfigChange::CheckVersion { key, version } => json!({"Verb": "check-index", "Key": key, "Index": version}),
        ConfigChange::CheckLock { key, session } => json!({"Verb": "check-session", "Key": key, "Session": session}),
    })
}

fn key_of(part: &ConfigChange) -> &str {
    match part {
        ConfigChange::Set { key, .. }
        | ConfigChange::Delete { key, .. }
        | ConfigChange::CheckVersion { key, .. }
        | ConfigChange::CheckLock { key, .. } => key,
    }
}

/// The error of the first operation that failed.
fn rolled_back(change: &[ConfigChange], failure: &TransactionFailure) -> Error {
    let first = failure.errors.iter().min_by_key(|error| error.op_index);
    let part = first.and_then(|error| change.get(error.op_index));
    let message = first.map(|error| error.what.clone()).unwrap_or_default();
    match part {
        Some(ConfigChange::CheckLock { key, .. }) => {
            Error::new(ErrorKind::Locked, format!("the lock {key} was lost")).because(message)
        }
        Some(part) if message.contains("Permission denied") => {
            Error::new(ErrorKind::Denied, format!("change key {}", key_of(part))).because(message)
        }
        Some(part) => {
            let what = format!("key {} has changed since it was read", key_of(part));
            Error::new(ErrorKind::Conflict, what).because(message).hint("read it again; nothing was changed")
        }
        None => Error::new(ErrorKind::Conflict, "keys have changed since they were read").because(message),
    }
}
