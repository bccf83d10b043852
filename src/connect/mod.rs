//! From a profile to its ports. The only place that knows both the settings and the engines; only `cli` calls it.

mod cluster;
pub mod log_operators;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::settings::{ProfileKind, Settings};
use mfctl_core::domain::InvalidName;
use mfctl_core::domain::Secret;
use mfctl_core::domain::names::Buckets;
use mfctl_core::events::{schemas, topics};
use mfctl_core::ports::{Clock, ConfigStore, ConsulAcl, Error, ErrorKind, Ports, Result, SecretStore, VaultSetup};
use mfctl_core::telemetry::Metrics;
pub use mfctl_embedded::OpenMode;
pub use mfctl_remote::postgres::{AppliedMigration, MigrationStatus, PostgresAdmin};

/// Partitions of a topic that the embedded profile makes.
const PARTITIONS: u32 = 6;

/// Opens the ports of the profile in force. `env` is where references to secrets are looked up; requests to the servers
/// are counted in `metrics`.
///
/// # Errors
/// `NotFound` for a data folder that is not there and may not be made; `Invalid` for a cluster profile that lacks a
/// server or whose secret cannot be read; otherwise those of the engines.
pub async fn connect(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    mode: OpenMode,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Ports> {
    match settings.profile.kind {
        ProfileKind::Embedded => {
            let ports = mfctl_embedded::open(&settings.profile.data_dir, mode, clock).await?;
            if mode == OpenMode::MayCreate {
                make_contract(settings, &ports).await?;
            }
            Ok(ports)
        }
        ProfileKind::Cluster => Box::pin(cluster::open(settings, env, clock, metrics)).await,
    }
}

/// The configuration store alone, for who needs nothing else to be there; `None` where the profile names none.
///
/// # Errors
/// As [`connect`].
pub async fn config(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<dyn ConfigStore>>> {
    match settings.profile.kind {
        ProfileKind::Embedded => {
            Ok(mfctl_embedded::open(&settings.profile.data_dir, OpenMode::MustExist, clock).await?.config)
        }
        ProfileKind::Cluster => Box::pin(cluster::config(settings, env, metrics)).await,
    }
}

/// A Vault that nobody is logged in to yet; `None` where the profile names none.
///
/// # Errors
/// `Invalid` when its address or a file cannot be used.
pub fn vault_setup(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<Arc<dyn VaultSetup>>> {
    cluster::vault_setup(settings, env)
}

/// A Consul whose access control has not begun, and the place in Vault that the profile reads its token from.
pub struct FirstConsul {
    /// The Consul, shown no token.
    pub without_token: Arc<dyn ConsulAcl>,
    /// The Vault.
    pub secrets: Arc<dyn SecretStore>,
    /// The engine in which the token is kept.
    pub mount: String,
    /// The path there.
    pub path: String,
    /// The field there.
    pub field: String,
}

/// What a Consul's access control begins with.
///
/// # Errors
/// `Invalid` when the profile names no Consul, no Vault, or keeps the token elsewhere.
pub fn first_consul(settings: &Settings, env: &BTreeMap<String, String>) -> Result<FirstConsul> {
    cluster::first_consul(settings, env)
}

/// The same Consul, shown this token.
///
/// # Errors
/// As [`first_consul`].
pub fn consul_with(settings: &Settings, env: &BTreeMap<String, String>, token: Secret) -> Result<Arc<dyn ConsulAcl>> {
    cluster::consul_with(settings, env, Some(token))
}

/// The database behind a cluster's catalog; `None` where the profile does not say how to reach it.
///
/// # Errors
/// `Invalid` when its address or a file cannot be used.
pub async fn database(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<PostgresAdmin>> {
    cluster::database(settings, env).await
}

/// Makes what the contract names and is missing: topics, buckets, schemas. In a cluster `bootstrap apply` does this.
async fn make_contract(settings: &Settings, ports: &Ports) -> Result<()> {
    let kept = topics::Retention {
        ingest_raw_days: settings.retention.ingest_raw_days,
        media_days: settings.retention.media_days,
    };
    let invalid = |error: InvalidName| Error::new(ErrorKind::Invalid, "name the environment's buckets").because(error);
    let buckets = Buckets::of(&settings.profile.environment).map_err(invalid)?;
    ports.log.create_topics(&topics::contract(PARTITIONS, kept)).await?;
    ports.objects.create_buckets(&buckets.all().map(Clone::clone)).await?;
    schemas::register_all(ports.registry.as_ref()).await?;
    Ok(())
}
