//! Opens the ports of a cluster profile: the settings of each server become the configuration of its backend.
//!
//! The log, the objects, the catalog and the schemas are on servers. The ingest jobs of this host and, until a search
//! server is configured, its search index are in the profile's data folder. [`profile`] reads what all servers have in
//! common; each other module configures one server.

mod consul;
mod database;
mod kafka;
mod postgrest;
mod profile;
mod registry;
mod s3;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ConsulAclBootstrap;
use super::operator_journal::LogOperatorJournal;
use crate::settings::Settings;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{
    BucketAdmin, Clock, ConfigStore, ConsulAcl, EventLog, JobCatalog, Migrations, Ports, Result, SecretStore,
    VaultAdmin, VaultSetup,
};
use mfctl_core::telemetry::Metrics;
use mfctl_embedded::OpenMode;
use mfctl_kafka::KafkaLog;
use mfctl_remote::postgres::PostgresAdmin;
use mfctl_remote::postgrest::PostgrestCatalog;
use mfctl_remote::s3::S3Store;
use mfctl_remote::schema_registry::RestRegistry;
use profile::ClusterProfile;

/// Makes the ports. Only Vault and Consul are called here; every other backend connects at its first call.
pub(super) async fn open(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Ports> {
    let mut profile = ClusterProfile::new(settings, env, metrics);
    let vault = vault::client(&profile)?.map(Arc::new);
    profile.vault_secrets = vault::read_secrets(&profile, vault.as_deref(), "profile.").await?;
    let consul = consul::client(&profile)?.map(Arc::new);
    profile.instances = consul::find_instances(&profile, consul.as_deref()).await?;
    let folder = mfctl_embedded::open_folder(&settings.profile.data_dir, OpenMode::MayCreate).await?;
    let kafka = Arc::new(KafkaLog::new(kafka::config(&profile)?)?);
    let log = Arc::clone(&kafka) as Arc<dyn EventLog>;
    let local = mfctl_embedded::local_ports(&folder);
    let store = Arc::new(S3Store::new(&s3::config(&profile)?)?);
    let catalog = Arc::new(PostgrestCatalog::new(postgrest::config(&profile)?)?);
    Ok(Ports {
        operators: Arc::new(LogOperatorJournal::new(Arc::clone(&log))),
        log,
        buckets: Some(Arc::clone(&store) as Arc<dyn BucketAdmin>),
        objects: store,
        jobs: Arc::clone(&catalog) as Arc<dyn JobCatalog>,
        catalog,
        search: local.search,
        registry: Arc::new(RestRegistry::new(registry::config(&profile)?)?),
        journal: local.journal,
        storage: local.storage,
        migrations: database::admin(&profile)?.map(|migrations| Arc::new(migrations) as Arc<dyn Migrations>),
        topics: Some(kafka),
        config: consul.clone().map(|consul| consul as Arc<dyn ConfigStore>),
        consul_acl: consul.map(|consul| consul as Arc<dyn ConsulAcl>),
        secrets: vault.clone().map(|vault| vault as Arc<dyn SecretStore>),
        vault: vault.map(|vault| vault as Arc<dyn VaultAdmin>),
        clock,
    })
}

/// Opens the profile's configuration store alone.
pub(super) async fn config(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<dyn ConfigStore>>> {
    let profile = ClusterProfile::new(settings, env, metrics);
    let profile = vault::with_secrets(profile, "profile.consul.").await?;
    Ok(consul::client(&profile)?.map(|consul| Arc::new(consul) as Arc<dyn ConfigStore>))
}

/// Opens the profile's Vault without a login.
pub(super) fn vault_setup(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<Arc<dyn VaultSetup>>> {
    let server = vault::server(&ClusterProfile::new(settings, env, &Arc::default()))?;
    Ok(server.map(|server| Arc::new(server) as Arc<dyn VaultSetup>))
}

/// Opens the profile's Consul without a token, and the Vault that keeps the token.
pub(super) fn consul_acl_bootstrap(settings: &Settings, env: &BTreeMap<String, String>) -> Result<ConsulAclBootstrap> {
    let profile = ClusterProfile::new(settings, env, &Arc::default());
    let (path, field) = consul::token_in_vault(&profile)?;
    let secrets = profile.required(vault::client(&profile)?, "vault", "url")?;
    let mount = vault::mount(settings).to_owned();
    let without_token = consul_with_token(settings, env, None)?;
    Ok(ConsulAclBootstrap { without_token, secrets: Arc::new(secrets), mount, path, field })
}

/// Opens the profile's Consul with this token in place of the profile's own login.
pub(super) fn consul_with_token(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    token: Option<Secret>,
) -> Result<Arc<dyn ConsulAcl>> {
    let consul = consul::client_with_token(&ClusterProfile::new(settings, env, &Arc::default()), token)?;
    Ok(Arc::new(consul))
}

/// Opens the profile's database alone.
pub(super) async fn database(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<PostgresAdmin>> {
    let profile = ClusterProfile::new(settings, env, &Arc::default());
    database::admin(&vault::with_secrets(profile, "profile.database.").await?)
}
