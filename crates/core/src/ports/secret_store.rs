//! The secret store and its configuration, by Vault's API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::Result;
use crate::domain::{Secret, SecretValue, Timestamp};

/// Version and field names of a secret, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretShape {
    /// Version, counted from 1.
    pub version: u64,
    /// Names of the fields that hold a value; a field that is null or an empty text is left out.
    pub fields: BTreeSet<String>,
}

/// Secrets of a versioned key-value engine (KV v2).
///
/// Contract: no error and no text of this port contains the value of a field. A sealed or unreachable store is
/// `Unreachable`, with a hint that says which; an expired login is renewed or repeated before it becomes an error.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The store's stable identity, Vault's cluster id; a profile pins it.
    async fn identity(&self) -> Result<String>;

    /// Shape of the secret at `<mount>/<path>`; `None` if it does not exist or its latest version is deleted.
    async fn shape(&self, mount: &str, path: &str) -> Result<Option<SecretShape>>;

    /// Time the latest version was written or deleted; `None` if the secret never existed.
    async fn changed_at(&self, mount: &str, path: &str) -> Result<Option<Timestamp>>;

    /// Value of one field; `None` if the secret or the field does not exist.
    async fn read(&self, mount: &str, path: &str, field: &str) -> Result<Option<Secret>>;

    /// Number and fields of the latest version, to base the next version on. `None` as for [`SecretStore::shape`].
    async fn read_all(&self, mount: &str, path: &str) -> Result<Option<(u64, BTreeMap<String, SecretValue>)>>;

    /// Writes a new version with check-and-set: `Conflict` unless the latest version is `after` (0: none).
    async fn write(&self, mount: &str, path: &str, fields: &BTreeMap<String, SecretValue>, after: u64) -> Result<()>;

    /// Paths of all secrets below a mount, at any depth, sorted.
    async fn paths(&self, mount: &str) -> Result<Vec<String>>;
}

/// Class of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountClass {
    /// Secrets engine.
    Secrets,
    /// Auth method.
    Auth,
}

/// A mounted secrets engine or auth method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultMount {
    /// Secrets engine or auth method.
    pub class: MountClass,
    /// Path without leading or trailing slash.
    pub path: String,
    /// Type: `kv`, `approle`, `pki`.
    pub kind: String,
    /// Purpose, for people.
    pub description: String,
    /// Version of a `kv` engine.
    pub kv_version: Option<u8>,
    /// `max_lease_ttl`; zero: the server's default.
    pub max_lease: Duration,
}

/// A role of the AppRole auth method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    /// Path of its auth mount, without leading or trailing slash.
    pub mount: String,
    /// Role name.
    pub name: String,
    /// Policies of its tokens.
    pub policies: BTreeSet<String>,
    /// `token_ttl`: lifetime of a token without renewal; zero: the server's default.
    pub token_ttl: Duration,
    /// `token_max_ttl`: lifetime of a token with renewals; zero: the server's default.
    pub token_max_ttl: Duration,
    /// `secret_id_ttl`: lifetime of a secret id; zero: unlimited.
    pub secret_id_ttl: Duration,
    /// `secret_id_num_uses`: how often a secret id may be used; 0: unlimited.
    pub secret_id_uses: u64,
}

/// Vault's own configuration: mounts, policies, AppRoles.
///
/// Contract: the server's own mounts (`sys`, `identity`, `cubbyhole`, `token`) and built-in policies (`root`, `default`)
/// are not returned. A put of what exists already changes nothing; a change that cannot be made in place (a mount's type
/// or version) is `Invalid`. A delete of what does not exist succeeds.
#[async_trait]
pub trait VaultAdmin: Send + Sync {
    /// Every mount, sorted by class and path.
    async fn mounts(&self) -> Result<Vec<VaultMount>>;

    /// Mounts an engine or auth method, or updates the description and `max_lease_ttl` of an existing one.
    async fn put_mount(&self, mount: &VaultMount) -> Result<()>;

    /// Unmounts an engine or auth method, which deletes its data.
    async fn delete_mount(&self, class: MountClass, path: &str) -> Result<()>;

    /// Rules of every policy, by name.
    async fn policies(&self) -> Result<BTreeMap<String, String>>;

    /// Time of a policy's last change; `None` where the server does not report it or the policy does not exist.
    async fn policy_changed_at(&self, name: &str) -> Result<Option<Timestamp>>;

    /// Creates or updates a policy.
    async fn put_policy(&self, name: &str, rules: &str) -> Result<()>;

    /// Deletes a policy.
    async fn delete_policy(&self, name: &str) -> Result<()>;

    /// Every AppRole of a mount, sorted by name; none when nothing is mounted there.
    async fn roles(&self, mount: &str) -> Result<Vec<AppRole>>;

    /// Creates or updates an AppRole.
    async fn put_role(&self, role: &AppRole) -> Result<()>;

    /// Deletes an AppRole.
    async fn delete_role(&self, mount: &str, name: &str) -> Result<()>;
}
