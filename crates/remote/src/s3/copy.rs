//! Copies objects within the store: verified first, by the store's checksum or else by reading, then copied without being
//! downloaded.
//!
//! A large object is copied in parts. Where the key of the target contains the digest of its content, a copy that was dropped
//! (at a rebalance, at a shutdown) or failed for want of the store is continued by the next one, in this process or another:
//! every copy to such a key is of the same bytes. Parts of any other copy are removed when it is dropped or fails.

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::encoding::percent_encode;
use super::error::S3Error;
use super::read::{ObjectHead, ObjectReader};
use super::requests::{REQUEST_TIMEOUT, Requests, server_side_timeout};
use super::uploads::{ActiveUpload, StoredParts, TemporaryUpload, UploadClient};
use mfctl_core::domain::{ObjectRef, object_keys};
use mfctl_core::ports::{ContentDigest, CopyOutcome, Error, ErrorKind, Result};

const MIB: u64 = 1024 * 1024;
/// Parts that are copied at the same time.
const MAX_PARTS_IN_FLIGHT: usize = 8;

/// How objects are copied, by their size.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopySizes {
    /// The largest object that is copied in one request.
    max_single_bytes: u64,
    /// The size of the parts in which larger objects are copied.
    part_bytes: u64,
}

impl Default for CopySizes {
    /// The protocol copies at most 5 GiB in one request. The largest object, of 5 TiB, has 8192 parts of 640 MiB; the protocol
    /// allows 10,000. Releases that did not verify the source before the copy made parts of 1 GiB, which are not continued.
    fn default() -> Self {
        Self { max_single_bytes: 5 * 1024 * MIB, part_bytes: 640 * MIB }
    }
}

/// Copies objects.
pub(super) struct ObjectCopier {
    requests: Arc<Requests>,
    reader: ObjectReader,
    uploads: Arc<UploadClient>,
    sizes: CopySizes,
}

/// One copy in parts.
struct PartCopy<'a> {
    from: &'a ObjectRef,
    to: &'a ObjectRef,
    size_bytes: u64,
    /// The ETag of the source: a source that is replaced meanwhile fails the copy.
    etag: &'a str,
    upload: ActiveUpload<'a>,
    /// The parts of an earlier copy; none in a new upload.
    stored: StoredParts,
}

/// The unfinished uploads of the target.
#[derive(Default)]
struct EarlierCopies<'a> {
    /// The one with the most parts that this copy can continue.
    resumable: Option<(ActiveUpload<'a>, StoredParts)>,
    /// The ids of the others.
    others: Vec<String>,
}

impl ObjectCopier {
    pub(super) fn new(requests: Arc<Requests>, reader: ObjectReader, uploads: Arc<UploadClient>) -> Self {
        Self { requests, reader, uploads, sizes: CopySizes::default() }
    }

