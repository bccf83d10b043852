//! Which platform this is: the identities that its servers were given when they were made, so that a profile which once
//! met one platform never writes to another behind the same addresses.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{EnvName, ObjectRef};
use mfctl_core::ports::{Error, ErrorKind, ObjectStore, Ports, PutOptions, Result};

/// A marker is never longer.
const LONGEST: u64 = 4096;

/// The identities of a platform's parts; `None` where a part does not have one yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlatformIdentity {
    /// The log's: Kafka's cluster id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The catalog's: made by its first migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// The object store's: in a marker in the bucket of originals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// The configuration store's: Consul's data centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The store of secrets': Vault's cluster id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
}

/// The marker's content.
#[derive(Debug, Serialize, Deserialize)]
struct PlatformMarker {
    id: String,
    environment: EnvName,
}

/// How long the servers that the pipeline itself does not need may take to say who they are.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who the configuration store is; a pipeline goes on without it, so that one which is down has no name here.
async fn config(ports: &Ports) -> Option<String> {
    let store = ports.config.as_ref()?;
    tokio::time::timeout(PATIENCE, store.identity()).await.ok()?.ok()
}

/// Who the store of secrets is, in the same way.
async fn secrets(ports: &Ports) -> Option<String> {
    let store = ports.secrets.as_ref()?;
    tokio::time::timeout(PATIENCE, store.identity()).await.ok()?.ok()
}

impl PlatformIdentity {
    /// Asks each part who it is. What is not made yet has no identity; what does not answer is an error.
    ///
    /// # Errors
    /// Those of the ports, what is not made yet apart; `Conflict` when the buckets are marked as another environment's.
    pub async fn read(ports: &Ports, buckets: &Buckets, env: &EnvName) -> Result<Self> {
        let (log, catalog, marker) =
            tokio::join!(ports.log.identity(), ports.catalog.identity(), marker(ports.objects.as_ref(), buckets));
        let objects = match made(marker)?.flatten() {
            Some(marker) if marker.environment != *env => {
                let what =
                    format!("bucket {} belongs to environment {}, not to {env}", buckets.originals, marker.environment);
                return Err(Error::new(ErrorKind::Conflict, what).hint("check the profile's s3.endpoint"));
            }
            marker => marker.map(|marker| marker.id),
        };
        let (config, secrets) = (config(ports).await, secrets(ports).await);
        Ok(Self { log: made(log)?, catalog: made(catalog)?, objects, config, secrets })
    }

    /// In what this platform is another one than `pinned`; what either does not know is no difference.
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

    /// The same with what only `pinned` knows.
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

/// Marks the bucket of originals, unless it is marked; answers whether it had to be. Of two that mark it at once the first
/// one's marker stays: a host may have met it already.
///
/// # Errors
/// Those of the store.
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

/// Whether the bucket of originals is marked.
///
/// # Errors
/// Those of the store; `NotFound` when there is no bucket.
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
    let read = objects.open(&at).await?.take(LONGEST).read_to_end(&mut text).await;
    read.map_err(|error| Error::new(ErrorKind::Unreachable, format!("read {at}")).because(error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("{at} does not say which platform this is"))
            .because(error)
            .hint("somebody wrote over the platform's marker: find out who, then remove it and `mfctl bootstrap apply`")
    })
}

fn made<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unprepared) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_platform_is_told_and_what_is_not_known_is_none() {
        let of = |log: Option<&str>, catalog: Option<&str>| PlatformIdentity {
            log: log.map(str::to_owned),
            catalog: catalog.map(str::to_owned),
            ..PlatformIdentity::default()
        };
        assert!(of(Some("a"), None).differs_from(&of(Some("a"), Some("c"))).is_empty());
        let told = of(Some("b"), Some("c")).differs_from(&of(Some("a"), Some("c")));
        assert_eq!(told, ["the Kafka cluster is b and was a"]);
        assert_eq!(of(None, Some("c")).or(of(Some("a"), None)), of(Some("a"), Some("c")));
    }
}
