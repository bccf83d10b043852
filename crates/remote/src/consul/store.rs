//! Keys and values.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::exchange::Answer;
use super::{Consul, lock};
use mfctl_core::ports::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, Error, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES,
    Result,
};

/// The longest that Consul lets anybody wait.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The least, so that a store which is changed all the time is not asked all the time.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// Consul's words where everybody may do everything.
const ACCESS_CONTROL_IS_OFF: &str = "ACL support disabled";

/// A key as Consul has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Pair {
    pub(super) key: String,
    value: Option<String>,
    modify_index: u64,
    pub(super) session: Option<String>,
}

impl Pair {
    pub(super) fn entry(self) -> Result<ConfigEntry> {
        let value = self.value.map_or(Ok(Vec::new()), |text| STANDARD.decode(text)).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("the value of {} cannot be read", self.key)).because(error)
        })?;
        Ok(ConfigEntry { key: self.key, value, version: self.modify_index })
    }
}

/// Whether something may be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decision {
    allow: bool,
}

/// Why a transaction was not applied.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reason {
    op_index: usize,
    what: String,
}

#[async_trait]
impl ConfigStore for Consul {
    async fn identity(&self) -> Result<String> {
        let what = "ask Consul for its data centres";
        let answer = self.exchange.ask(Method::GET, &["catalog", "datacenters"], &[], None, what).await?;
        // The nearest first: the agent's own.
        let centres: Vec<String> = answer.read(what)?;
        let none = || Error::new(ErrorKind::Unreachable, format!("{what}: it knows none"));
        centres.into_iter().next().ok_or_else(none)
    }

    async fn get(&self, key: &str) -> Result<Option<ConfigEntry>> {
        check_key(key)?;
        self.pair(key).await?.map(Pair::entry).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<ConfigSnapshot> {
        let what = format!("read the keys below {prefix}");
        let query = [("recurse", String::new()), ("consistent", String::new())];
        let answer = self.exchange.ask(Method::GET, &path(prefix), &query, None, &what).await?;
        self.snapshot(&answer, prefix, &what).await
    }

    async fn wait_for_change(&self, prefix: &str, after: u64, patience: Duration) -> Result<ConfigSnapshot> {
        let what = format!("wait for a change below {prefix}");
        let wait = patience.min(LONGEST_WAIT);
        let query = [
            ("recurse", String::new()),
            ("index", after.to_string()),
            ("wait", format!("{}ms", wait.as_millis().max(1))),
        ];
        // Consul adds up to a sixteenth, so that not everybody comes back at once.
        let limit = wait + wait / 16 + Duration::from_secs(10);
        let answer = self.exchange.ask_patiently(Method::GET, &path(prefix), &query, None, &what, Some(limit)).await?;
        let found = self.snapshot(&answer, prefix, &what).await?;
        if found.index < after {
            // It began anew: what was known of its moments is worth nothing.
            return self.list(prefix).await;
        }
        if found.index > after {
            let jitter = SHORTEST_WAIT.mul_f64(1.0 + fastrand::f64());
            tokio::time::sleep(jitter.min(patience)).await;
        }
        Ok(found)
    }

    async fn apply(&self, change: &[ConfigChange]) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let what = "change keys in Consul";
        let body = operations(change)?;
        let answer = self.exchange.ask(Method::PUT, &["txn"], &[], Some(&body), what).await?;
        match answer.status {
            StatusCode::CONFLICT => Err(refused(change, &answer.read(what)?)),
            StatusCode::NOT_FOUND => Err(Error::new(ErrorKind::Invalid, format!("{what}: {}", answer.shown()))),
            _ => Ok(()),
        }
    }

    async fn lock(&self, key: &str, holder: &str, lifetime: Duration) -> Result<Box<dyn ConfigLock>> {
        check_key(key)?;
        lock::take(self, key, holder, lifetime).await
    }
}

