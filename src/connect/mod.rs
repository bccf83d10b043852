//! Opens the ports of a profile. The only module that knows both the settings and the backends; only `cli` calls it.

mod cluster;
pub mod operator_journal;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::settings::{ProfileKind, Settings};
use mfctl_core::domain::InvalidName;
use mfctl_core::domain::Secret;
use mfctl_core::domain::names::Buckets;
use mfctl_core::events::{schemas, topics};
use mfctl_core::ports::{
    Clock, ConfigStore, ConsulAcl, Error, ErrorKind, ObjectStore, Ports, Result, SecretStore, VaultSetup,
};
use mfctl_core::telemetry::Metrics;
pub use mfctl_embedded::{FolderFormat, OpenMode};
pub use mfctl_remote::postgres::{AppliedMigration, MigrationStatus, PostgresAdmin};

/// Partitions of each topic in an embedded profile.
const PARTITIONS: u32 = 6;

/// Opens the ports of the chosen profile. References to secrets are looked up in `env`; requests to the servers are
/// counted in `metrics`.
///
/// # Errors
/// `NotFound` for a data folder that does not exist and may not be created; `Invalid` for a cluster profile that lacks
/// a server or whose secret cannot be read; otherwise the errors of the backends.
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
                create_resources(settings, &ports).await?;
            }
            Ok(ports)
        }
        ProfileKind::Cluster => Box::pin(cluster::open(settings, env, clock, metrics)).await,
    }
}

/// Completes the file of a data folder, for a command that ends: see [`mfctl_embedded::Db::complete`].
pub fn complete_data_folder(folder: &std::path::Path) {
    mfctl_embedded::DataFolder::complete(folder);
}

/// The object store of an embedded profile, which works even if the file beside it cannot be opened; `None` for a cluster.
#[must_use]
pub fn objects_beside_damage(settings: &Settings) -> Option<Arc<dyn ObjectStore>> {
    match settings.profile.kind {
        ProfileKind::Embedded => Some(Arc::new(mfctl_embedded::objects::FolderStore::new(&settings.profile.data_dir))),
        ProfileKind::Cluster => None,
    }
}

/// Opens the configuration store alone, without any other server; `None` where the profile has none.
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

/// Opens the Vault without a login, to initialize it; `None` where the profile has none.
///
/// # Errors
/// `Invalid` when its URL or CA file cannot be used.
pub fn vault_setup(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<Arc<dyn VaultSetup>>> {
    cluster::vault_setup(settings, env)
}

/// What the ACL bootstrap of a Consul needs: the Consul, and the place in Vault for its first token.
pub struct ConsulAclBootstrap {
    /// The Consul, called without a token.
    pub without_token: Arc<dyn ConsulAcl>,
    /// The Vault that will hold the token.
    pub secrets: Arc<dyn SecretStore>,
    /// Secrets engine of the token.
    pub mount: String,
    /// Path of the token in the engine.
    pub path: String,
    /// Field of the token at the path.
    pub field: String,
}

/// Opens what the ACL bootstrap of the profile's Consul needs.
///
/// # Errors
/// `Invalid` when the profile has no Consul, no Vault, or a Consul token that is not in Vault.
pub fn consul_acl_bootstrap(settings: &Settings, env: &BTreeMap<String, String>) -> Result<ConsulAclBootstrap> {
    cluster::consul_acl_bootstrap(settings, env)
}

/// Opens the profile's Consul with this token in place of the profile's own login.
///
/// # Errors
/// `Invalid` when the profile has no Consul, or its URL or CA file cannot be used.
pub fn consul_with_token(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    token: Secret,
) -> Result<Arc<dyn ConsulAcl>> {
    cluster::consul_with_token(settings, env, Some(token))
}

/// Opens the database of a cluster's catalog; `None` where the profile does not configure it.
///
/// # Errors
/// `Invalid` when its URL or CA file cannot be used, or a secret cannot be read.
pub async fn database(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<PostgresAdmin>> {
    cluster::database(settings, env).await
}

/// The format of the data folder of an embedded profile, which is not migrated.
///
/// # Errors
/// `NotFound` when there is no data folder, `TooNew` when a later mfctl wrote it, `Corrupt` when its file is damaged.
pub async fn data_folder_format(settings: &Settings) -> Result<FolderFormat> {
    let path = settings.profile.data_dir.clone();
    tokio::task::spawn_blocking(move || mfctl_embedded::DataFolder::format(&path))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "read the format of the data folder").because(error))?
}

/// Creates the topics, buckets and schemas of the platform that are missing. In a cluster `bootstrap apply` does this.
async fn create_resources(settings: &Settings, ports: &Ports) -> Result<()> {
    let retention = topics::Retention {
        ingest_raw_days: settings.retention.ingest_raw_days,
        media_days: settings.retention.media_days,
    };
    let invalid = |error: InvalidName| Error::new(ErrorKind::Invalid, "name the environment's buckets").because(error);
    let buckets = Buckets::of(&settings.profile.environment).map_err(invalid)?;
    ports.log.create_topics(&topics::contract(PARTITIONS, retention)).await?;
    // Beside assets, a bucket that is missing has been lost, or its disk is not mounted. In an empty one in its place every
    // object would look as if it had been deleted.
    if ports.catalog.summary().await?.assets == 0 {
        ports.objects.create_buckets(&buckets.all().map(Clone::clone)).await?;
    }
    schemas::register_all(ports.registry.as_ref()).await?;
    Ok(())
}
