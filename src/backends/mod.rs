//! The engines behind the ports: one folder or file per engine. Only here are they named.

pub mod connect;
pub mod consul;
pub mod embedded;
pub mod http;
pub mod instances;
pub mod kafka;
pub mod kept;
pub mod log_operators;
pub mod postgres;
pub mod postgrest;
pub mod s3;
pub mod schema_registry;
pub mod source;
mod sqlstate;
pub mod tls;
pub mod vault;
