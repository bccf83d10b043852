//! The setup of a new Vault: it is initialised and unsealed, and the root token is replaced by an AppRole.

use async_trait::async_trait;

use super::Result;
use crate::domain::Secret;

/// Seal status, as of `sys/seal-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealStatus {
    /// Whether Vault has been initialised.
    pub initialised: bool,
    /// Whether Vault is sealed.
    pub sealed: bool,
    /// Number of key shares that unseal it.
    pub threshold: u64,
    /// Number of key shares entered so far.
    pub progress: u64,
}

/// Keys that Vault returns once, when it is initialised.
#[derive(Debug, Clone)]
pub struct InitKeys {
    /// Key shares; with PGP keys each is encrypted for its holder, in base64.
    pub shares: Vec<Secret>,
    /// Root token.
    pub root: Secret,
}

/// Credentials of the AppRole that replaces the root token.
#[derive(Debug, Clone)]
pub struct AdminRole {
    /// Role id.
    pub role_id: Secret,
    /// Wrapping token of its secret id; it can be unwrapped once.
    pub wrapped_secret_id: Secret,
}

/// The setup of a new Vault.
///
/// Contract: no error contains a key share, a token or an id. No method logs in: the caller passes its token.
#[async_trait]
pub trait VaultSetup: Send + Sync {
    /// Current seal status.
    async fn seal_status(&self) -> Result<SealStatus>;

    /// Initialises Vault with `shares` key shares, `threshold` of which unseal it. With `pgp_keys`, one per share in
    /// base64, the shares are returned encrypted. `Conflict` when it is initialised already.
    async fn initialise(&self, shares: u8, threshold: u8, pgp_keys: &[String]) -> Result<InitKeys>;

    /// Enters one key share.
    async fn unseal(&self, share: &Secret) -> Result<SealStatus>;

    /// Creates a policy and an AppRole of this name that can create everything a manifest can declare. A second call
    /// creates another secret id.
    async fn create_admin_role(&self, token: &Secret, name: &str) -> Result<AdminRole>;

    /// Revokes a token.
    async fn revoke(&self, token: &Secret) -> Result<()>;
}
