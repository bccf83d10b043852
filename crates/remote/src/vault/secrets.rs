//! Secrets of versioned key-value engines.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use serde_json::Value;
use vaultrs::api::kv2::requests::SetSecretRequestOptions;
use vaultrs::api::kv2::responses::ReadSecretMetadataResponse;
use vaultrs::kv2;

use super::Vault;
use super::session::present;
use mfctl_core::domain::{Secret, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Result, SecretShape, SecretStore};

/// No engine has more secrets, and none is deeper.
const MOST: usize = 100_000;
const DEEPEST: usize = 32;

#[async_trait]
impl SecretStore for Vault {
    async fn identity(&self) -> Result<String> {
        let health = self.health().await?;
        let id = health.get("cluster_id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| Error::new(ErrorKind::Unreachable, "Vault does not say which cluster it is"))
    }

    async fn shape(&self, mount: &str, path: &str) -> Result<Option<SecretShape>> {
        let found = self.read_all(mount, path).await?;
        Ok(found.map(|(version, fields)| SecretShape { version, fields: fields.into_keys().collect() }))
    }

    async fn changed_at(&self, mount: &str, path: &str) -> Result<Option<Timestamp>> {
        let Some(metadata) = self.metadata(mount, path).await? else { return Ok(None) };
        let latest = metadata.versions.get(&metadata.current_version.to_string());
        // A version that is to be deleted later has a time that is yet to come.
        let deleted = latest.and_then(|latest| latest.deletion_time.parse().ok()).filter(|at| *at <= Timestamp::now());
        let written = latest.and_then(|latest| latest.created_time.parse().ok());
        Ok(deleted.or(written))
    }

    async fn read(&self, mount: &str, path: &str, field: &str) -> Result<Option<Secret>> {
        let fields = self.fields(mount, path, None).await?;
        Ok(fields.and_then(|mut fields| fields.remove(field)).map(secret))
    }

    async fn read_all(&self, mount: &str, path: &str) -> Result<Option<(u64, BTreeMap<String, Secret>)>> {
        let Some(version) = self.version(mount, path).await? else { return Ok(None) };
        let found = self.fields(mount, path, Some(version)).await?;
        Ok(found.map(|fields| (version, fields.into_iter().map(|(name, value)| (name, secret(value))).collect())))
    }

    async fn write(&self, mount: &str, path: &str, fields: &BTreeMap<String, Secret>, after: u64) -> Result<()> {
        let what = format!("write secret {mount}/{path}");
        let latest = match after {
            0 => self.gone(mount, path, &what).await?,
            after => after,
        };
        let cas =
            u32::try_from(latest).map_err(|error| Error::new(ErrorKind::Invalid, what.as_str()).because(error))?;
        let data: BTreeMap<&str, &str> = fields.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        let write = |client: std::sync::Arc<vaultrs::client::VaultClient>| {
            let data = data.clone();
            async move { kv2::set_with_options(client.as_ref(), mount, path, &data, SetSecretRequestOptions { cas }).await }
        };
        match self.sessions.call_once(&what, &write).await {
            // Nobody knows whether it was written: it is written again, unless what is there then is this.
            Err(failed) if failed.is_cut => {
                let is_ours = |(version, there)| version == latest + 1 && there == *fields;
                match self.sessions.call_once(&what, &write).await.map(drop).map_err(Error::from) {
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        let there = self.read_all(mount, path).await.ok().flatten();
                        if there.is_some_and(is_ours) { Ok(()) } else { Err(error) }
                    }
                    again => again,
                }
            }
            written => Ok(written.map(drop)?),
        }
    }