impl Consul {
    /// A key as it is now.
    pub(super) async fn pair(&self, key: &str) -> Result<Option<Pair>> {
        let what = format!("read key {key}");
        let query = [("consistent", String::new())];
        let answer = self.exchange.ask(Method::GET, &path(key), &query, None, &what).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return is_of_consul(&answer, &what).map(|()| None);
        }
        let mut pairs: Vec<Pair> = answer.read(&what)?;
        Ok(pairs.pop())
    }

    async fn snapshot(&self, answer: &Answer, prefix: &str, what: &str) -> Result<ConfigSnapshot> {
        is_of_consul(answer, what)?;
        // Keys that the token may not read are left out of a list without an error, be it all of them.
        if answer.is_filtered || self.exchange.is_nobody() && !self.lets_nobody_read(prefix).await? {
            let rule = format!("key_prefix {prefix:?} {{ policy = \"read\" }}");
            return Err(self.exchange.partial(what, &rule));
        }
        let index = answer.index.unwrap_or(0);
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(ConfigSnapshot { entries: Vec::new(), index });
        }
        let pairs: Vec<Pair> = answer.read(what)?;
        // Folders are keys that end in a slash.
        let keys = pairs.into_iter().filter(|pair| !pair.key.ends_with('/'));
        let mut entries = keys.map(Pair::entry).collect::<Result<Vec<_>>>()?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(ConfigSnapshot { entries, index })
    }

    /// Whether who shows no token may read what is below a prefix: a list does not say to those that it is not whole.
    /// What is denied again further below is not seen.
    async fn lets_nobody_read(&self, prefix: &str) -> Result<bool> {
        let what = format!("ask Consul who may read below {prefix}");
        let body = json!([{"Resource": "key", "Segment": prefix, "Access": "read"}]);
        let path = ["internal", "acl", "authorize"];
        match self.exchange.ask(Method::POST, &path, &[], Some(&body), &what).await {
            Ok(answer) => {
                let decisions: Vec<Decision> = answer.read(&what)?;
                Ok(decisions.iter().any(|decision| decision.allow))
            }
            // Without access control everybody may.
            Err(error) if error.kind() == ErrorKind::Denied && error.full().contains(ACCESS_CONTROL_IS_OFF) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The path of a key: each part by itself, so that a slash stays one.
pub(super) fn path(key: &str) -> Vec<&str> {
    ["kv"].into_iter().chain(key.split('/')).collect()
}

/// Nothing there is an answer of Consul's only with the moment it is of: anything in between may answer 404 too.
fn is_of_consul(answer: &Answer, what: &str) -> Result<()> {
    match answer.index {
        Some(_) => Ok(()),
        None => {
            Err(Error::new(ErrorKind::Unreachable, format!("{what}: the answer is not Consul's ({})", answer.shown())))
        }
    }
}

fn check_key(key: &str) -> Result<()> {
    match key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        true => Err(Error::new(ErrorKind::Invalid, format!("{key:?} is no key"))),
        false => Ok(()),
    }
}

fn operations(change: &[ConfigChange]) -> Result<Value> {
    if change.len() > MAX_CHANGES {
        let what = format!("a change of {} parts, more than {MAX_CHANGES}", change.len());
        return Err(Error::new(ErrorKind::Invalid, what));
    }
    change.iter().map(|part| Ok(json!({"KV": operation(part)?}))).collect()
}

fn operation(part: &ConfigChange) -> Result<Value> {
    check_key(key_of(part))?;
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

fn refused(change: &[ConfigChange], refused: &Refused) -> Error {
    let first = refused.errors.iter().min_by_key(|reason| reason.op_index);
    let part = first.and_then(|reason| change.get(reason.op_index));
    let said = first.map(|reason| reason.what.clone()).unwrap_or_default();
    match part {
        Some(ConfigChange::CheckLock { key, .. }) => {
            Error::new(ErrorKind::Locked, format!("the lock {key} was lost")).because(said)
        }
        // `ACL not found` and `Permission denied` come back the same way.
        Some(part) if said.contains("Permission denied") => {
            Error::new(ErrorKind::Denied, format!("change key {}", key_of(part))).because(said)
        }
        Some(part) => {
            let what = format!("key {} is not what it was when it was read", key_of(part));
            Error::new(ErrorKind::Conflict, what).because(said).hint("look at it again; nothing was changed")
        }
        None => Error::new(ErrorKind::Conflict, "keys are not what they were when they were read").because(said),
    }
}
