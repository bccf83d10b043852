//! Consul through its HTTP API: configuration (KV), locks (sessions), ACL policies and tokens, and the healthy instances of a
//! service.
//!
//! No read is a stale read, and an answer without a cluster leader is an outage, not an empty store: taken for empty, a plan
//! would create or delete everything. The same holds for a list from which Consul's ACLs filtered entries: it is `Denied`.
//!
//! KV, session and catalog calls are consulrs's requests and responses (`requests`), sent over this crate's own connection
//! (`exchange`), as are the calls that consulrs lacks: `docs/adr/0011-*`.

mod access;
mod discovery;
mod exchange;
mod identity;
mod keys;
mod lock;
mod requests;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use super::http::HttpOptions;
use super::instances::ServiceInstances;
use super::source::SecretSource;
use exchange::Exchange;
use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// How mfctl authenticates to Consul.
#[derive(Debug, Clone)]
pub enum ConsulLogin {
    /// Without a token: the rights of Consul's anonymous token.
    Anonymous,
    /// With a configured token.
    Token(Secret),
    /// With a token from an auth method; a new login replaces one that has expired.
    Method {
        /// The auth method's name.
        method: String,
        /// The bearer token of the login, such as a service account's JWT.
        bearer: SecretSource,
        /// The file that keeps the token for the next process; `None`: it is not kept.
        token_file: Option<PathBuf>,
    },
}

/// The address of Consul, and how to authenticate.
#[derive(Debug, Clone)]
pub struct ConsulConfig {
    /// TLS, proxy and timeouts.
    pub http: HttpOptions,
    /// `http://` or `https://`, as `CONSUL_HTTP_ADDR`.
    pub url: String,
    /// How to authenticate.
    pub login: ConsulLogin,
    /// The datacenter of every request; `None`: the agent's own.
    pub datacenter: Option<String>,
}

/// A client of Consul: configuration store, ACL administration and service discovery.
#[derive(Debug, Clone)]
pub struct Consul {
    exchange: Arc<Exchange>,
}

impl Consul {
    /// A client of this Consul. Sends no request yet.
    ///
    /// # Errors
    /// `Invalid` for an address, a token or a file that cannot be used.
    pub fn new(config: ConsulConfig) -> Result<Self> {
        Ok(Self { exchange: Arc::new(Exchange::new(config)?) })
    }

    /// The healthy instances of a service, kept up to date for as long as the returned value lives. While Consul does not
    /// answer, or reports none as healthy, the last healthy instances are kept: they may still answer.
    ///
    /// # Errors
    /// `Unreachable` when no instance is healthy now; `Denied` when ACLs hide all instances; errors of the exchange.
    pub async fn instances(&self, service: &str) -> Result<Arc<ServiceInstances>> {
        discovery::watch_instances(&self.exchange, service).await
    }
}