    async fn paths(&self, mount: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for name in self.list(mount, &folder).await? {
                let path = format!("{folder}{name}");
                if !name.ends_with('/') {
                    found.push(path);
                } else if depth < DEEPEST {
                    folders.push((path, depth + 1));
                }
            }
            if found.len() + folders.len() > MOST {
                return Err(Error::new(ErrorKind::Invalid, format!("{mount} holds more than {MOST} secrets")));
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Vault {
    async fn list(&self, mount: &str, folder: &str) -> Result<Vec<String>> {
        let what = format!("list secrets below {mount}/{folder}");
        let list = |client: std::sync::Arc<vaultrs::client::VaultClient>| async move {
            kv2::list(client.as_ref(), mount, folder).await
        };
        Ok(present(self.sessions.call(&what, list).await)?.unwrap_or_default())
    }

    /// The number of the latest version, whether or not it is deleted.
    async fn version(&self, mount: &str, path: &str) -> Result<Option<u64>> {
        let found = self.metadata(mount, path).await?;
        Ok(found.map(|metadata| metadata.current_version).filter(|version| *version > 0))
    }

    /// What a secret that is not there counts on from: a deleted one goes on counting. `Conflict` when it is there. The
    /// version that is looked at is the one that is answered, so that no other which came meanwhile is written over.
    async fn gone(&self, mount: &str, path: &str, what: &str) -> Result<u64> {
        let Some(metadata) = self.metadata(mount, path).await? else { return Ok(0) };
        let version = metadata.current_version;
        if version == 0 {
            return Ok(0);
        }
        let latest = metadata.versions.get(&version.to_string());
        let is_there = latest.is_some_and(|latest| !latest.destroyed && latest.deletion_time.is_empty());
        // One that is to be deleted later has a time too, and is still there.
        if is_there || self.fields(mount, path, Some(version)).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, what)
                .because("it is there already")
                .hint("somebody else wrote it meanwhile: look at it again"));
        }
        Ok(version)
    }

    async fn metadata(&self, mount: &str, path: &str) -> Result<Option<ReadSecretMetadataResponse>> {
        let what = format!("look at secret {mount}/{path}");
        let look = |client: std::sync::Arc<vaultrs::client::VaultClient>| async move {
            kv2::read_metadata(client.as_ref(), mount, path).await
        };
        present(self.sessions.call(&what, look).await)
    }

    /// The fields of a version, of the latest without one; `None` if it is not there, or deleted.
    async fn fields(&self, mount: &str, path: &str, version: Option<u64>) -> Result<Option<HashMap<String, Value>>> {
        let what = format!("read secret {mount}/{path}");
        let read = |client: std::sync::Arc<vaultrs::client::VaultClient>| async move {
            match version {
                Some(version) => kv2::read_version(client.as_ref(), mount, path, version).await,
                None => kv2::read(client.as_ref(), mount, path).await,
            }
        };
        present(self.sessions.call(&what, read).await)
    }
}

fn secret(value: Value) -> Secret {
    match value {
        Value::String(text) => Secret::new(text),
        other => Secret::new(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::session::tests::answered;
    use super::*;

    const NEVER: &str = "";

    /// What Vault answers when a secret `b` has version 1, with this password.
    fn version_one(password: &str) -> [Option<(u16, String)>; 2] {
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
        let read = json!({"data": {"password": password}, "metadata": of_one});
        let answer = |data: Value| {
            let head =
                json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data});
            Some((200, head.to_string()))
        };
        [answer(metadata), answer(read)]
    }

    /// The connection breaks after a new secret was sent, and when it is sent again there is one already.
    async fn written_twice(there: &str) -> Result<()> {
        let absent = Some((404, json!({"errors": []}).to_string()));
        let refused = json!({"errors": ["check-and-set parameter did not match the current version"]});
        let answers = [vec![absent, None, Some((400, refused.to_string()))], version_one(there).to_vec()].concat();
        let vault = Vault { sessions: answered(answers).await };
        vault.write("secret", "b", &[("password".to_owned(), Secret::new("ours"))].into(), 0).await
    }

    #[tokio::test]
    async fn a_secret_that_was_written_before_the_connection_broke_is_written() {
        written_twice("ours").await.unwrap();
        assert_eq!(written_twice("another's").await.unwrap_err().kind(), ErrorKind::Conflict);
    }
}
