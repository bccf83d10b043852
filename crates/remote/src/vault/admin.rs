//! What is mounted, policies, and the roles of AppRole.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use vaultrs::client::VaultClient;
use vaultrs::error::ClientError;
use vaultrs::sys::policy;

use super::Vault;
use super::error::again;
use super::exchange::{Request, exchange};
use super::session::{CallError, present};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{AppRole, Error, ErrorKind, MountClass, Result, VaultAdmin, VaultMount};

/// What a server mounts by itself.
const OWN: [&str; 5] = ["cubbyhole", "identity", "ns_cubbyhole", "ns_identity", "system"];
/// Policies that a server has by itself.
const OWN_POLICIES: [&str; 2] = ["root", "default"];
/// Things read at once.
const AT_ONCE: usize = 16;

/// What is mounted, as servers say it: the older say less.
#[derive(Debug, Deserialize)]
struct Mounted {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    config: Leases,
}

#[derive(Debug, Default, Deserialize)]
struct Leases {
    #[serde(default)]
    max_lease_ttl: u64,
}

/// A role, as servers say it.
#[derive(Debug, Deserialize)]
struct Role {
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
        let (secrets, auth) = tokio::try_join!(self.mounted(MountClass::Secrets), self.mounted(MountClass::Auth))?;
        let mut mounts: Vec<VaultMount> = secrets.into_iter().chain(auth).collect();
        mounts.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        Ok(mounts)
    }

    async fn put_mount(&self, mount: &VaultMount) -> Result<()> {
        match self.put_mount_once(mount).await {
            // It may be there now.
            Err(failed) if failed.is_cut => Ok(self.put_mount_once(mount).await?),
            done => Ok(done?),
        }
    }

    async fn delete_mount(&self, class: MountClass, path: &str) -> Result<()> {
        self.raw(Method::DELETE, address(class, path), None, format!("unmount {path}")).await.map(drop)
    }

    async fn policies(&self) -> Result<BTreeMap<String, String>> {
        let list = |client: Arc<VaultClient>| async move { policy::list(client.as_ref()).await };
        let names = self.sessions.call("list Vault's policies", list).await.map_err(Error::from)?.policies;
        let names = names.into_iter().filter(|name| !OWN_POLICIES.contains(&name.as_str()));
        let read = stream::iter(names).map(|name| async move {
            let read = |client: Arc<VaultClient>| {
                let name = name.clone();
                async move { policy::read(client.as_ref(), &name).await }
            };
            let found = present(self.sessions.call(&format!("read policy {name}"), read).await)?;
            Ok::<_, Error>(found.map(|found| (name, found.rules)))
        });
        let found: Vec<_> = read.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn policy_changed_at(&self, name: &str) -> Result<Option<Timestamp>> {
        let (at, what) = (format!("sys/policies/acl/{name}"), format!("read policy {name}"));
        let found = self.raw_if_there(Method::GET, at, None, what).await?;
        // OpenBao says so from 2.3 on; Vault does not.
        Ok(found.and_then(|found| found.get("modified")?.as_str()?.parse().ok()))
    }

    async fn put_policy(&self, name: &str, rules: &str) -> Result<()> {
        let write = |client: Arc<VaultClient>| async move { policy::set(client.as_ref(), name, rules).await };
        Ok(self.sessions.call(&format!("write policy {name}"), write).await?)
    }

    async fn delete_policy(&self, name: &str) -> Result<()> {
        let remove = |client: Arc<VaultClient>| async move { policy::delete(client.as_ref(), name).await };
        Ok(self.sessions.call(&format!("remove policy {name}"), remove).await?)
    }

    async fn roles(&self, mount: &str) -> Result<Vec<AppRole>> {
        let list = format!("auth/{mount}/role?list=true");
        let found = self.raw_if_there(Method::GET, list, None, format!("list the roles of {mount}")).await?;
        let names: Vec<String> =
            found.and_then(|found| serde_json::from_value(found.get("keys")?.clone()).ok()).unwrap_or_default();
        let read = stream::iter(names).map(|name| self.role(mount, name)).buffer_unordered(AT_ONCE);
        let found: Vec<Option<AppRole>> = read.try_collect().await?;
        let mut roles: Vec<AppRole> = found.into_iter().flatten().collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles)
    }

    async fn put_role(&self, role: &AppRole) -> Result<()> {
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let body = json!({
            "token_policies": role.policies,
            "token_ttl": seconds(role.token_ttl),
            "token_max_ttl": seconds(role.token_max_ttl),
            "secret_id_ttl": seconds(role.secret_id_ttl),
            "secret_id_num_uses": role.secret_id_uses,
        });
        let at = format!("auth/{}/role/{}", role.mount, role.name);
        self.raw(Method::POST, at, Some(body), format!("write role {}", role.name)).await.map(drop)
    }

    async fn delete_role(&self, mount: &str, name: &str) -> Result<()> {
        let at = format!("auth/{mount}/role/{name}");
        self.raw(Method::DELETE, at, None, format!("remove role {name}")).await.map(drop)
    }
}

