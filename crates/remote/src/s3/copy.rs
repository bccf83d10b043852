//! Copies objects within the store: verified first, by the store's checksum or else by reading, then copied without being
//! downloaded.

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::encoding::percent_encode;
use super::error::S3Error;
use super::read::{ObjectHead, ObjectReader};
use super::requests::{REQUEST_TIMEOUT, Requests, server_side_timeout};
use super::uploads::UploadClient;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ContentDigest, CopyOutcome, Error, ErrorKind, Result};

const GIB: u64 = 1024 * 1024 * 1024;
/// The largest object that the protocol copies in one request.
const MAX_SINGLE_COPY_BYTES: u64 = 5 * GIB;
/// The size of the parts in which larger objects are copied.
const PART_BYTES: u64 = GIB;
/// Parts that are copied at the same time.
const MAX_PARTS_IN_FLIGHT: usize = 8;

/// Copies objects.
pub(super) struct ObjectCopier {
    requests: Arc<Requests>,
    reader: ObjectReader,
    uploads: Arc<UploadClient>,
}

/// One copy in parts.
struct PartCopy<'a> {
    from: &'a ObjectRef,
    to: &'a ObjectRef,
    size_bytes: u64,
    /// The ETag of the source: a source that is replaced meanwhile fails the copy.
    etag: &'a str,
    upload_id: &'a str,
}

impl ObjectCopier {
    pub(super) fn new(requests: Arc<Requests>, reader: ObjectReader, uploads: Arc<UploadClient>) -> Self {
        Self { requests, reader, uploads }
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
        if expected.size_bytes > MAX_SINGLE_COPY_BYTES {
            return self.copy_in_parts(from, to, &source).await;
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

    async fn copy_in_parts(&self, from: &ObjectRef, to: &ObjectRef, source: &ObjectHead) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        let name = self.requests.wire_name(&to.bucket);
        let create = self.requests.metadata().create_multipart_upload().bucket(name).key(to.key.as_str());
        let create = create.set_content_type(source.content_type.clone());
        let created = self.requests.send(what, REQUEST_TIMEOUT, create.send()).await?;
        let upload_id = created.upload_id().unwrap_or_default();
        let _active = self.uploads.claim(upload_id);
        let copy = PartCopy { from, to, size_bytes: source.size_bytes, etag: &source.etag, upload_id };
        let copied = self.copy_parts(&copy).await;
        if copied.is_err() {
            self.uploads.abort(to, upload_id).await;
        }
        Ok(copied.map(|()| CopyOutcome::Copied)?)
    }

    async fn copy_parts(&self, copy: &PartCopy<'_>) -> Result<(), S3Error> {
        let to = copy.to;
        let count = i32::try_from(copy.size_bytes.div_ceil(PART_BYTES)).unwrap_or(i32::MAX);
        let parts = stream::iter(1..=count).map(|number| self.copy_part(copy, number));
        let parts: Vec<CompletedPart> = parts.buffered(MAX_PARTS_IN_FLIGHT).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().complete_multipart_upload().bucket(name).key(to.key.as_str());
        let request = request.upload_id(copy.upload_id).multipart_upload(parts);
        let what = || format!("complete the upload of object {to}");
        self.requests.send(what, server_side_timeout(copy.size_bytes), request.send()).await.map(drop)
    }

    async fn copy_part(&self, copy: &PartCopy<'_>, number: i32) -> Result<CompletedPart, S3Error> {
        let PartCopy { from, to, .. } = *copy;
        let first = u64::from(number.unsigned_abs() - 1) * PART_BYTES;
        let last = (first + PART_BYTES).min(copy.size_bytes) - 1;
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().upload_part_copy().bucket(name).key(to.key.as_str());
        let request = request
            .upload_id(copy.upload_id)
            .part_number(number)
            .copy_source(self.copy_source(from))
            .copy_source_if_match(copy.etag)
            .copy_source_range(format!("bytes={first}-{last}"));
        let what = || format!("copy part {number} of object {from} to {to}");
        let response = self.requests.send(what, server_side_timeout(PART_BYTES), request.send()).await?;
        let Some(etag) = response.copy_part_result().and_then(|copied| copied.e_tag()) else {
            return Err(Error::new(ErrorKind::Internal, what()).because("the response has no ETag").into());
        };
        Ok(CompletedPart::builder().part_number(number).e_tag(etag).build())
    }
}

fn replaced_meanwhile(from: &ObjectRef, to: &ObjectRef) -> Error {
    Error::new(ErrorKind::Throttled, format!("copy object {from} to {to}: {from} was replaced meanwhile"))
}
