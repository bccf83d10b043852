//! Vault, or OpenBao, which answers the same API: secrets, and the store's own configuration.
//!
//! Through `vaultrs`, with a client of ours underneath, so that whom to trust, proxies and patience are those of every other
//! server and no variable of Vault's own is heard. What `vaultrs` has no call for, or reads more strictly than servers answer,
//! is asked with that same client.

mod admin;
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
use session::Sessions;
pub use setup::VaultServer;

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    /// By a token that somebody gave us.
    Token(SecretSource),
    /// As a role, with a secret id.
    AppRole {
        /// Where it is mounted.
        mount: String,
        /// The role's id.
        role_id: SecretSource,
        /// The secret id.
        secret_id: SecretId,
    },
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// Where it is mounted.
        mount: String,
        /// The role.
        role: String,
        /// The token.
        jwt: SecretSource,
    },
}

/// A role's secret id.
#[derive(Debug, Clone)]
pub enum SecretId {
    /// As it is.
    Plain(SecretSource),
    /// Wrapped: it can be unwrapped once, and what comes out is kept in a file that only we can read.
    Wrapped {
        /// The wrapping token.
        token: SecretSource,
        /// Where the secret id is kept.
        kept: PathBuf,
    },
}

/// Where Vault is, and who we are.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// How to reach it.
    pub http: HttpOptions,
    /// Its address.
    pub url: String,
    /// How we log in.
    pub login: VaultLogin,
    /// The namespace, where there are some.
    pub namespace: Option<String>,
    /// Where a token that we logged in for is kept for the next process; none: nowhere.
    pub token_file: Option<PathBuf>,
}

/// A Vault.
#[derive(Debug, Clone)]
pub struct Vault {
    sessions: Arc<Sessions>,
}

impl Vault {
    /// The Vault at this address. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid` for an address or a file that cannot be used.
    pub fn new(config: VaultConfig) -> Result<Self> {
        Ok(Self { sessions: Sessions::new(config)? })
    }
}
