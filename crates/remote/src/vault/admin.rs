//! Administration: mounts, policies and AppRole roles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use vaultrs::client::VaultClient;
use vaultrs::sys::policy;

use super::Vault;
use super::error::{CallError, existing};
use super::exchange::client_exchange;
use super::session::SessionManager;
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{AppRole, Error, ErrorKind, MountClass, Result, VaultAdmin, VaultMount};

/// The types of mounts that every server has.
const BUILT_IN_TYPES: [&str; 5] = ["cubbyhole", "identity", "ns_cubbyhole", "ns_identity", "system"];
/// The policies that every server has.
const BUILT_IN_POLICIES: [&str; 2] = ["root", "default"];
const CONCURRENT_READS: usize = 16;

/// A mount as the API lists it; older servers leave fields out.
#[derive(Debug, Deserialize)]
struct MountEntry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    config: MountConfig,
}

#[derive(Debug, Default, Deserialize)]
struct MountConfig {
    #[serde(default)]
    max_lease_ttl: u64,
}

#[derive(Debug, Deserialize)]
struct AppRoleEntry {
    #[serde(default)]
    token_policies: Vec<String>,
    #[serde(default)]
    token_ttl: u64,
    #[serde(default)]
    token_max_ttl: u64,
    #[serde(default)]
    secret_id_ttl: u64,
    #[serde(default)]
    secret_id_num_uses: u64,
}

#[async_trait]
impl VaultAdmin for Vault {
    async fn mounts(&self) -> Result<Vec<VaultMount>> {
        list_all_mounts(&self.sessions).await
    }

    async fn put_mount(&self, mount: &VaultMount) -> Result<()> {
        match put_mount_once(&self.sessions, mount).await {
            // Whether it was mounted is not known: the second try looks.
            Err(failed) if failed.connection_lost => Ok(put_mount_once(&self.sessions, mount).await?),
            outcome => Ok(outcome?),
        }
    }

    async fn delete_mount(&self, class: MountClass, path: &str) -> Result<()> {
        let call = ApiCall::new(Method::DELETE, mount_path(class, path));
        Ok(call.send(&self.sessions, &format!("unmount {path}")).await.map(drop)?)
    }

    async fn policies(&self) -> Result<BTreeMap<String, String>> {
        let list = |client: Arc<VaultClient>| async move { policy::list(client.as_ref()).await };
        let names = self.sessions.call("list Vault's policies", list).await.map_err(Error::from)?.policies;
        let names = names.into_iter().filter(|name| !BUILT_IN_POLICIES.contains(&name.as_str()));
        let read = stream::iter(names).map(|name| async move {
            let read = |client: Arc<VaultClient>| {
                let name = name.clone();
                async move { policy::read(client.as_ref(), &name).await }
            };
            let found = existing(self.sessions.call(&format!("read policy {name}"), read).await)?;
            Ok::<_, Error>(found.map(|found| (name, found.rules)))
        });
        let found: Vec<_> = read.buffer_unordered(CONCURRENT_READS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn policy_changed_at(&self, name: &str) -> Result<Option<Timestamp>> {
        let call = ApiCall::new(Method::GET, format!("sys/policies/acl/{name}"));
        let found = existing(call.send(&self.sessions, &format!("read policy {name}")).await)?;
        // OpenBao has this field from 2.3 on; Vault does not.
        Ok(found.and_then(|found| found.get("modified")?.as_str()?.parse().ok()))
    }

    async fn put_policy(&self, name: &str, rules: &str) -> Result<()> {
        let write = |client: Arc<VaultClient>| async move { policy::set(client.as_ref(), name, rules).await };
        Ok(self.sessions.call(&format!("write policy {name}"), write).await?)
    }

    async fn delete_policy(&self, name: &str) -> Result<()> {
        let delete = |client: Arc<VaultClient>| async move { policy::delete(client.as_ref(), name).await };
        Ok(self.sessions.call(&format!("delete policy {name}"), delete).await?)
    }

    async fn roles(&self, mount: &str) -> Result<Vec<AppRole>> {
        let list = ApiCall::new(Method::GET, format!("auth/{mount}/role?list=true"));
        let found = existing(list.send(&self.sessions, &format!("list the roles of {mount}")).await)?;
        let names: Vec<String> =
            found.and_then(|found| serde_json::from_value(found.get("keys")?.clone()).ok()).unwrap_or_default();
        let read = stream::iter(names).map(|name| read_role(&self.sessions, mount, name));
        let found: Vec<Option<AppRole>> = read.buffer_unordered(CONCURRENT_READS).try_collect().await?;
        let mut roles: Vec<AppRole> = found.into_iter().flatten().collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles)
    }

    async fn put_role(&self, role: &AppRole) -> Result<()> {
        let body = json!({
            "token_policies": role.policies,
            "token_ttl": seconds(role.token_ttl),
            "token_max_ttl": seconds(role.token_max_ttl),
            "secret_id_ttl": seconds(role.secret_id_ttl),
            "secret_id_num_uses": role.secret_id_uses,
        });
        let call = ApiCall::new(Method::POST, role_path(&role.mount, &role.name)).body(body);
        Ok(call.send(&self.sessions, &format!("write role {}", role.name)).await.map(drop)?)
    }

    async fn delete_role(&self, mount: &str, name: &str) -> Result<()> {
        let call = ApiCall::new(Method::DELETE, role_path(mount, name));
        Ok(call.send(&self.sessions, &format!("delete role {name}")).await.map(drop)?)
    }
}

/// A plain call of Vault's API with the session's login.
struct ApiCall {
    method: Method,
    /// Below `v1/`.
    path: String,
    body: Option<Value>,
}

impl ApiCall {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, body: None }
    }

    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Makes an idempotent call and returns its `data`.
    async fn send(&self, sessions: &SessionManager, what: &str) -> Result<Value, CallError> {
        sessions.call(what, |client| self.exchange(client)).await
    }

    /// Makes a call that is not repeated after a lost connection.
    async fn send_once(&self, sessions: &SessionManager, what: &str) -> Result<Value, CallError> {
        sessions.call_once(what, |client| self.exchange(client)).await
    }

    async fn exchange(&self, client: Arc<VaultClient>) -> Result<Value, vaultrs::error::ClientError> {
        client_exchange(client, self.method.clone(), &self.path, self.body.as_ref()).await
    }
}

