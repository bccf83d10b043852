//! Uploads that were begun and not finished: those of a key, to go on with; those of a bucket, to be removed.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{ChecksumAlgorithm, MultipartUpload};

use super::ask::QUICK;
use super::digest;
use super::fault::Fault;
use super::parts::{self, Part};
use super::{Shared, size, time};
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Timestamp};
use mfctl_core::ports::{Result, UnfinishedUpload};

/// Uploads of one key that are looked at. More than a few are nobody's plan.
const MOST: usize = 100;

/// A part that the store has.
#[derive(Debug)]
struct There {
    bytes: u64,
    etag: String,
    checksum: Option<String>,
}

/// What the store has of an upload.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By number.
    parts: BTreeMap<i32, There>,
    /// Whether its parts carry SHA-256 checksums, where the store tells.
    summed: Option<bool>,
}

impl Listed {
    pub(super) fn bytes(&self) -> u64 {
        self.parts.values().map(|part| part.bytes).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// Whether the upload's parts carry checksums; of one without parts not every store tells.
    pub(super) fn is_summed(&self) -> Option<bool> {
        self.parts.values().next().map(|part| part.checksum.is_some()).or(self.summed)
    }

    /// How the upload was cut: as we would, unless its parts show another size that would do.
    pub(super) fn part_size(&self, len: u64, ours: u64) -> u64 {
        let as_ours = |(number, part): (&i32, &There)| {
            let from = u64::from(number.unsigned_abs()).saturating_sub(1).saturating_mul(ours);
            part.bytes == len.saturating_sub(from).min(ours)
        };
        let theirs = self.parts.values().map(|part| part.bytes).max().unwrap_or(ours);
        let will_do = theirs >= parts::SMALLEST && len.div_ceil(theirs) <= parts::MOST_PARTS;
        if self.parts.iter().all(as_ours) || !will_do { ours } else { theirs }
    }

    /// The ETag of a part that the store has, if it has these very bytes, and whether it keeps their checksum.
    pub(super) fn has(&self, part: &Part) -> Option<(String, bool)> {
        let there = self.parts.get(&part.number)?;
        let same = there.bytes == part.bytes.len() as u64
            && match &there.checksum {
                Some(checksum) => *checksum == part.sha.base64(),
                None => digest::etag_is_of(&there.etag, &part.bytes),
            };
        same.then(|| (there.etag.clone(), there.checksum.is_some()))
    }
}

impl Shared {
    /// The ids of the unfinished uploads of this key that nobody in this process works on.
    pub(super) async fn unfinished_of(&self, at: &ObjectRef) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        let mut each = |upload: &MultipartUpload| {
            if let (Some(id), Some(key)) = (upload.upload_id(), upload.key())
                && key == at.key.as_str()
                && !self.live.has(id)
            {
                found.push(id.to_owned());
            }
            found.len() < MOST
        };
        self.each_upload(&at.bucket, at.key.as_str(), &mut each).await?;
        Ok(found)
    }

    /// The parts that the store has of an upload; `None` if it is gone.
    pub(super) async fn parts_of(&self, at: &ObjectRef, id: &str) -> Result<Option<Listed>, Fault> {
        let mut listed = Listed::default();
        let mut marker: Option<String> = None;
        loop {
            let request = self.clients.quick.list_parts().bucket(self.bucket(&at.bucket)).key(at.key.as_str());
            let request = request.upload_id(id).set_part_number_marker(marker.take());
            let what = || format!("list the parts of object {at} that are stored");
            let page = match self.ask(what, QUICK, request.send()).await {
                Err(fault) if fault.is("NoSuchUpload") => return Ok(None),
                page => page?,
            };
            listed.summed = page.checksum_algorithm().map(|kept| *kept == ChecksumAlgorithm::Sha256);
            for part in page.parts() {
                let (Some(number), Some(etag)) = (part.part_number(), part.e_tag()) else { continue };
                let checksum = part.checksum_sha256().filter(|sum| !sum.is_empty()).map(str::to_owned);
                listed.parts.insert(number, There { bytes: size(part.size()), etag: etag.to_owned(), checksum });
            }
            match page.next_part_number_marker() {
                Some(next) if page.is_truncated() == Some(true) => marker = Some(next.to_owned()),
                _ => return Ok(Some(listed)),
            }
        }
    }

    /// Removes uploads that were begun before a time and not finished. Answers those it removed.
    pub(super) async fn abort_unfinished(
        &self,
        bucket: &BucketName,
        older_than: Timestamp,
    ) -> Result<Vec<UnfinishedUpload>> {
        let mut stale = Vec::new();
        let mut each = |upload: &MultipartUpload| {
            let (Some(id), Some(key)) = (upload.upload_id(), upload.key()) else { return true };
            let begun_at = time(upload.initiated());
            // A key that is not one of ours is not ours to remove.
            if let Ok(key) = ObjectKey::new(key)
                && begun_at < older_than
                && !self.live.has(id)
            {
                let at = ObjectRef { bucket: bucket.clone(), key };
                stale.push((id.to_owned(), UnfinishedUpload { at, begun_at }));
            }
            stale.len() < 10_000
        };
        self.each_upload(bucket, "", &mut each).await?;
        let mut removed = Vec::new();
        for (id, upload) in stale {
            if self.abort(&upload.at, &id).await {
                removed.push(upload);
            }
        }
        Ok(removed)
    }

    /// Goes through the unfinished uploads under a prefix until there are no more or enough.
    async fn each_upload(
        &self,
        bucket: &BucketName,
        prefix: &str,
        each: &mut (dyn FnMut(&MultipartUpload) -> bool + Send),
    ) -> Result<(), Fault> {
        let (mut key, mut id): (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self.clients.quick.list_multipart_uploads().bucket(self.bucket(bucket)).prefix(prefix);
            let request = request.set_key_marker(key.take()).set_upload_id_marker(id.take());
            let what = || format!("list unfinished uploads in bucket {bucket}");
            let page = match self.ask(what, QUICK, request.send()).await {
                // A store that cannot list them has none that could be gone on with.
                Err(fault) if fault.is_unsupported() => return Ok(()),
                page => page?,
            };
            if !page.uploads().iter().all(&mut *each) {
                return Ok(());
            }
            key = page.next_key_marker().filter(|next| !next.is_empty()).map(str::to_owned);
            id = page.next_upload_id_marker().filter(|next| !next.is_empty()).map(str::to_owned);
            if page.is_truncated() != Some(true) || key.is_none() {
                return Ok(());
            }
        }
    }
}
