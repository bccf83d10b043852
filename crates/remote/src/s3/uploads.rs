//! Unfinished multipart uploads: those of a key, which a put resumes, and those of a bucket, which are removed when stale.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::types::{ChecksumAlgorithm, MultipartUpload};
use tokio::runtime::Handle;

use super::convert::{size, timestamp};
use super::digest;
use super::error::S3Error;
use super::parts::{self, SourcePart};
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Timestamp};
use mfctl_core::ports::{Result, UnfinishedUpload};

/// The most uploads of one key that a put considers; normally there is one at most.
const MAX_UPLOADS_PER_KEY: usize = 100;
/// The most stale uploads that are removed at once.
const MAX_STALE_UPLOADS: usize = 10_000;

/// A part that the store has.
#[derive(Debug)]
struct StoredPart {
    bytes: u64,
    etag: String,
    checksum_sha256: Option<String>,
}

/// The parts that the store has of an upload.
#[derive(Debug, Default)]
pub(super) struct StoredParts {
    by_number: BTreeMap<i32, StoredPart>,
    /// Whether the upload was created with SHA-256 checksums, where the store says so.
    is_checksummed: Option<bool>,
}

impl StoredParts {
    pub(super) fn bytes(&self) -> u64 {
        self.by_number.values().map(|part| part.bytes).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.by_number.len()
    }

    /// Whether the upload's parts carry checksums; `None` for an upload without parts where the store does not say so.
    pub(super) fn is_checksummed(&self) -> Option<bool> {
        self.by_number.values().next().map(|part| part.checksum_sha256.is_some()).or(self.is_checksummed)
    }

    /// Whether all are parts of an object of this size in parts of `part_size`.
    pub(super) fn are_of_size(&self, object_size: u64, part_size: u64) -> bool {
        self.by_number.iter().all(|(number, part)| {
            let offset = u64::from(number.unsigned_abs()).saturating_sub(1).saturating_mul(part_size);
            part.bytes == object_size.saturating_sub(offset).min(part_size)
        })
    }

    /// The ETag of a part that the store has.
    pub(super) fn etag(&self, number: i32) -> Option<&str> {
        self.by_number.get(&number).map(|part| part.etag.as_str())
    }

    /// The part size of the upload: the default, unless the parts have another size that the protocol allows.
    pub(super) fn part_size(&self, object_size: u64, default: u64) -> u64 {
        let largest = self.by_number.values().map(|part| part.bytes).max().unwrap_or(default);
        let is_allowed = largest >= parts::MIN_PART_BYTES && object_size.div_ceil(largest) <= parts::MAX_PARTS;
        if self.are_of_size(object_size, default) || !is_allowed { default } else { largest }
    }

    /// The ETag of this part if the store has it with the same bytes, and whether the store keeps its checksum.
    pub(super) fn find(&self, part: &SourcePart) -> Option<(String, bool)> {
        let stored = self.by_number.get(&part.number)?;
        let is_same = stored.bytes == part.bytes.len() as u64
            && match &stored.checksum_sha256 {
                Some(checksum) => *checksum == part.sha256.base64(),
                None => digest::etag_matches(&stored.etag, &part.bytes),
            };
        is_same.then(|| (stored.etag.clone(), stored.checksum_sha256.is_some()))
    }
}

/// An upload that this process works on; released when dropped.
pub(super) struct ActiveUpload<'a> {
    client: &'a UploadClient,
    id: String,
}

impl ActiveUpload<'_> {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for ActiveUpload<'_> {
    fn drop(&mut self) {
        self.client.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// An upload of which nothing is kept unless it is completed: dropped before, it is aborted by a task of its own.
pub(super) struct TemporaryUpload {
    client: Arc<UploadClient>,
    at: ObjectRef,
    id: Option<String>,
}

impl TemporaryUpload {
    pub(super) fn new(client: &Arc<UploadClient>, at: &ObjectRef, id: &str) -> Self {
        Self { client: client.clone(), at: at.clone(), id: Some(id.to_owned()) }
    }

    /// The upload was completed.
    pub(super) fn completed(mut self) {
        self.id = None;
    }
}

impl Drop for TemporaryUpload {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) {
            let client = self.client.clone();
            let at = self.at.clone();
            runtime.spawn(async move { client.abort(&at, &id).await });
        }
    }
}

/// Finds and aborts the unfinished uploads of a store.
pub(super) struct UploadClient {
    requests: Arc<Requests>,
    /// The ids of the uploads that this process works on: they are not left over.
    active: Mutex<HashSet<String>>,
}

