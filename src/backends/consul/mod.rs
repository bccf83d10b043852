//! Consul, by its HTTP API: configuration, the lock, and who may do what.
//!
//! A read never goes to a server that may be behind, and one of a cluster without a leader is an outage, not an empty store:
//! whoever took it for empty would make or remove everything.

mod access;
mod exchange;
mod lock;
mod store;

use std::sync::Arc;

use super::http::HttpOptions;
use crate::domain::Secret;
use crate::ports::Result;
use exchange::Exchange;

/// Where Consul is, and who we are.
#[derive(Debug, Clone)]
pub struct ConsulConfig {
    /// How to reach it.
    pub http: HttpOptions,
    /// Its address.
    pub url: String,
    /// The token; none where it lets everybody.
    pub token: Option<Secret>,
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
