//! Implementations of the ports on servers that are reached over HTTP or PostgreSQL's protocol: one folder per server, and
//! what they share (HTTP client, TLS, token files, discovered instances).

pub mod consul;
pub mod http;
pub mod instances;
pub mod postgres;
pub mod postgrest;
pub mod s3;
pub mod schema_registry;
pub mod source;
mod sqlstate;
pub mod tls;
pub mod token_file;
pub mod vault;
