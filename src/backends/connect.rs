//! From a profile to its ports. The only place that knows both the settings and the engines; only `cli` calls it.

use std::sync::Arc;

use super::embedded;
pub use super::embedded::OpenMode;
use crate::domain::InvalidName;
use crate::domain::names::Buckets;
use crate::events::{schemas, topics};
use crate::ports::{Clock, Error, ErrorKind, Ports, Result};
use crate::settings::{ProfileKind, Settings};

/// Partitions of a topic that the embedded profile makes.
const PARTITIONS: u32 = 6;

/// Opens the ports of the profile in force.
///
/// # Errors
/// `NotFound` for a data folder that is not there and may not be made; `Invalid` for a cluster profile, which this
/// version cannot serve yet; otherwise those of the engines.
pub async fn connect(settings: &Settings, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Ports> {
    match settings.profile.kind {
        ProfileKind::Embedded => {
            let ports = embedded::open(&settings.profile.data_dir, mode, clock).await?;
            if mode == OpenMode::MayCreate {
                make_contract(settings, &ports).await?;
            }
            Ok(ports)
        }
        ProfileKind::Cluster => Err(Error::new(
            ErrorKind::Invalid,
            format!("profile {} is a cluster, which this version cannot work on yet", settings.profile.name.as_str()),
        )
        .hint("use an embedded profile, or --profile embedded")),
    }
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