/// Mounts, or tunes what is mounted. After a lost connection whether it was applied is not known.
async fn put_mount_once(sessions: &SessionManager, mount: &VaultMount) -> Result<(), CallError> {
    let mounts = list_all_mounts(sessions).await?;
    let existing = mounts.into_iter().find(|found| found.class == mount.class && found.path == mount.path);
    let path = mount_path(mount.class, &mount.path);
    let max_lease_ttl = seconds(mount.max_lease);
    let Some(existing) = existing else {
        let options = mount.kv_version.map(|version| json!({"version": version.to_string()}));
        let body = json!({
            "type": mount.kind, "description": mount.description, "options": options,
            "config": {"max_lease_ttl": max_lease_ttl},
        });
        let call = ApiCall::new(Method::POST, path).body(body);
        return call.send_once(sessions, &format!("mount {}", mount.path)).await.map(drop);
    };
    if existing.kind != mount.kind || existing.kv_version != mount.kv_version {
        let what = format!("{} is a mount of type {}; its type cannot be changed", mount.path, existing.kind);
        return Err(Error::new(ErrorKind::Invalid, what).into());
    }
    if existing == *mount {
        return Ok(());
    }
    let body = json!({"description": mount.description, "max_lease_ttl": max_lease_ttl});
    let call = ApiCall::new(Method::POST, format!("{path}/tune")).body(body);
    call.send(sessions, &format!("tune {}", mount.path)).await.map(drop)
}

/// The secret engines and auth methods that are not built in, sorted.
async fn list_all_mounts(sessions: &SessionManager) -> Result<Vec<VaultMount>> {
    let secrets = list_mounts(sessions, MountClass::Secrets);
    let auth = list_mounts(sessions, MountClass::Auth);
    let (secrets, auth) = tokio::try_join!(secrets, auth)?;
    let mut mounts: Vec<VaultMount> = secrets.into_iter().chain(auth).collect();
    mounts.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
    Ok(mounts)
}

async fn list_mounts(sessions: &SessionManager, class: MountClass) -> Result<Vec<VaultMount>> {
    let (path, what) = match class {
        MountClass::Secrets => ("sys/mounts", "list Vault's secret engines"),
        MountClass::Auth => ("sys/auth", "list Vault's auth methods"),
    };
    let found = ApiCall::new(Method::GET, path.to_owned()).send(sessions, what).await?;
    let unreadable = |error| Error::new(ErrorKind::Internal, what).because(error);
    let entries: BTreeMap<String, MountEntry> = serde_json::from_value(found).map_err(unreadable)?;
    let declared = entries.into_iter().filter(|(path, entry)| {
        !(BUILT_IN_TYPES.contains(&entry.kind.as_str()) || class == MountClass::Auth && path == "token/")
    });
    Ok(declared.map(|(path, entry)| entry.mount(class, &path)).collect())
}

async fn read_role(sessions: &SessionManager, mount: &str, name: String) -> Result<Option<AppRole>> {
    let what = format!("read role {name}");
    let call = ApiCall::new(Method::GET, role_path(mount, &name));
    let Some(found) = existing(call.send(sessions, &what).await)? else { return Ok(None) };
    let role: AppRoleEntry =
        serde_json::from_value(found).map_err(|error| Error::new(ErrorKind::Internal, what).because(error))?;
    Ok(Some(AppRole {
        mount: mount.to_owned(),
        name,
        policies: role.token_policies.into_iter().collect(),
        token_ttl: Duration::from_secs(role.token_ttl),
        token_max_ttl: Duration::from_secs(role.token_max_ttl),
        secret_id_ttl: Duration::from_secs(role.secret_id_ttl),
        secret_id_uses: role.secret_id_num_uses,
    }))
}

fn mount_path(class: MountClass, path: &str) -> String {
    match class {
        MountClass::Secrets => format!("sys/mounts/{path}"),
        MountClass::Auth => format!("sys/auth/{path}"),
    }
}

fn role_path(mount: &str, name: &str) -> String {
    format!("auth/{mount}/role/{name}")
}

/// A duration as Vault reads it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

impl MountEntry {
    fn mount(self, class: MountClass, path: &str) -> VaultMount {
        let version = self.options.as_ref().and_then(|options| options.get("version")?.parse().ok());
        let kv_version = (class == MountClass::Secrets && self.kind == "kv").then(|| version.unwrap_or(1));
        VaultMount {
            class,
            path: path.trim_matches('/').to_owned(),
            kind: self.kind,
            description: self.description.unwrap_or_default(),
            kv_version,
            max_lease: Duration::from_secs(self.config.max_lease_ttl),
        }
    }
}
