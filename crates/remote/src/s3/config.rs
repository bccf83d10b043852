//! The configuration of an S3 store.

use std::sync::Arc;

use crate::instances::ServiceInstances;
use mfctl_core::domain::Secret;
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The settings table that this was read from, for hints: `profile.prod.s3`.
    pub settings: String,
    /// The endpoint, `https://host:port`; `None`: AWS's own for the region.
    pub endpoint: Option<String>,
    /// Discovered instances that requests rotate over in place of the endpoint's host; `None`: that host.
    pub instances: Option<Arc<ServiceInstances>>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether requests are path-style (`host/bucket/key`) and not virtual-hosted (`bucket.host/key`).
    pub path_style: bool,
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Trusted authorities.
    pub tls: TlsFiles,
    /// A proxy, `http://host:port`.
    pub proxy: Option<String>,
    /// Hosts that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Prepended to every bucket name on the wire, so that tests do not share buckets.
    pub bucket_prefix: String,
    /// Bytes per part of a multipart upload; raised where an object would have too many parts.
    pub part_size: Option<u64>,
    /// Parts in flight at the same time, over all uploads.
    pub concurrency: usize,
    /// Receives the durations of requests.
    pub metrics: Arc<Metrics>,
}
