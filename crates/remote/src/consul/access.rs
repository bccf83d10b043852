//! ACL policies and tokens, which consulrs does not have.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Consul;
use super::exchange::{ConsulRequest, ConsulResponse, Exchange};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, ConsulToken, Error, ErrorKind, Result};

/// The prefix of the names of Consul's own policies.
const BUILT_IN: &str = "builtin/";
const MANAGEMENT: &str = "global-management";
const CONCURRENT_READS: usize = 16;
/// The accessor of Consul's anonymous token.
const ANONYMOUS: Uuid = Uuid::from_u128(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AclPolicy {
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
struct AclToken {
    #[serde(rename = "AccessorID")]
    accessor: Uuid,
    #[serde(default)]
    description: String,
    #[serde(default)]
    policies: Option<Vec<PolicyLink>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyLink {
    name: String,
}

#[async_trait]
impl ConsulAcl for Consul {
    async fn bootstrap(&self, secret: &Secret) -> Result<bool> {
        let what = "bootstrap Consul's ACL system";
        let body = json!({"BootstrapSecret": secret.expose()});
        let request: ConsulRequest<Value> = self.exchange.request(Method::PUT, &["acl", "bootstrap"]).json(&body);
        match self.exchange.send(request, what).await {
            Ok(response) => checked(response, what).map(|_| true),
            Err(error) if error.kind() == ErrorKind::Denied && error.full().contains("no longer allowed") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn policies(&self) -> Result<Vec<ConsulPolicy>> {
        // The list is without the rules.
        let listed = list_policies(&self.exchange).await?;
        let read = stream::iter(listed).map(|policy| read_policy(&self.exchange, policy));
        let found: Vec<Option<ConsulPolicy>> = read.buffer_unordered(CONCURRENT_READS).try_collect().await?;
        let mut policies: Vec<ConsulPolicy> = found.into_iter().flatten().collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(policies)
    }

    async fn put_policy(&self, policy: &ConsulPolicy) -> Result<()> {
        let what = format!("write policy {}", policy.name);
        let body = json!({"Name": policy.name, "Description": policy.description, "Rules": policy.rules});
        let id = policy_id(&self.exchange, &policy.name).await?;
        let path: Vec<&str> = ["acl", "policy"].into_iter().chain(id.as_deref()).collect();
        write(&self.exchange, self.exchange.request(Method::PUT, &path).json(&body), &what).await
    }

    async fn delete_policy(&self, name: &str) -> Result<()> {
        let Some(id) = policy_id(&self.exchange, name).await? else { return Ok(()) };
        let request = self.exchange.request(Method::DELETE, &["acl", "policy", &id]);
        write(&self.exchange, request, &format!("delete policy {name}")).await
    }

    async fn tokens(&self) -> Result<Vec<ConsulToken>> {
        let what = "list Consul's tokens";
        let request: ConsulRequest<Vec<AclToken>> = self.exchange.request(Method::GET, &["acl", "tokens"]);
        let tokens = checked(self.exchange.send(request, what).await?, what)?.content(what)?;
        let mut tokens: Vec<ConsulToken> = tokens
            .into_iter()
            .filter(|token| token.accessor != ANONYMOUS)
            .map(|AclToken { accessor, description, policies }| ConsulToken {
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
        let exists = self.tokens().await?.iter().any(|found| found.accessor == *accessor);
        let id = accessor.to_string();
        let mut body = json!({"AccessorID": id, "Description": description, "Policies": policies});
        let mut path = vec!["acl", "token"];
        if exists {
            path.push(&id);
        } else {
            body["SecretID"] = json!(secret.expose());
        }
        write(&self.exchange, self.exchange.request(Method::PUT, &path).json(&body), &what).await
    }

    async fn delete_token(&self, accessor: Uuid) -> Result<()> {
        if !self.tokens().await?.iter().any(|found| found.accessor == accessor) {
            return Ok(());
        }
        let id = accessor.to_string();
        let request = self.exchange.request(Method::DELETE, &["acl", "token", &id]);
        write(&self.exchange, request, &format!("delete token {id}")).await
    }
}

/// A policy with its rules; `None` for one that was deleted meanwhile.
async fn read_policy(exchange: &Exchange, AclPolicy { id, name, .. }: AclPolicy) -> Result<Option<ConsulPolicy>> {
    let what = format!("read policy {name}");
    let response = exchange.send(exchange.request(Method::GET, &["acl", "policy", &id]), &what).await?;
    if response.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let AclPolicy { name, description, rules, .. } = response.content(&what)?;
    Ok(Some(ConsulPolicy { name, description, rules }))
}

async fn policy_id(exchange: &Exchange, name: &str) -> Result<Option<String>> {
    Ok(list_policies(exchange).await?.into_iter().find(|policy| policy.name == name).map(|policy| policy.id))
}

/// The policies, without their rules, that are not Consul's own.
async fn list_policies(exchange: &Exchange) -> Result<Vec<AclPolicy>> {
    let what = "list Consul's policies";
    let request: ConsulRequest<Vec<AclPolicy>> = exchange.request(Method::GET, &["acl", "policies"]);
    let policies = checked(exchange.send(request, what).await?, what)?.content(what)?;
    let is_own = |policy: &AclPolicy| policy.name == MANAGEMENT || policy.name.starts_with(BUILT_IN);
    Ok(policies.into_iter().filter(|policy| !is_own(policy)).collect())
}

async fn write(exchange: &Exchange, request: ConsulRequest<Value>, what: &str) -> Result<()> {
    checked(exchange.send(request, what).await?, what).map(drop)
}

/// The response, unless it is 404 or 409, which no ACL call expects.
fn checked<T>(response: ConsulResponse<T>, what: &str) -> Result<ConsulResponse<T>> {
    match response.status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
            Err(Error::new(ErrorKind::Invalid, what).because(format!("{}: {}", response.status, response.excerpt())))
        }
        _ => Ok(response),
    }
}
