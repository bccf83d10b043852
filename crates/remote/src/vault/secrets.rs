//! Secrets in key-value engines of version 2.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;
use serde_json::Value;
use vaultrs::api::kv2::requests::SetSecretRequestOptions;
use vaultrs::api::kv2::responses::{ReadSecretMetadataResponse, SecretMetadata};
use vaultrs::client::VaultClient;
use vaultrs::kv2;

use super::Vault;
use super::error::{CallError, call_with_retry, existing, port_error};
use super::exchange::client_exchange;
use super::session::SessionManager;
use mfctl_core::domain::{Secret, SecretValue, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Result, SecretShape, SecretStore};

/// Limits of one walk through an engine's paths.
const MAX_PATHS: usize = 100_000;
const MAX_DEPTH: usize = 32;

#[async_trait]
impl SecretStore for Vault {
    async fn identity(&self) -> Result<String> {
        let what = "read Vault's health";
        let client = Arc::new(self.sessions.anonymous_client()?);
        let path = "sys/health?standbyok=true&perfstandbyok=true";
        let health = call_with_retry(|| client_exchange(Arc::clone(&client), Method::GET, path, None)).await;
        let health = health.map_err(|failed| port_error(self.sessions.settings(), what, &failed))?;
        let id = health.get("cluster_id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| Error::new(ErrorKind::Unreachable, format!("{what}: it has no cluster id")))
    }

    async fn shape(&self, mount: &str, path: &str) -> Result<Option<SecretShape>> {
        let found = self.read_all(mount, path).await?;
        Ok(found.map(|(version, fields)| {
            let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
            SecretShape { version, fields: filled.map(|(name, _)| name).collect() }
        }))
    }

    async fn changed_at(&self, mount: &str, path: &str) -> Result<Option<Timestamp>> {
        let Some(metadata) = self.secret(mount, path).metadata().await? else { return Ok(None) };
        let latest = metadata.versions.get(&metadata.current_version.to_string());
        // A version with `delete_version_after` has a deletion time in the future.
        let deleted = latest.and_then(|latest| latest.deletion_time.parse().ok()).filter(|at| *at <= Timestamp::now());
        let written = latest.and_then(|latest| latest.created_time.parse().ok());
        Ok(deleted.or(written))
    }

    async fn read(&self, mount: &str, path: &str, field: &str) -> Result<Option<Secret>> {
        let fields = self.secret(mount, path).fields(None).await?;
        let value = fields.and_then(|mut fields| fields.remove(field));
        value.map(|value| text_of(value, mount, path, field)).transpose()
    }

    async fn read_all(&self, mount: &str, path: &str) -> Result<Option<(u64, BTreeMap<String, SecretValue>)>> {
        let secret = self.secret(mount, path);
        let metadata = secret.metadata().await?;
        let Some(version) = metadata.map(|metadata| metadata.current_version).filter(|version| *version > 0) else {
            return Ok(None);
        };
        let fields = secret.fields(Some(version)).await?;
        let values = |fields: HashMap<String, Value>| {
            fields.into_iter().map(|(name, value)| (name, SecretValue::new(value))).collect()
        };
        Ok(fields.map(|fields| (version, values(fields))))
    }

    async fn write(&self, mount: &str, path: &str, fields: &BTreeMap<String, SecretValue>, after: u64) -> Result<()> {
        let secret = self.secret(mount, path);
        let what = format!("write secret {mount}/{path}");
        let latest = match after {
            0 => secret.version_before_creation(&what).await?,
            after => after,
        };
        match secret.put(fields, latest, &what).await {
            // Whether it was written is not known. It is written again; a conflict then is no error if the new version is
            // this one.
            Err(failed) if failed.connection_lost => {
                match secret.put(fields, latest, &what).await.map_err(Error::from) {
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        let stored = self.read_all(mount, path).await.ok().flatten();
                        let is_ours = |(version, stored)| version == latest + 1 && stored == *fields;
                        if stored.is_some_and(is_ours) { Ok(()) } else { Err(error) }
                    }
                    outcome => outcome,
                }
            }
            outcome => Ok(outcome?),
        }
    }

