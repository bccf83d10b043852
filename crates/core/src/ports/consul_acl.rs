//! Consul's access control: policies, and tokens that are linked to them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::Result;
use crate::domain::Secret;

/// An ACL policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulPolicy {
    /// Unique name.
    pub name: String,
    /// Purpose, for people.
    pub description: String,
    /// Rules in Consul's policy language (HCL).
    pub rules: String,
}

/// An ACL token without its secret id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulToken {
    /// Accessor id, public.
    pub accessor: Uuid,
    /// Purpose, for people.
    pub description: String,
    /// Names of the linked policies.
    pub policies: BTreeSet<String>,
}

/// The ACL system of a Consul cluster.
///
/// Contract: built-in policies and the anonymous token are neither returned nor changed. A put of what exists already
/// changes nothing; a delete of what does not exist succeeds.
#[async_trait]
pub trait ConsulAcl: Send + Sync {
    /// Bootstraps the ACL system with this secret id, a UUID, for the first management token. `false`: it was
    /// bootstrapped before, and nothing changed.
    async fn bootstrap(&self, secret: &Secret) -> Result<bool>;

    /// Every policy, sorted by name.
    async fn policies(&self) -> Result<Vec<ConsulPolicy>>;

    /// Creates a policy, or updates the one of this name.
    async fn put_policy(&self, policy: &ConsulPolicy) -> Result<()>;

    /// Deletes a policy.
    async fn delete_policy(&self, name: &str) -> Result<()>;

    /// Every token, sorted by accessor id.
    async fn tokens(&self) -> Result<Vec<ConsulToken>>;

    /// Creates a token with this secret id, or updates the one of this accessor id, which keeps its secret id.
    async fn put_token(&self, token: &ConsulToken, secret: &Secret) -> Result<()>;

    /// Deletes a token.
    async fn delete_token(&self, accessor: Uuid) -> Result<()>;
}