    /// See [`mfctl_core::ports::ObjectStore::copy`].
    pub(super) async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let (source, target) = tokio::try_join!(self.reader.head(from), self.reader.head(to))?;
        if let Some(target) = target {
            return self.compare_target(from, to, &target, expected).await;
        }
        let Some(source) = source else {
            // Copied and deleted by another process since the target was looked for.
            if let Some(target) = self.reader.head(to).await? {
                return self.compare_target(from, to, &target, expected).await;
            }
            return Err(Error::new(ErrorKind::NotFound, format!("copy object {from} to {to}: {from} does not exist")));
        };
        let found = self.reader.content(from, &source).await?;
        if found != *expected {
            return Ok(CopyOutcome::WrongSource { found });
        }
        if expected.size_bytes > self.sizes.max_single_bytes {
            return self.copy_in_parts(from, to, &source, expected).await;
        }
        match self.copy_in_one_request(from, to, &source, true).await {
            Ok(()) => Ok(CopyOutcome::Copied),
            // Copied concurrently, or the source is another one now.
            Err(error) if error.has_code("PreconditionFailed") => match self.reader.head(to).await? {
                Some(target) => self.compare_target(from, to, &target, expected).await,
                None => Err(replaced_meanwhile(from, to)),
            },
            Err(error) if error.is_unsupported() => {
                self.copy_in_one_request(from, to, &source, false).await?;
                Ok(CopyOutcome::Copied)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The target exists: it is kept, whatever it holds.
    async fn compare_target(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        target: &ObjectHead,
        expected: &ContentDigest,
    ) -> Result<CopyOutcome> {
        let found = self.reader.content(to, target).await?;
        if found == *expected {
            return Ok(CopyOutcome::AlreadyThere);
        }
        let source = match self.reader.head(from).await? {
            Some(source) => Some(self.reader.content(from, &source).await?),
            None => None,
        };
        Ok(CopyOutcome::WrongTarget { found, source })
    }

    fn copy_source(&self, from: &ObjectRef) -> String {
        percent_encode(&format!("{}/{}", self.requests.wire_name(&from.bucket), from.key))
    }

    /// Copies the version of the source that was verified. `if_absent`: fails with `PreconditionFailed` if the target exists
    /// meanwhile.
    async fn copy_in_one_request(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        source: &ObjectHead,
        if_absent: bool,
    ) -> Result<(), S3Error> {
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().copy_object().bucket(name).key(to.key.as_str());
        let request = request.copy_source(self.copy_source(from));
        let request = request.set_copy_source_if_match(source.version());
        let request = request.set_if_none_match(if_absent.then(|| "*".to_owned()));
        let what = || format!("copy object {from} to {to}");
        let response = self.requests.send(what, server_side_timeout(source.size_bytes), request.send()).await?;
        match response.copy_object_result().and_then(|copied| copied.e_tag()) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Internal, what()).because("the response has no ETag").into()),
        }
    }

    async fn copy_in_parts(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        source: &ObjectHead,
        expected: &ContentDigest,
    ) -> Result<CopyOutcome> {
        match self.try_copy_in_parts(from, to, source, expected).await {
            // Completed by another copy, or aborted by another client.
            Err(error) if error.has_code("NoSuchUpload") => match self.reader.head(to).await? {
                Some(target) => return self.compare_target(from, to, &target, expected).await,
                None => self.try_copy_in_parts(from, to, source, expected).await?,
            },
            copied => copied?,
        }
        Ok(CopyOutcome::Copied)
    }

    async fn try_copy_in_parts(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        source: &ObjectHead,
        expected: &ContentDigest,
    ) -> Result<(), S3Error> {
        let names_content = object_keys::digest_in_key(&to.key) == Some(expected.sha256);
        let EarlierCopies { resumable, others } = match names_content {
            true => self.earlier_copies(to, source.size_bytes).await?,
            false => EarlierCopies::default(),
        };
        let (upload, stored) = match resumable {
            Some(resumable) => resumable,
            None => (self.create_upload(from, to, source).await?, StoredParts::default()),
        };
        let temporary = (!names_content).then(|| TemporaryUpload::new(&self.uploads, to, upload.id()));
        let copy = PartCopy { from, to, size_bytes: source.size_bytes, etag: &source.etag, upload, stored };
        match self.copy_parts(&copy).await {
            Ok(()) => {
                if let Some(temporary) = temporary {
                    temporary.completed();
                }
                for id in others {
                    self.uploads.abort(to, &id).await;
                }
                Ok(())
            }
            Err(error) => {
                if names_content && !error.error.kind().is_dependency() {
                    self.uploads.abort(to, copy.upload.id()).await;
                }
                Err(error)
            }
        }
    }

    /// The unfinished uploads of a key that contains the digest of its content.
    async fn earlier_copies(&self, to: &ObjectRef, size_bytes: u64) -> Result<EarlierCopies<'_>, S3Error> {
        let mut found = EarlierCopies::default();
        for id in self.uploads.unfinished_of(to).await? {
            let Some(active) = self.uploads.claim(&id) else { continue };
            let Some(stored) = self.uploads.parts_of(to, &id).await? else { continue };
            let most_parts = found.resumable.as_ref().map_or(0, |(_, stored)| stored.count());
            if stored.count() > most_parts && stored.are_of_size(size_bytes, self.sizes.part_bytes) {
                let fewer = found.resumable.replace((active, stored));
                found.others.extend(fewer.map(|(active, _)| active.id().to_owned()));
            } else {
                found.others.push(id);
            }
        }
        if let Some((_, stored)) = &found.resumable {
            tracing::info!(object = %to, parts = stored.count(), "resuming an interrupted copy");
        }
        Ok(found)
    }

    async fn create_upload(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        source: &ObjectHead,
    ) -> Result<ActiveUpload<'_>, S3Error> {
        let what = || format!("copy object {from} to {to}");
        let name = self.requests.wire_name(&to.bucket);
        let create = self.requests.metadata().create_multipart_upload().bucket(name).key(to.key.as_str());
        let create = create.set_content_type(source.content_type.clone());
        let created = self.requests.send(what, REQUEST_TIMEOUT, create.send()).await?;
        let id = created.upload_id().unwrap_or_default();
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Internal, what()).because("the upload has no id").into());
        }
        let upload = self.uploads.claim(id);
        // Another copy of this process found the new upload in a list, and continues it.
        Ok(upload.ok_or_else(|| Error::new(ErrorKind::Throttled, what()).because("it is being copied already"))?)
    }

    async fn copy_parts(&self, copy: &PartCopy<'_>) -> Result<(), S3Error> {
        let to = copy.to;
        let count = i32::try_from(copy.size_bytes.div_ceil(self.sizes.part_bytes)).unwrap_or(i32::MAX);
        let parts = stream::iter(1..=count).map(|number| self.copy_part(copy, number));
        let parts: Vec<CompletedPart> = parts.buffered(MAX_PARTS_IN_FLIGHT).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().complete_multipart_upload().bucket(name).key(to.key.as_str());
        let request = request.upload_id(copy.upload.id()).multipart_upload(parts);
        let what = || format!("complete the upload of object {to}");
        self.requests.send(what, server_side_timeout(copy.size_bytes), request.send()).await.map(drop)
    }

    async fn copy_part(&self, copy: &PartCopy<'_>, number: i32) -> Result<CompletedPart, S3Error> {
        let PartCopy { from, to, .. } = *copy;
        if let Some(etag) = copy.stored.etag(number) {
            return Ok(CompletedPart::builder().part_number(number).e_tag(etag).build());
        }
        let part_bytes = self.sizes.part_bytes;
        let first = u64::from(number.unsigned_abs() - 1) * part_bytes;
        let last = (first + part_bytes).min(copy.size_bytes) - 1;
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().upload_part_copy().bucket(name).key(to.key.as_str());
        let request = request
            .upload_id(copy.upload.id())
            .part_number(number)
            .copy_source(self.copy_source(from))
            .copy_source_if_match(copy.etag)
            .copy_source_range(format!("bytes={first}-{last}"));
        let what = || format!("copy part {number} of object {from} to {to}");
        let response = self.requests.send(what, server_side_timeout(part_bytes), request.send()).await?;
        let Some(etag) = response.copy_part_result().and_then(|copied| copied.e_tag()) else {
            return Err(Error::new(ErrorKind::Internal, what()).because("the response has no ETag").into());
        };
        Ok(CompletedPart::builder().part_number(number).e_tag(etag).build())
    }
}

fn replaced_meanwhile(from: &ObjectRef, to: &ObjectRef) -> Error {
    Error::new(ErrorKind::Throttled, format!("copy object {from} to {to}: {from} was replaced meanwhile"))
}

#[cfg(test)]
mod tests;