    async fn paths(&self, mount: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for name in list(&self.sessions, mount, &folder).await? {
                let path = format!("{folder}{name}");
                if !name.ends_with('/') {
                    found.push(path);
                } else if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            }
            if found.len() + folders.len() > MAX_PATHS {
                return Err(Error::new(ErrorKind::Invalid, format!("{mount} holds more than {MAX_PATHS} secrets")));
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Vault {
    fn secret<'a>(&'a self, mount: &'a str, path: &'a str) -> KvSecret<'a> {
        KvSecret { sessions: &self.sessions, mount, path }
    }
}

/// The names directly below a folder; folders end in a slash.
async fn list(sessions: &SessionManager, mount: &str, folder: &str) -> Result<Vec<String>> {
    let what = format!("list secrets below {mount}/{folder}");
    let list = |client: Arc<VaultClient>| async move { kv2::list(client.as_ref(), mount, folder).await };
    Ok(existing(sessions.call(&what, list).await)?.unwrap_or_default())
}

/// One secret of a key-value engine.
struct KvSecret<'a> {
    sessions: &'a SessionManager,
    mount: &'a str,
    path: &'a str,
}

impl KvSecret<'_> {
    /// Writes the version after `latest`. After a lost connection whether it was written is not known.
    async fn put(&self, fields: &BTreeMap<String, SecretValue>, latest: u64, what: &str) -> Result<(), CallError> {
        let KvSecret { sessions, mount, path } = *self;
        let cas = u32::try_from(latest).map_err(|error| Error::new(ErrorKind::Invalid, what).because(error))?;
        let data: BTreeMap<&str, &Value> = fields.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        let put = |client: Arc<VaultClient>| {
            let data = data.clone();
            async move { kv2::set_with_options(client.as_ref(), mount, path, &data, SetSecretRequestOptions { cas }).await }
        };
        sessions.call_once(what, put).await.map(drop)
    }

    /// The latest version of a secret that does not exist: 0, or that of a deleted secret, whose versions continue.
    /// `Conflict` when the secret exists. The version that was checked is the one that is answered, so that a version written
    /// meanwhile is not overwritten.
    async fn version_before_creation(&self, what: &str) -> Result<u64> {
        let Some(metadata) = self.metadata().await? else { return Ok(0) };
        let version = metadata.current_version;
        if version == 0 {
            return Ok(0);
        }
        let is_live = |latest: &SecretMetadata| !latest.destroyed && latest.deletion_time.is_empty();
        let exists = metadata.versions.get(&version.to_string()).is_some_and(is_live);
        // A version whose deletion time is in the future still exists.
        if exists || self.fields(Some(version)).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, what)
                .because("it exists already")
                .hint("it was written meanwhile: read it again"));
        }
        Ok(version)
    }

    async fn metadata(&self) -> Result<Option<ReadSecretMetadataResponse>> {
        let KvSecret { sessions, mount, path } = *self;
        let read = |client: Arc<VaultClient>| async move { kv2::read_metadata(client.as_ref(), mount, path).await };
        existing(sessions.call(&format!("read the metadata of secret {mount}/{path}"), read).await)
    }

    /// The fields of a version, by default the latest; `None` if it does not exist or is deleted.
    async fn fields(&self, version: Option<u64>) -> Result<Option<HashMap<String, Value>>> {
        let KvSecret { sessions, mount, path } = *self;
        let read = |client: Arc<VaultClient>| async move {
            match version {
                Some(version) => kv2::read_version(client.as_ref(), mount, path, version).await,
                None => kv2::read(client.as_ref(), mount, path).await,
            }
        };
        existing(sessions.call(&format!("read secret {mount}/{path}"), read).await)
    }
}

