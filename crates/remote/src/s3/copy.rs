//! Copies objects within the store, without downloading them.

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::encoding::percent_encode;
use super::error::S3Error;
use super::read::ObjectReader;
use super::requests::{REQUEST_TIMEOUT, Requests, server_side_timeout};
use super::uploads::UploadClient;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{CopyOutcome, Error, ErrorKind, Result};

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

    pub(super) async fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let target = self.reader.head(to).await?;
        if target.as_ref().is_some_and(|target| target.size_bytes == size_bytes) {
            return Ok(CopyOutcome::AlreadyThere);
        }
        if size_bytes > MAX_SINGLE_COPY_BYTES {
            return self.copy_in_parts(from, to, size_bytes).await;
        }
        match self.copy_in_one_request(from, to, size_bytes, target.is_none()).await {
            Ok(()) => Ok(CopyOutcome::Copied),
            // Copied concurrently; not repeated, so that a versioned bucket does not keep it twice.
            Err(error) if error.has_code("PreconditionFailed") => match self.reader.head(to).await? {
                Some(target) if target.size_bytes == size_bytes => Ok(CopyOutcome::AlreadyThere),
                _ => self.overwrite(from, to, size_bytes).await,
            },
            Err(error) if error.is_unsupported() => self.overwrite(from, to, size_bytes).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn overwrite(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        self.copy_in_one_request(from, to, size_bytes, false).await?;
        Ok(CopyOutcome::Copied)
    }

    fn copy_source(&self, from: &ObjectRef) -> String {
        percent_encode(&format!("{}/{}", self.requests.wire_name(&from.bucket), from.key))
    }

    /// `if_absent`: fails with `PreconditionFailed` if the target exists meanwhile.
    async fn copy_in_one_request(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        size: u64,
        if_absent: bool,
    ) -> Result<(), S3Error> {
        let name = self.requests.wire_name(&to.bucket);
        let request = self.requests.data().copy_object().bucket(name).key(to.key.as_str());
        let request = request.copy_source(self.copy_source(from));
        let request = request.set_if_none_match(if_absent.then(|| "*".to_owned()));
        let what = || format!("copy object {from} to {to}");
        let response = self.requests.send(what, server_side_timeout(size), request.send()).await?;
        match response.copy_object_result().and_then(|copied| copied.e_tag()) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Internal, what()).because("the response has no ETag").into()),
        }
    }

    async fn copy_in_parts(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        let Some(source) = self.reader.head(from).await? else {
            return Err(Error::new(ErrorKind::NotFound, format!("{}: {from} does not exist", what())));
        };
        if source.size_bytes != size_bytes {
            let mismatch = format!("{}: the source has {} bytes, not {size_bytes}", what(), source.size_bytes);
            return Err(Error::new(ErrorKind::Corrupt, mismatch));
        }
        let name = self.requests.wire_name(&to.bucket);
        let create = self.requests.metadata().create_multipart_upload().bucket(name).key(to.key.as_str());
        let create = create.set_content_type(source.content_type);
        let created = self.requests.send(what, REQUEST_TIMEOUT, create.send()).await?;
        let upload_id = created.upload_id().unwrap_or_default();
        let _active = self.uploads.claim(upload_id);
        let copy = PartCopy { from, to, size_bytes, etag: &source.etag, upload_id };
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
