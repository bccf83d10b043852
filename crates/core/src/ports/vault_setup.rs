//! A Vault's first hours: it is initialised, unsealed, and handed over from the root token to a role.

use async_trait::async_trait;

use super::Result;
use crate::domain::Secret;

/// Whether it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealStatus {
    /// Whether it has keys at all.
    pub initialised: bool,
    /// Whether it is closed.
    pub sealed: bool,
    /// How many shares open it.
    pub threshold: u64,
    /// How many of those were given since it was closed.
    pub progress: u64,
}

/// What a Vault gives out once, when it is initialised.
#[derive(Debug, Clone)]
pub struct InitKeys {
    /// The shares of its key: encrypted for their holders, in base64, where there were PGP keys.
    pub shares: Vec<Secret>,
    /// The token that may do everything.
    pub root: Secret,
}

/// A role that was made to go on with.
#[derive(Debug, Clone)]
pub struct AdminRole {
    /// The role's id.
    pub role_id: Secret,
    /// The token that its secret id is wrapped in; it opens once.
    pub wrapped_secret_id: Secret,
}

/// A Vault that is set up.
///
/// Contract: no error holds a share, a token or an id. Nothing here logs in: who calls shows the token that it has.
#[async_trait]
pub trait VaultSetup: Send + Sync {
    /// Whether it is open.
    async fn seal_status(&self) -> Result<SealStatus>;

    /// Gives it keys: `threshold` of `shares` open it. With PGP keys, one for each share, in base64, the shares come
    /// encrypted. `Conflict` when it has keys.
    async fn initialise(&self, shares: u8, threshold: u8, pgp_keys: &[String]) -> Result<InitKeys>;

    /// Gives one share of the key.
    async fn unseal(&self, share: &Secret) -> Result<SealStatus>;

    /// Makes a policy and a role of this name, with which everything can be made that a manifest can declare. Doing it twice
    /// makes another secret id.
    async fn create_admin_role(&self, token: &Secret, name: &str) -> Result<AdminRole>;

    /// Ends a token.
    async fn revoke(&self, token: &Secret) -> Result<()>;
}