impl Vault {
    /// One try; nobody knows what became of it when the connection broke.
    async fn put_mount_once(&self, mount: &VaultMount) -> Result<(), CallError> {
        let there =
            self.mounts().await?.into_iter().find(|found| found.class == mount.class && found.path == mount.path);
        let at = address(mount.class, &mount.path);
        let Some(there) = there else {
            let options = mount.kv_version.map(|version| json!({"version": version.to_string()}));
            let body = json!({
                "type": mount.kind, "description": mount.description, "options": options,
                "config": {"max_lease_ttl": format!("{}s", mount.max_lease.as_secs())},
            });
            return self.asked_once(Method::POST, at, Some(body), &format!("mount {}", mount.path)).await.map(drop);
        };
        if there.kind != mount.kind || there.kv_version != mount.kv_version {
            let what = format!("{} is a mount of type {}, and cannot become another", mount.path, there.kind);
            return Err(Error::new(ErrorKind::Invalid, what).into());
        }
        if there == *mount {
            return Ok(());
        }
        let body = json!({
            "description": mount.description, "max_lease_ttl": format!("{}s", mount.max_lease.as_secs()),
        });
        self.asked(Method::POST, format!("{at}/tune"), Some(body), &format!("tune {}", mount.path)).await.map(drop)
    }

    async fn mounted(&self, class: MountClass) -> Result<Vec<VaultMount>> {
        let what = match class {
            MountClass::Secrets => "list Vault's engines",
            MountClass::Auth => "list Vault's ways to log in",
        };
        let path = if class == MountClass::Secrets { "sys/mounts" } else { "sys/auth" };
        let found = self.raw(Method::GET, path.to_owned(), None, what.to_owned()).await?;
        let unread = |error| Error::new(ErrorKind::Internal, what).because(error);
        let mounted: BTreeMap<String, Mounted> = serde_json::from_value(found).map_err(unread)?;
        let others = mounted.into_iter().filter(|(path, mounted)| {
            !(OWN.contains(&mounted.kind.as_str()) || class == MountClass::Auth && path == "token/")
        });
        Ok(others.map(|(path, mounted)| mounted.named(class, &path)).collect())
    }

    async fn role(&self, mount: &str, name: String) -> Result<Option<AppRole>> {
        let what = format!("read role {name}");
        let at = format!("auth/{mount}/role/{name}");
        let Some(found) = self.raw_if_there(Method::GET, at, None, what.clone()).await? else { return Ok(None) };
        let role: Role =
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

    /// Whether Vault is there, and what it says of itself. Asked without a token.
    pub(super) async fn health(&self) -> Result<Value> {
        let client = self.sessions.client("")?;
        let query = "sys/health?standbyok=true&perfstandbyok=true";
        let answered = again(|| ask(&client, Method::GET, query, None)).await;
        answered.map_err(|failed| super::error::error(self.sessions.settings(), "ask Vault how it is", &failed))
    }

    /// A call that `vaultrs` does not have; answers `data`.
    async fn raw(&self, method: Method, path: String, body: Option<Value>, what: String) -> Result<Value> {
        self.asked(method, path, body, &what).await.map_err(Error::from)
    }

    async fn raw_if_there(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
        what: String,
    ) -> Result<Option<Value>> {
        present(self.asked(method, path, body, &what).await)
    }

    async fn asked(&self, method: Method, path: String, body: Option<Value>, what: &str) -> Result<Value, CallError> {
        self.sessions.call(what, asking(method, path, body)).await.map(data)
    }

    async fn asked_once(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
        what: &str,
    ) -> Result<Value, CallError> {
        self.sessions.call_once(what, asking(method, path, body)).await.map(data)
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Value, ClientError>> + Send>>;

/// An exchange that `vaultrs` does not have, to be called.
fn asking(method: Method, path: String, body: Option<Value>) -> impl Fn(Arc<VaultClient>) -> Asked {
    move |client| {
        let (method, path, body) = (method.clone(), path.clone(), body.clone());
        Box::pin(async move { ask(&client, method, &path, body.as_ref()).await })
    }
}

fn data(mut answer: Value) -> Value {
    answer.get_mut("data").map(Value::take).unwrap_or(answer)
}

/// An exchange over a client's own connection.
async fn ask(client: &VaultClient, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
    let (token, namespace) = (client.middle.token.as_str(), client.middle.namespace.as_deref());
    let request = Request { method, path, token, namespace, wrapped_for: None, body };
    exchange(&client.http.http, &client.http.base, request).await
}

fn address(class: MountClass, path: &str) -> String {
    match class {
        MountClass::Secrets => format!("sys/mounts/{path}"),
        MountClass::Auth => format!("sys/auth/{path}"),
    }
}

impl Mounted {
    fn named(self, class: MountClass, path: &str) -> VaultMount {
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