/// The text of a field that is used as a secret. No other value is: JSON's `null` would be sent as a password of four letters.
fn text_of(value: Value, mount: &str, path: &str, field: &str) -> Result<Secret> {
    let found = match value {
        Value::String(text) => return Ok(Secret::new(text)),
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Err(Error::new(ErrorKind::Invalid, format!("field {field} of secret {mount}/{path} is {found}, not text"))
        .hint("write it as text, with quotes in JSON: `vault kv patch` changes one field and keeps the others"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::super::session::tests::{answered, session_at, token_lookup};
    use super::*;

    const NEVER: &str = "";

    /// The metadata and the answer to a read of a secret at version 1, with these fields.
    fn version_one(fields: &Value) -> [Value; 2] {
        let time = "2026-01-01T00:00:00Z";
        let version = json!({"created_time": time, "deletion_time": NEVER, "destroyed": false});
        let metadata = json!({
            "cas_required": false, "created_time": time, "current_version": 1, "delete_version_after": "0s",
            "max_versions": 0, "oldest_version": 0, "updated_time": time, "custom_metadata": null,
            "versions": {"1": version},
        });
        let mut of_one = version;
        of_one["custom_metadata"] = Value::Null;
        of_one["version"] = json!(1);
        [metadata, json!({"data": fields, "metadata": of_one})].map(
            |data| json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data}),
        )
    }

    fn ok(answer: &Value) -> Option<(u16, String)> {
        Some((200, answer.to_string()))
    }

    /// A Vault with one secret at version 1, and the bodies of the writes that it receives.
    async fn vault_with(fields: &Value) -> (Vault, Arc<Mutex<Vec<Value>>>) {
        let [metadata, read] = version_one(fields);
        let written = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&written);
        let handler = move |request: axum::extract::Request| {
            let path = request.uri().path().to_owned();
            let (metadata, mut read, received) = (metadata.clone(), read.clone(), Arc::clone(&received));
            async move {
                let is_write = request.method() != Method::GET && path.contains("/data/");
                let answer = match is_write {
                    true => {
                        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                        received.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                        read["data"] = read["data"]["metadata"].take();
                        read
                    }
                    false if path.contains("/metadata/") => metadata,
                    false if path.contains("/data/") => read,
                    false => token_lookup(),
                };
                answer.to_string()
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
        (Vault { sessions: session_at(url) }, written)
    }

    /// The connection is lost after a new secret was sent; at the second try a secret with this password exists.
    async fn written_twice(stored: &str) -> Result<()> {
        let absent = Some((404, json!({"errors": []}).to_string()));
        let refused = json!({"errors": ["check-and-set parameter did not match the current version"]});
        let found = version_one(&json!({"password": stored})).iter().map(ok).collect();
        let answers = [vec![absent, None, Some((400, refused.to_string()))], found].concat();
        let vault = Vault { sessions: answered(answers).await };
        vault.write("secret", "b", &[("password".to_owned(), Secret::new("ours").into())].into(), 0).await
    }

    #[tokio::test]
    async fn field_that_is_not_text_is_refused_by_name() {
        for (value, found) in [(json!(null), "null"), (json!(7), "a number"), (json!({"a": 1}), "an object")] {
            let [_, read] = version_one(&json!({"password": value}));
            let vault = Vault { sessions: answered(vec![ok(&read)]).await };
            let error = vault.read("secret", "media/s3", "password").await.unwrap_err();
            let expected = format!("field password of secret secret/media/s3 is {found}, not text");
            assert!(error.kind() == ErrorKind::Invalid && error.full().contains(&expected), "{}", error.full());
        }
    }

    #[tokio::test]
    async fn fields_that_are_written_back_keep_their_json_values() {
        let stored =
            json!({"null": null, "port": 5432, "rate": 0.5, "on": true, "list": [1, "a"], "map": {"a": {"b": 1}}});
        let (vault, written) = vault_with(&stored).await;
        let (version, mut fields) = vault.read_all("secret", "media/s3").await.unwrap().unwrap();
        fields.insert("password".to_owned(), Secret::new("hunter2").into());
        vault.write("secret", "media/s3", &fields, version).await.unwrap();
        let mut expected = stored;
        expected["password"] = json!("hunter2");
        assert_eq!(*written.lock().unwrap(), [json!({"data": expected, "options": {"cas": 1}})]);
    }

    #[tokio::test]
    async fn fields_without_a_value_are_not_in_the_shape() {
        let (vault, _) = vault_with(&json!({"a": null, "b": "", "c": "x", "d": 0, "e": " "})).await;
        let shape = vault.shape("secret", "media/s3").await.unwrap().unwrap();
        assert_eq!(shape.fields, ["c", "d", "e"].map(str::to_owned).into());
    }

    #[tokio::test]
    async fn write_applied_before_a_lost_connection_is_success() {
        written_twice("ours").await.unwrap();
        assert_eq!(written_twice("another's").await.unwrap_err().kind(), ErrorKind::Conflict);
    }
}
