//! Deletes objects with all their versions and delete markers.

use std::sync::Arc;

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::EncodingType;

use super::encoding::form_decode;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::Result;

/// The most versions that the protocol returns in one response.
const MAX_PAGE_VERSIONS: i32 = 1000;

/// Deletes versions of a store's objects.
#[derive(Clone)]
pub(super) struct VersionPurger {
    requests: Arc<Requests>,
}

impl VersionPurger {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }

    /// Deletes every version of these objects; returns their number.
    pub(super) async fn purge(&self, objects: &[ObjectRef]) -> Result<u64> {
        let mut purged = 0;
        for at in objects {
            purged += self.purge_one(at).await?;
        }
        Ok(purged)
    }

    /// Lists from the start again after each page: what was listed is gone.
    async fn purge_one(&self, at: &ObjectRef) -> Result<u64> {
        let mut purged = 0;
        loop {
            let page = self.versions(at).await?;
            let versions = versions_of(&page, at.key.as_str());
            if versions.is_empty() {
                return Ok(purged);
            }
            for version in versions {
                self.delete_version(at, &version).await?;
                purged += 1;
            }
        }
    }

    /// The first page of versions of the keys that begin with this one, which sorts before all longer ones.
    async fn versions(&self, at: &ObjectRef) -> Result<ListObjectVersionsOutput> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().list_object_versions().bucket(name).prefix(at.key.as_str());
        let request = request.encoding_type(EncodingType::Url).max_keys(MAX_PAGE_VERSIONS);
        let what = || format!("list the versions of object {at}");
        Ok(self.requests.send(what, REQUEST_TIMEOUT, request.send()).await?)
    }

    async fn delete_version(&self, at: &ObjectRef, version: &str) -> Result<()> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().delete_object().bucket(name).key(at.key.as_str()).version_id(version);
        let what = || format!("delete version {version} of object {at}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Err(error) if error.has_code("NoSuchKey") || error.has_code("NoSuchVersion") => Ok(()),
            response => Ok(response.map(drop)?),
        }
    }
}

/// The ids of the versions and delete markers of exactly this key.
fn versions_of(page: &ListObjectVersionsOutput, key: &str) -> Vec<String> {
    let is_url = page.encoding_type() == Some(&EncodingType::Url);
    let is_key = |found: Option<&str>| {
        let found = found.unwrap_or_default();
        if is_url { form_decode(found).is_some_and(|found| found == key) } else { found == key }
    };
    let versions = page.versions().iter().filter(|version| is_key(version.key())).map(|version| version.version_id());
    let markers = page.delete_markers().iter().filter(|marker| is_key(marker.key())).map(|marker| marker.version_id());
    // Objects stored before versioning was enabled have the version `null`.
    versions.chain(markers).map(|id| id.unwrap_or("null").to_owned()).collect()
}
