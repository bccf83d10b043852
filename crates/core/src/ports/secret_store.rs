//! Secrets where they are kept, and who may read them there: Vault's API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::Result;
use crate::domain::{Secret, Timestamp};

/// What a secret is made of, without what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretShape {
    /// Its version, from 1.
    pub version: u64,
    /// The names of its fields.
    pub fields: BTreeSet<String>,
}

/// Secrets of a versioned key-value engine.
///
/// Contract: no error, and no text of this port, holds a field's value. A sealed or unreachable store is `Unreachable`, with
/// a hint that says which; a login that is over is renewed or made again before it is an error.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Which store it is, in words that stay for its life: the cluster's id.
    async fn identity(&self) -> Result<String>;

    /// The shape of the secret at `<mount>/<path>`; `None` if there is none, or its latest version is deleted.
    async fn shape(&self, mount: &str, path: &str) -> Result<Option<SecretShape>>;

    /// When the secret became what it is: when its latest version was written, or deleted. `None` if there never was one.
    async fn changed_at(&self, mount: &str, path: &str) -> Result<Option<Timestamp>>;

    /// One field; `None` if there is no such secret or field.
    async fn read(&self, mount: &str, path: &str, field: &str) -> Result<Option<Secret>>;

    /// Every field of the latest version, with its number: what a version that comes after it takes over. `None` as of
    /// [`SecretStore::shape`].
    async fn read_all(&self, mount: &str, path: &str) -> Result<Option<(u64, BTreeMap<String, Secret>)>>;

    /// Writes a version with these fields. `Conflict` unless the latest version is `after`; 0: there is none.
    async fn write(&self, mount: &str, path: &str, fields: &BTreeMap<String, Secret>, after: u64) -> Result<()>;

    /// Every secret's path below a mount, at any depth, by name.
    async fn paths(&self, mount: &str) -> Result<Vec<String>>;
}

/// Whether something is mounted as an engine of secrets or as a way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountClass {
    /// An engine of secrets.
    Secrets,
    /// A way to log in.
    Auth,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultMount {
    /// As what.
    pub class: MountClass,
    /// Where, without slashes at its ends.
    pub path: String,
    /// Its type: `kv`, `approle`, `pki`.
    pub kind: String,
    /// What it is for.
    pub description: String,
    /// The version of a `kv` engine.
    pub kv_version: Option<u8>,
    /// How long its leases last at most; zero: as the server says.
    pub max_lease: Duration,
}

/// A role that programs log in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    /// The mount it is of, without slashes at its ends.
    pub mount: String,
    /// Its name.
    pub name: String,
    /// The names of the policies of its tokens.
    pub policies: BTreeSet<String>,
    /// How long a token lives before it must be renewed; zero: as the server says.
    pub token_ttl: Duration,
    /// How long a token lives in all; zero: as the server says.
    pub token_max_ttl: Duration,
    /// How long a secret id is good for; zero: for ever.
    pub secret_id_ttl: Duration,
    /// How often a secret id may be used; 0: without limit.
    pub secret_id_uses: u64,
}

/// The store's own configuration.
///
/// Contract: what the server mounts by itself (`sys`, `identity`, `cubbyhole`, `token`) and its built-in policies (`root`,
/// `default`) are not shown. Putting what is there already changes nothing; what cannot be changed in place (a mount's
/// type or version) is `Invalid`. Removing what is not there does nothing.
#[async_trait]
pub trait VaultAdmin: Send + Sync {
    /// What is mounted, by class and path.
    async fn mounts(&self) -> Result<Vec<VaultMount>>;

    /// Mounts it, or changes the description and the longest lease of what is there.
    async fn put_mount(&self, mount: &VaultMount) -> Result<()>;

    /// Unmounts it, with all it holds.
    async fn delete_mount(&self, class: MountClass, path: &str) -> Result<()>;

    /// Every policy's name and rules.
    async fn policies(&self) -> Result<BTreeMap<String, String>>;

    /// When a policy was changed last; `None` where the server does not say, or there is none.
    async fn policy_changed_at(&self, name: &str) -> Result<Option<Timestamp>>;

    /// Makes or changes a policy.
    async fn put_policy(&self, name: &str, rules: &str) -> Result<()>;

    /// Removes a policy.
    async fn delete_policy(&self, name: &str) -> Result<()>;

    /// Every role of a mount, by name; none when nothing is mounted there.
    async fn roles(&self, mount: &str) -> Result<Vec<AppRole>>;

    /// Makes or changes a role.
    async fn put_role(&self, role: &AppRole) -> Result<()>;

    /// Removes a role.
    async fn delete_role(&self, mount: &str, name: &str) -> Result<()>;
}
