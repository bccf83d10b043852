//! Consul, by its HTTP API: configuration, the lock, who may do what, and where the healthy instances of a service are.
//!
//! A read never goes to a server that may be behind, and one of a cluster without a leader is an outage, not an empty
//! store: whoever took it for empty would make or remove everything. So would who took for whole a list from which Consul
//! left out what the token may not read: it is `Denied`.

mod access;
mod discovery;
mod exchange;
mod identity;
mod lock;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use super::http::HttpOptions;
use super::source::SecretSource;
use exchange::Exchange;
use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum ConsulLogin {
    /// Not at all: it lets everybody.
    Nobody,
    /// By a token that somebody gave us.
    Token(Secret),
    /// By a login, whose token is made again when it is over.
    Method {
        /// The auth method's name.
        method: String,
        /// What proves it: a JWT, such as a service account's.
        bearer: SecretSource,
        /// Where the token is kept for the next process; none: nowhere.
        token_file: Option<PathBuf>,
    },
}

/// Where Consul is, and who we are.
#[derive(Debug, Clone)]
pub struct ConsulConfig {
    /// How to reach it.
    pub http: HttpOptions,
    /// Its address.
    pub url: String,
    /// Who we are.
    pub login: ConsulLogin,
    /// The data centre, where it is not the agent's own.
    pub datacenter: Option<String>,
}

/// A Consul.
#[derive(Debug, Clone)]
pub struct Consul {
    exchange: Arc<Exchange>,
}

impl Consul {
    /// The Consul at this address. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid` for an address, a token or a file that cannot be used.
    pub fn new(config: ConsulConfig) -> Result<Self> {
        Ok(Self { exchange: Arc::new(Exchange::new(config)?) })
    }
}
