//! Policies and tokens.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Consul;
use super::exchange::Answer;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, ConsulToken, Error, ErrorKind, Result};

/// Policies that Consul has by itself begin so.
const BUILT_IN: &str = "builtin/";
const MANAGEMENT: &str = "global-management";
/// Policies read at once.
const AT_ONCE: usize = 16;
/// The token of who shows none.
const ANONYMOUS: Uuid = Uuid::from_u128(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    rules: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Token {
    #[serde(rename = "AccessorID")]
    accessor: Uuid,
    #[serde(default)]
    description: String,
    #[serde(default)]
    policies: Option<Vec<Link>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Link {
    name: String,
}

#[async_trait]
impl ConsulAcl for Consul {
    async fn bootstrap(&self, secret: &Secret) -> Result<bool> {
        let what = "begin Consul's access control";
        let body = json!({"BootstrapSecret": secret.expose()});
        match self.exchange.ask(Method::PUT, &["acl", "bootstrap"], &[], Some(&body), what).await {
            Ok(answer) => found(&answer, what).map(|_| true),
            Err(error) if error.kind() == ErrorKind::Denied && error.full().contains("no longer allowed") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn policies(&self) -> Result<Vec<ConsulPolicy>> {
        // The list has no rules in it.
        let listed = self.listed().await?;
        let read = stream::iter(listed).map(|policy| self.policy(policy)).buffer_unordered(AT_ONCE);
        let found: Vec<Option<ConsulPolicy>> = read.try_collect().await?;
        let mut policies: Vec<ConsulPolicy> = found.into_iter().flatten().collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(policies)
    }

    async fn put_policy(&self, policy: &ConsulPolicy) -> Result<()> {
        let what = format!("write policy {}", policy.name);
        let body = json!({"Name": policy.name, "Description": policy.description, "Rules": policy.rules});
        let id = self.listed().await?.into_iter().find(|found| found.name == policy.name).map(|found| found.id);
        let path: Vec<&str> = ["acl", "policy"].into_iter().chain(id.as_deref()).collect();
        self.write(Method::PUT, &path, Some(&body), &what).await
    }

    async fn delete_policy(&self, name: &str) -> Result<()> {
        match self.listed().await?.into_iter().find(|found| found.name == name) {
            Some(Policy { id, .. }) => {
                self.write(Method::DELETE, &["acl", "policy", &id], None, &format!("remove policy {name}")).await
            }
            None => Ok(()),
        }
    }

    async fn tokens(&self) -> Result<Vec<ConsulToken>> {
        let what = "list Consul's tokens";
        let answer = self.exchange.ask(Method::GET, &["acl", "tokens"], &[], None, what).await?;
        let tokens: Vec<Token> = found(&answer, what)?.read(what)?;
        let mut tokens: Vec<ConsulToken> = tokens
            .into_iter()
            .filter(|token| token.accessor != ANONYMOUS)
            .map(|Token { accessor, description, policies }| ConsulToken {
                accessor,
                description,
                policies: policies.unwrap_or_default().into_iter().map(|link| link.name).collect(),
            })
            .collect();
        tokens.sort_by_key(|token| token.accessor);
        Ok(tokens)
    }

    async fn put_token(&self, token: &ConsulToken, secret: &Secret) -> Result<()> {
        let ConsulToken { accessor, description, policies } = token;
        let what = format!("write token {description}");
        let policies: Vec<_> = policies.iter().map(|name| json!({"Name": name})).collect();
        let is_there = self.tokens().await?.iter().any(|found| found.accessor == *accessor);
        let id = accessor.to_string();
        if is_there {
            let body = json!({"AccessorID": id, "Description": description, "Policies": policies});
            return self.write(Method::PUT, &["acl", "token", &id], Some(&body), &what).await;
        }
        let body = json!({
            "AccessorID": id, "SecretID": secret.expose(), "Description": description, "Policies": policies,
        });
        self.write(Method::PUT, &["acl", "token"], Some(&body), &what).await
    }

    async fn delete_token(&self, accessor: Uuid) -> Result<()> {
        if !self.tokens().await?.iter().any(|found| found.accessor == accessor) {
            return Ok(());
        }
        let id = accessor.to_string();
        self.write(Method::DELETE, &["acl", "token", &id], None, &format!("remove token {id}")).await
    }
}

impl Consul {
    /// A policy with its rules; `None` for one that went meanwhile.
    async fn policy(&self, Policy { id, name, .. }: Policy) -> Result<Option<ConsulPolicy>> {
        let what = format!("read policy {name}");
        let answer = self.exchange.ask(Method::GET, &["acl", "policy", &id], &[], None, &what).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let Policy { name, description, rules, .. } = answer.read(&what)?;
        Ok(Some(ConsulPolicy { name, description, rules }))
    }

    async fn listed(&self) -> Result<Vec<Policy>> {
        let what = "list Consul's policies";
        let answer = self.exchange.ask(Method::GET, &["acl", "policies"], &[], None, what).await?;
        let policies: Vec<Policy> = found(&answer, what)?.read(what)?;
        let own = |policy: &Policy| policy.name == MANAGEMENT || policy.name.starts_with(BUILT_IN);
        Ok(policies.into_iter().filter(|policy| !own(policy)).collect())
    }

    async fn write(&self, method: Method, path: &[&str], body: Option<&serde_json::Value>, what: &str) -> Result<()> {
        let answer = self.exchange.ask(method, path, &[], body, what).await?;
        found(&answer, what).map(drop)
    }
}

/// The answer, unless it says that there is no such thing here.
fn found<'a>(answer: &'a Answer, what: &str) -> Result<&'a Answer> {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
            Err(Error::new(ErrorKind::Invalid, what).because(format!("{}: {}", answer.status, answer.shown())))
        }
        _ => Ok(answer),
    }
}