impl UploadClient {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests, active: Mutex::default() }
    }

    /// Claims an upload for the caller; `None` if another task of this process works on it.
    pub(super) fn claim(&self, id: &str) -> Option<ActiveUpload<'_>> {
        let is_new = self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        is_new.then(|| ActiveUpload { client: self, id: id.to_owned() })
    }

    fn is_active(&self, id: &str) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// The ids of the unfinished uploads of this key that no task of this process works on.
    pub(super) async fn unfinished_of(&self, at: &ObjectRef) -> Result<Vec<String>, S3Error> {
        let mut ids = Vec::new();
        let mut visit = |upload: &MultipartUpload| {
            if let (Some(id), Some(key)) = (upload.upload_id(), upload.key())
                && key == at.key.as_str()
                && !self.is_active(id)
            {
                ids.push(id.to_owned());
            }
            ids.len() < MAX_UPLOADS_PER_KEY
        };
        self.for_each_upload(&at.bucket, at.key.as_str(), &mut visit).await?;
        Ok(ids)
    }

    /// The parts that the store has of an upload; `None` if the upload does not exist any more.
    pub(super) async fn parts_of(&self, at: &ObjectRef, id: &str) -> Result<Option<StoredParts>, S3Error> {
        let mut stored = StoredParts::default();
        let mut marker: Option<String> = None;
        loop {
            let name = self.requests.wire_name(&at.bucket);
            let request = self.requests.metadata().list_parts().bucket(name).key(at.key.as_str());
            let request = request.upload_id(id).set_part_number_marker(marker.take());
            let what = || format!("list the stored parts of object {at}");
            let page = match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
                Err(error) if error.has_code("NoSuchUpload") => return Ok(None),
                page => page?,
            };
            stored.is_checksummed = page.checksum_algorithm().map(|kept| *kept == ChecksumAlgorithm::Sha256);
            for part in page.parts() {
                let (Some(number), Some(etag)) = (part.part_number(), part.e_tag()) else { continue };
                let checksum_sha256 = part.checksum_sha256().filter(|sum| !sum.is_empty()).map(str::to_owned);
                let part = StoredPart { bytes: size(part.size()), etag: etag.to_owned(), checksum_sha256 };
                stored.by_number.insert(number, part);
            }
            match page.next_part_number_marker() {
                Some(next) if page.is_truncated() == Some(true) => marker = Some(next.to_owned()),
                _ => return Ok(Some(stored)),
            }
        }
    }

    /// Aborts an upload, which removes its parts; returns whether it is gone. A failure is only logged: `abort_unfinished` will
    /// find the upload.
    pub(super) async fn abort(&self, at: &ObjectRef, id: &str) -> bool {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().abort_multipart_upload().bucket(name).key(at.key.as_str()).upload_id(id);
        let what = || format!("abort an unfinished upload of object {at}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Err(error) if !error.has_code("NoSuchUpload") => {
                tracing::warn!(object = %at, error = error.error.full(), "cannot abort an unfinished upload");
                false
            }
            _ => true,
        }
    }

    /// Aborts the uploads of a bucket that were begun before a time; returns those it aborted. Uploads of keys that are not
    /// valid for mfctl are left.
    pub(super) async fn abort_unfinished(
        &self,
        bucket: &BucketName,
        older_than: Timestamp,
    ) -> Result<Vec<UnfinishedUpload>> {
        let mut stale = Vec::new();
        let mut visit = |upload: &MultipartUpload| {
            let (Some(id), Some(key)) = (upload.upload_id(), upload.key()) else { return true };
            let begun_at = timestamp(upload.initiated());
            if let Ok(key) = ObjectKey::new(key)
                && begun_at < older_than
                && !self.is_active(id)
            {
                let at = ObjectRef { bucket: bucket.clone(), key };
                stale.push((id.to_owned(), UnfinishedUpload { at, begun_at }));
            }
            stale.len() < MAX_STALE_UPLOADS
        };
        self.for_each_upload(bucket, "", &mut visit).await?;
        let mut aborted = Vec::new();
        for (id, upload) in stale {
            if self.abort(&upload.at, &id).await {
                aborted.push(upload);
            }
        }
        Ok(aborted)
    }

    /// Visits the unfinished uploads under a prefix until `visit` answers `false`.
    async fn for_each_upload(
        &self,
        bucket: &BucketName,
        prefix: &str,
        visit: &mut (dyn FnMut(&MultipartUpload) -> bool + Send),
    ) -> Result<(), S3Error> {
        let mut key_marker: Option<String> = None;
        let mut id_marker: Option<String> = None;
        loop {
            let name = self.requests.wire_name(bucket);
            let request = self.requests.metadata().list_multipart_uploads().bucket(name).prefix(prefix);
            let request = request.set_key_marker(key_marker.take()).set_upload_id_marker(id_marker.take());
            let what = || format!("list unfinished uploads in bucket {bucket}");
            let page = match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
                // A store that cannot list uploads has none that can be resumed.
                Err(error) if error.is_unsupported() => return Ok(()),
                page => page?,
            };
            if !page.uploads().iter().all(&mut *visit) {
                return Ok(());
            }
            key_marker = page.next_key_marker().filter(|next| !next.is_empty()).map(str::to_owned);
            id_marker = page.next_upload_id_marker().filter(|next| !next.is_empty()).map(str::to_owned);
            if page.is_truncated() != Some(true) || key_marker.is_none() {
                return Ok(());
            }
        }
    }
}
