//! From a profile to its ports. The only place that knows both the settings and the engines; only `cli` calls it.

mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::embedded;
pub use super::embedded::OpenMode;
pub use super::postgres::{AppliedMigration, MigrationStatus, PostgresAdmin};
use crate::domain::InvalidName;
use crate::domain::names::Buckets;
use crate::events::{schemas, topics};
use crate::ports::{Clock, Error, ErrorKind, Ports, Result};
use crate::settings::{ProfileKind, Settings};
use crate::telemetry::Metrics;

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
            let ports = embedded::open(&settings.profile.data_dir, mode, clock).await?;
            if mode == OpenMode::MayCreate {
                make_contract(settings, &ports).await?;
            }
            Ok(ports)
        }
        ProfileKind::Cluster => Box::pin(cluster::open(settings, env, clock, metrics)).await,
    }
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
