//! The identity of a platform: the identities of its servers, which a profile pins so that it never writes to another
//! platform at the same addresses.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{EnvName, ObjectRef};
use mfctl_core::ports::{Error, ErrorKind, ObjectStore, Ports, PutOptions, Result};

/// Maximum size of the marker object in bytes.
const MAX_MARKER_BYTES: u64 = 4096;

/// The identities of a platform's servers; `None` where a server does not have one yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlatformIdentity {
    /// Event log: Kafka's cluster id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Catalog: created by its first migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Object store: from the marker object in the bucket of originals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// Configuration store: Consul's data centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Secret store: Vault's cluster id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
}

/// Content of the marker object.
#[derive(Debug, Serialize, Deserialize)]
struct PlatformMarker {
    id: String,
    environment: EnvName,
}

/// Timeout for the identity of servers that the pipeline does not need.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Identity of the configuration store; `None` if it is down, because the pipeline works without it.
async fn config_identity(ports: &Ports) -> Option<String> {
    let store = ports.config.as_ref()?;
    tokio::time::timeout(OPTIONAL_TIMEOUT, store.identity()).await.ok()?.ok()
}

/// Identity of the secret store; `None` if it is down, as for the configuration store.
async fn secrets_identity(ports: &Ports) -> Option<String> {
    let store = ports.secrets.as_ref()?;
    tokio::time::timeout(OPTIONAL_TIMEOUT, store.identity()).await.ok()?.ok()
}

impl PlatformIdentity {
    /// Reads the identity of each server. A server that is not set up yet has none; one that does not answer is an error.
    ///
    /// # Errors
    /// Errors of the ports; `Conflict` when the marker is of another environment.
    pub async fn read(ports: &Ports, buckets: &Buckets, env: &EnvName) -> Result<Self> {
        let (log, catalog, marker) =
            tokio::join!(ports.log.identity(), ports.catalog.identity(), marker(ports.objects.as_ref(), buckets));
        let objects = match if_prepared(marker)?.flatten() {
            Some(marker) if marker.environment != *env => {
                let what =
                    format!("bucket {} belongs to environment {}, not to {env}", buckets.originals, marker.environment);
                return Err(Error::new(ErrorKind::Conflict, what).hint("check the profile's s3.endpoint"));
            }
            marker => marker.map(|marker| marker.id),
        };
        let config = config_identity(ports).await;
        let secrets = secrets_identity(ports).await;
        Ok(Self { log: if_prepared(log)?, catalog: if_prepared(catalog)?, objects, config, secrets })
    }

    /// Differences from the `pinned` identity; an identity missing on one side is no difference.
    #[must_use]
    pub fn differs_from(&self, pinned: &Self) -> Vec<String> {
        let parts = [
            ("Kafka cluster", &self.log, &pinned.log),
            ("catalog", &self.catalog, &pinned.catalog),
            ("object store", &self.objects, &pinned.objects),
            ("Consul data centre", &self.config, &pinned.config),
            ("Vault cluster", &self.secrets, &pinned.secrets),
        ];
        let differing = parts.into_iter().filter_map(|(part, now, before)| match (now, before) {
            (Some(now), Some(before)) if now != before => Some(format!("the {part} is {now} and was {before}")),
            _ => None,
        });
        differing.collect()
    }

    /// Fills the missing identities from `pinned`.
    #[must_use]
    pub fn or(self, pinned: Self) -> Self {
        Self {
            log: self.log.or(pinned.log),
            catalog: self.catalog.or(pinned.catalog),
            objects: self.objects.or(pinned.objects),
            config: self.config.or(pinned.config),
            secrets: self.secrets.or(pinned.secrets),
        }
    }
}

/// Writes the marker into the bucket of originals unless it exists; returns whether it was written. Of two concurrent writers
/// the first wins, because a host may have pinned its marker already.
///
/// # Errors
/// Errors of the store.
pub async fn mark(objects: &dyn ObjectStore, buckets: &Buckets, env: &EnvName) -> Result<bool> {
    if marker(objects, buckets).await?.is_some() {
        return Ok(false);
    }
    let marker = PlatformMarker { id: uuid::Uuid::new_v4().to_string(), environment: env.clone() };
    let text = serde_json::to_vec(&marker)
        .map_err(|error| Error::new(ErrorKind::Internal, "write the platform's marker").because(error))?;
    let options = PutOptions { content_type: Some("application/json".to_owned()), sha256: None };
    match objects.put_new(&at(buckets), text.into(), options).await {
        Ok(_) => objects.sync().await.map(|()| true),
        Err(error) if error.kind() == ErrorKind::Conflict && is_marked(objects, buckets).await? => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the bucket of originals has a marker.
///
/// # Errors
/// Errors of the store; `NotFound` when there is no bucket.
pub async fn is_marked(objects: &dyn ObjectStore, buckets: &Buckets) -> Result<bool> {
    Ok(marker(objects, buckets).await?.is_some())
}

fn at(buckets: &Buckets) -> ObjectRef {
    ObjectRef { bucket: buckets.originals.clone(), key: object_keys::marker() }
}

async fn marker(objects: &dyn ObjectStore, buckets: &Buckets) -> Result<Option<PlatformMarker>> {
    let at = at(buckets);
    if objects.head(&at).await?.is_none() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = objects.open(&at).await?.take(MAX_MARKER_BYTES).read_to_end(&mut text).await;
    read.map_err(|error| Error::new(ErrorKind::Unreachable, format!("read {at}")).because(error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("{at} does not say which platform this is")).because(error).hint(
            "the platform's marker was overwritten: find out by whom, then delete it and run `mfctl bootstrap apply`",
        )
    })
}

/// `None` for a server that is not set up yet.
fn if_prepared<T>(identity: Result<T>) -> Result<Option<T>> {
    match identity {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unprepared) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_identities_known_on_both_sides_can_differ() {
        let of = |log: Option<&str>, catalog: Option<&str>| PlatformIdentity {
            log: log.map(str::to_owned),
            catalog: catalog.map(str::to_owned),
            ..PlatformIdentity::default()
        };
        assert!(of(Some("a"), None).differs_from(&of(Some("a"), Some("c"))).is_empty());
        let differences = of(Some("b"), Some("c")).differs_from(&of(Some("a"), Some("c")));
        assert_eq!(differences, ["the Kafka cluster is b and was a"]);
        assert_eq!(of(None, Some("c")).or(of(Some("a"), None)), of(Some("a"), Some("c")));
    }
}
