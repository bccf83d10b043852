//! Who may do what in Consul: policies, and the tokens that have them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::Result;
use crate::domain::Secret;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulPolicy {
    /// Its name, unique.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it allows, in Consul's language.
    pub rules: String,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulToken {
    /// Its public id.
    pub accessor: Uuid,
    /// What it is for.
    pub description: String,
    /// The names of its policies.
    pub policies: BTreeSet<String>,
}

/// The access control of a Consul.
///
/// Contract: the built-in policy and the anonymous token are not shown and cannot be touched. Putting what is there
/// already changes nothing.
#[async_trait]
pub trait ConsulAcl: Send + Sync {
    /// Begins the access control, with this secret, a UUID, as the one of a first token that may do everything. Answers
    /// whether it began now; `false`: it had begun before, and nothing was changed.
    async fn bootstrap(&self, secret: &Secret) -> Result<bool>;

    /// Every policy, by name.
    async fn policies(&self) -> Result<Vec<ConsulPolicy>>;

    /// Makes a policy, or changes the one of this name.
    async fn put_policy(&self, policy: &ConsulPolicy) -> Result<()>;

    /// Removes a policy; one that is not there is none.
    async fn delete_policy(&self, name: &str) -> Result<()>;

    /// Every token, by accessor.
    async fn tokens(&self) -> Result<Vec<ConsulToken>>;

    /// Makes a token with this secret, or changes the one of this accessor, whose secret then stays.
    async fn put_token(&self, token: &ConsulToken, secret: &Secret) -> Result<()>;

    /// Removes a token; one that is not there is none.
    async fn delete_token(&self, accessor: Uuid) -> Result<()>;
}
