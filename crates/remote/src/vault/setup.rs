//! The setup of a new Vault: calls without a login, and those with the initial root token, which the setup revokes.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::error::port_error;
use super::exchange::{VaultRequest, exchange};
use crate::http::HttpOptions;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{AdminRole, Error, ErrorKind, InitKeys, Result, SealStatus, VaultSetup};

/// How long the wrapped secret id can be unwrapped.
const SECRET_ID_WRAP_TTL: &str = "24h";

/// The policy of `bootstrap`: what manifests can declare.
const BOOTSTRAP_POLICY: &str = r#"# mfctl bootstrap: mounts, policies, roles and secrets that manifests declare.
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

/// A Vault without a login, for its initialisation and unsealing.
#[derive(Debug)]
pub struct VaultServer {
    client: reqwest::Client,
    options: HttpOptions,
    url: String,
    namespace: Option<String>,
}

impl VaultServer {
    /// A client of the Vault at this address. Sends no request yet.
    ///
    /// # Errors
    /// `Invalid` for a file or proxy that cannot be used.
    pub fn new(options: HttpOptions, url: String, namespace: Option<String>) -> Result<Self> {
        Ok(Self { client: options.client()?, options, url, namespace })
    }

    /// A call without a token.
    async fn anonymous(&self, method: Method, path: &str, body: Option<&Value>, what: &str) -> Result<Value> {
        let request = VaultRequest { method, path, token: "", namespace: None, wrap_ttl: None, body };
        self.send(request, what).await
    }

    async fn with_token(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value> {
        let request = VaultRequest { method, path, token: token.expose(), namespace: None, wrap_ttl: None, body };
        self.send(request, what).await
    }

    async fn send(&self, request: VaultRequest<'_>, what: &str) -> Result<Value> {
        let request = VaultRequest { namespace: self.namespace.as_deref(), ..request };
        let answer = exchange(&self.client, &self.url, request).await;
        answer.map_err(|failed| port_error(&self.options.settings, what, &failed))
    }
}

fn secret(value: &Value, what: &str) -> Result<Secret> {
    let missing = || Error::new(ErrorKind::Internal, format!("{what}: the answer lacks a secret"));
    value.as_str().map(Secret::new).ok_or_else(missing)
}

fn seal_status(answer: &Value) -> SealStatus {
    SealStatus {
        initialised: answer["initialized"].as_bool().unwrap_or(false),
        sealed: answer["sealed"].as_bool().unwrap_or(true),
        threshold: answer["t"].as_u64().unwrap_or(0),
        progress: answer["progress"].as_u64().unwrap_or(0),
    }
}

#[async_trait]
impl VaultSetup for VaultServer {
    async fn seal_status(&self) -> Result<SealStatus> {
        let answer = self.anonymous(Method::GET, "sys/seal-status", None, "read Vault's seal status").await?;
        Ok(seal_status(&answer))
    }

    async fn initialise(&self, shares: u8, threshold: u8, pgp_keys: &[String]) -> Result<InitKeys> {
        let what = "initialise Vault";
        let mut body = json!({"secret_shares": shares, "secret_threshold": threshold});
        if !pgp_keys.is_empty() {
            body["pgp_keys"] = json!(pgp_keys);
        }
        let answer = self.anonymous(Method::PUT, "sys/init", Some(&body), what).await.map_err(|error| {
            match error.full().contains("already initialized") {
                true => Error::new(ErrorKind::Conflict, what).because("it is initialised already"),
                false => error,
            }
        })?;
        let given = answer["keys_base64"].as_array().into_iter().flatten();
        let key_shares = given.map(|share| secret(share, what)).collect::<Result<Vec<_>>>()?;
        if key_shares.len() != usize::from(shares) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{what}: it answered {} key shares", key_shares.len()),
            ));
        }
        Ok(InitKeys { shares: key_shares, root: secret(&answer["root_token"], what)? })
    }

    async fn unseal(&self, share: &Secret) -> Result<SealStatus> {
        let body = json!({"key": share.expose()});
        Ok(seal_status(&self.anonymous(Method::PUT, "sys/unseal", Some(&body), "unseal Vault").await?))
    }

    async fn create_admin_role(&self, token: &Secret, name: &str) -> Result<AdminRole> {
        let what = "create the AppRole of bootstrap";
        let policy = format!("sys/policies/acl/{name}");
        self.with_token(Method::PUT, &policy, token, Some(&json!({"policy": BOOTSTRAP_POLICY})), what).await?;
        let mounted = self.with_token(Method::GET, "sys/auth", token, None, what).await?;
        if mounted["data"].get("approle/").is_none() {
            self.with_token(Method::POST, "sys/auth/approle", token, Some(&json!({"type": "approle"})), what).await?;
        }
        let role = format!("auth/approle/role/{name}");
        let body = json!({"token_policies": [name], "token_ttl": "20m", "token_max_ttl": "24h"});
        self.with_token(Method::POST, &role, token, Some(&body), what).await?;
        let id = self.with_token(Method::GET, &format!("{role}/role-id"), token, None, what).await?;
        let secret_id = VaultRequest {
            method: Method::POST,
            path: &format!("{role}/secret-id"),
            token: token.expose(),
            namespace: None,
            wrap_ttl: Some(SECRET_ID_WRAP_TTL),
            body: Some(&json!({})),
        };
        let wrapped = self.send(secret_id, what).await?;
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
