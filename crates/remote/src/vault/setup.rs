//! The first hours of a Vault: what is asked before anybody can log in, and with the root token that ends with them.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::error::error;
use super::exchange::{Request, exchange};
use crate::http::HttpOptions;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{AdminRole, Error, ErrorKind, InitKeys, Result, SealStatus, VaultSetup};

/// How long the wrapped secret id waits to be opened.
const WRAPPED_FOR: &str = "24h";

/// What `bootstrap` needs for what a manifest can declare.
const RULES: &str = r#"# mfctl bootstrap: mounts, policies, roles and secrets that manifests declare.
path "sys/mounts" { capabilities = ["read", "list"] }
path "sys/mounts/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/auth" { capabilities = ["read", "list"] }
path "sys/auth/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policy" { capabilities = ["read", "list"] }
path "sys/policy/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/+/role" { capabilities = ["list"] }
path "auth/+/role/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "+/data/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "+/metadata/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "+/config" { capabilities = ["create", "read", "update"] }
"#;

/// A Vault that nobody is logged in to.
#[derive(Debug)]
pub struct VaultServer {
    client: reqwest::Client,
    options: HttpOptions,
    url: String,
    namespace: Option<String>,
}

impl VaultServer {
    /// The Vault at this address. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid` for a file or proxy that cannot be used.
    pub fn new(options: HttpOptions, url: String, namespace: Option<String>) -> Result<Self> {
        Ok(Self { client: options.client()?, options, url, namespace })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>, what: &str) -> Result<Value> {
        self.asked(method, path, None, None, body, what).await
    }

    async fn with_token(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value> {
        self.asked(method, path, Some(token), None, body, what).await
    }

    async fn asked(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        wrapped_for: Option<&str>,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value> {
        let (token, namespace) = (token.map_or("", Secret::expose), self.namespace.as_deref());
        let request = Request { method, path, token, namespace, wrapped_for, body };
        let asked = exchange(&self.client, &self.url, request).await;
        asked.map_err(|failed| error(&self.options.settings, what, &failed))
    }
}

fn secret(value: &Value, what: &str) -> Result<Secret> {
    let missing = || Error::new(ErrorKind::Internal, format!("{what}: the answer lacks what it should give"));
    value.as_str().map(Secret::new).ok_or_else(missing)
}

fn state(said: &Value) -> SealStatus {
    SealStatus {
        initialised: said["initialized"].as_bool().unwrap_or(false),
        sealed: said["sealed"].as_bool().unwrap_or(true),
        threshold: said["t"].as_u64().unwrap_or(0),
        progress: said["progress"].as_u64().unwrap_or(0),
    }
}

#[async_trait]
impl VaultSetup for VaultServer {
    async fn seal_status(&self) -> Result<SealStatus> {
        let said = self.ask(Method::GET, "sys/seal-status", None, "ask whether Vault is sealed").await?;
        Ok(state(&said))
    }

    async fn initialise(&self, shares: u8, threshold: u8, pgp_keys: &[String]) -> Result<InitKeys> {
        let what = "initialise Vault";
        let mut body = json!({"secret_shares": shares, "secret_threshold": threshold});
        if !pgp_keys.is_empty() {
            body["pgp_keys"] = json!(pgp_keys);
        }
        let said = self.ask(Method::PUT, "sys/init", Some(&body), what).await.map_err(|error| {
            match error.full().contains("already initialized") {
                true => Error::new(ErrorKind::Conflict, what).because("it is initialised already"),
                false => error,
            }
        })?;
        let given = said["keys_base64"].as_array().into_iter().flatten();
        let shares_given = given.map(|share| secret(share, what)).collect::<Result<Vec<_>>>()?;
        if shares_given.len() != usize::from(shares) {
            return Err(Error::new(ErrorKind::Internal, format!("{what}: it gave {} shares", shares_given.len())));
        }
        Ok(InitKeys { shares: shares_given, root: secret(&said["root_token"], what)? })
    }

    async fn unseal(&self, share: &Secret) -> Result<SealStatus> {
        let body = json!({"key": share.expose()});
        Ok(state(&self.ask(Method::PUT, "sys/unseal", Some(&body), "unseal Vault").await?))
    }

    async fn create_admin_role(&self, token: &Secret, name: &str) -> Result<AdminRole> {
        let what = "make a role to go on with";
        let policy = format!("sys/policies/acl/{name}");
        self.with_token(Method::PUT, &policy, token, Some(&json!({"policy": RULES})), what).await?;
        let mounted = self.with_token(Method::GET, "sys/auth", token, None, what).await?;
        if mounted["data"].get("approle/").is_none() {
            self.with_token(Method::POST, "sys/auth/approle", token, Some(&json!({"type": "approle"})), what).await?;
        }
        let role = format!("auth/approle/role/{name}");
        let body = json!({"token_policies": [name], "token_ttl": "20m", "token_max_ttl": "24h"});
        self.with_token(Method::POST, &role, token, Some(&body), what).await?;
        let id = self.with_token(Method::GET, &format!("{role}/role-id"), token, None, what).await?;
        let (path, body) = (format!("{role}/secret-id"), json!({}));
        let wrapped = self.asked(Method::POST, &path, Some(token), Some(WRAPPED_FOR), Some(&body), what).await?;
        Ok(AdminRole {
            role_id: secret(&id["data"]["role_id"], what)?,
            wrapped_secret_id: secret(&wrapped["wrap_info"]["token"], what)?,
        })
    }

    async fn revoke(&self, token: &Secret) -> Result<()> {
        let what = "revoke the root token";
        self.with_token(Method::PUT, "auth/token/revoke-self", token, None, what).await.map(drop)
    }
}
