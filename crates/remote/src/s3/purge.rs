//! Deletes objects with all their versions, delete markers and unfinished uploads.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::EncodingType;

use super::encoding::form_decode;
use super::requests::{REQUEST_TIMEOUT, Requests};
use super::uploads::UploadClient;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The most versions that the protocol returns in one response.
const MAX_PAGE_VERSIONS: i32 = 1000;

/// Deletes versions of a store's objects.
#[derive(Clone)]
pub(super) struct VersionPurger {
    requests: Arc<Requests>,
    uploads: Arc<UploadClient>,
}

impl VersionPurger {
    pub(super) fn new(requests: Arc<Requests>, uploads: Arc<UploadClient>) -> Self {
        Self { requests, uploads }
    }

    /// The number of versions of these objects.
    pub(super) async fn count(&self, objects: &[ObjectRef]) -> Result<u64> {
        let objects: BTreeSet<&ObjectRef> = objects.iter().collect();
        let mut count = 0;
        for at in objects {
            count += self.count_one(at).await?;
        }
        Ok(count)
    }

    async fn count_one(&self, at: &ObjectRef) -> Result<u64> {
        let mut count = 0;
        let mut after = None;
        loop {
            let page = self.versions(at, after.take()).await?;
            let found = versions_of(&page, at.key.as_str()).len() as u64;
            count += found;
            match page.next_version_id_marker() {
                // Longer keys, which sort after this one, are all that is left where a page has none of its versions.
                Some(version) if page.is_truncated() == Some(true) && found > 0 => after = Some(version.to_owned()),
                _ => return Ok(count),
            }
        }
    }

    /// Deletes every version of these objects; returns their number.
    pub(super) async fn purge(&self, objects: &[ObjectRef]) -> Result<u64> {
        let mut purged = 0;
        for at in objects {
            // First, so that none of them is completed after its key was purged.
            self.abort_uploads(at).await?;
            purged += self.purge_one(at).await?;
        }
        Ok(purged)
    }

    async fn abort_uploads(&self, at: &ObjectRef) -> Result<()> {
        for id in self.uploads.unfinished_of(at).await? {
            if !self.uploads.abort(at, &id).await {
                let what = format!("abort an unfinished upload of object {at}");
                return Err(Error::new(ErrorKind::Unreachable, what));
            }
        }
        Ok(())
    }

    /// Lists from the start again after each page: what was listed is gone.
    async fn purge_one(&self, at: &ObjectRef) -> Result<u64> {
        let mut purged = 0;
        loop {
            let page = self.versions(at, None).await?;
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

    /// A page of versions of the keys that begin with this one, which sorts before all longer ones: the first, or that
    /// after a version of this key.
    async fn versions(&self, at: &ObjectRef, after: Option<String>) -> Result<ListObjectVersionsOutput> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().list_object_versions().bucket(name).prefix(at.key.as_str());
        let request = request.encoding_type(EncodingType::Url).max_keys(MAX_PAGE_VERSIONS);
        let request = match after {
            Some(version) => request.key_marker(at.key.as_str()).version_id_marker(version),
            None => request,
        };
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
