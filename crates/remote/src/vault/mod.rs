//! Vault, or OpenBao, which has the same API: secrets, and the server's own configuration.
//!
//! Calls go through `vaultrs` over this crate's HTTP client, so that TLS, proxy and timeouts are the same as for every other
//! server, and no `VAULT_*` variable has an effect. Calls that `vaultrs` lacks, or parses more strictly than servers answer, go
//! over the same HTTP client (`exchange`).

mod admin;
mod client;
mod error;
mod exchange;
mod login;
mod secrets;
mod session;
mod setup;

use std::path::PathBuf;
use std::sync::Arc;

use super::http::HttpOptions;
pub use super::source::SecretSource;
use mfctl_core::ports::Result;
use session::SessionManager;
pub use setup::VaultServer;

/// How mfctl authenticates to Vault.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    /// With a configured token.
    Token(SecretSource),
    /// By AppRole.
    AppRole {
        /// The path of the auth method's mount.
        mount: String,
        /// The role's id.
        role_id: SecretSource,
        /// The secret id.
        secret_id: SecretId,
    },
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// The path of the auth method's mount.
        mount: String,
        /// The role to log in with.
        role: String,
        /// The service account's token.
        jwt: SecretSource,
    },
}

/// The secret id of an AppRole.
#[derive(Debug, Clone)]
pub enum SecretId {
    /// The secret id itself.
    Plain(SecretSource),
    /// A wrapping token, which can be unwrapped once; the secret id is kept in a file with mode 0600.
    Wrapped {
        /// The wrapping token.
        token: SecretSource,
        /// The file that keeps the secret id.
        kept: PathBuf,
    },
}

/// The address of Vault, and how to authenticate.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// TLS, proxy and timeouts.
    pub http: HttpOptions,
    /// `http://` or `https://`, as `VAULT_ADDR`.
    pub url: String,
    /// How to authenticate.
    pub login: VaultLogin,
    /// The namespace of every request (Vault Enterprise, OpenBao).
    pub namespace: Option<String>,
    /// The file that keeps the token of a login for the next process; `None`: it is not kept.
    pub token_file: Option<PathBuf>,
}

/// A client of Vault: secret store and administration.
#[derive(Debug, Clone)]
pub struct Vault {
    sessions: Arc<SessionManager>,
}

impl Vault {
    /// A client of the Vault at this address. Sends no request yet.
    ///
    /// # Errors
    /// `Invalid` for an address or a file that cannot be used.
    pub fn new(config: VaultConfig) -> Result<Self> {
        Ok(Self { sessions: SessionManager::new(config)? })
    }
}
