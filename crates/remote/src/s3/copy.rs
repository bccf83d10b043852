//! Copies inside the store: nothing is downloaded.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Shared;
use super::ask::{QUICK, moving};
use super::fault::Fault;
use super::list::encoded;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{CopyOutcome, Error, ErrorKind, Result};

const GIB: u64 = 1024 * 1024 * 1024;
/// The most that the protocol copies in one request.
const ONE_REQUEST: u64 = 5 * GIB;
/// What one request copies of a larger object.
const PART: u64 = GIB;
/// Parts copied at the same time.
const AT_ONCE: usize = 8;

impl Shared {
    pub(super) async fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let target = self.head(to).await?;
        if target.as_ref().is_some_and(|target| target.size_bytes == size_bytes) {
            return Ok(CopyOutcome::AlreadyThere);
        }
        if size_bytes > ONE_REQUEST {
            return self.copy_in_parts(from, to, size_bytes).await;
        }
        match self.copy_at_once(from, to, size_bytes, target.is_none()).await {
            Ok(()) => Ok(CopyOutcome::Copied),
            // Another copied it at the same time, so that a versioned bucket need not keep it twice.
            Err(fault) if fault.is("PreconditionFailed") => match self.head(to).await? {
                Some(target) if target.size_bytes == size_bytes => Ok(CopyOutcome::AlreadyThere),
                _ => Ok(self.copy_at_once(from, to, size_bytes, false).await.map(|()| CopyOutcome::Copied)?),
            },
            Err(fault) if fault.is_unsupported() => {
                Ok(self.copy_at_once(from, to, size_bytes, false).await.map(|()| CopyOutcome::Copied)?)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    fn source(&self, from: &ObjectRef) -> String {
        encoded(&format!("{}/{}", self.bucket(&from.bucket), from.key))
    }

    /// `only_new`: not if the target is there meanwhile.
    async fn copy_at_once(&self, from: &ObjectRef, to: &ObjectRef, size: u64, only_new: bool) -> Result<(), Fault> {
        let request = self.clients.bulk.copy_object().bucket(self.bucket(&to.bucket)).key(to.key.as_str());
        let request = request.copy_source(self.source(from)).set_if_none_match(only_new.then(|| "*".to_owned()));
        let what = || format!("copy object {from} to {to}");
        let copied = self.ask(what, moving(size), request.send()).await?;
        match copied.copy_object_result().and_then(|copied| copied.e_tag()) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Internal, what()).because("the store's answer names no object").into()),
        }
    }

    async fn copy_in_parts(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        let Some(source) = self.head(from).await? else {
            return Err(Error::new(ErrorKind::NotFound, format!("{}: {from} does not exist", what())));
        };
        if source.size_bytes != size_bytes {
            let found = format!("{}: it has {} bytes, not {size_bytes}", what(), source.size_bytes);
            return Err(Error::new(ErrorKind::Corrupt, found));
        }
        let begin = self.clients.quick.create_multipart_upload().bucket(self.bucket(&to.bucket)).key(to.key.as_str());
        let begun = self.ask(what, QUICK, begin.set_content_type(source.content_type).send()).await?;
        let id = begun.upload_id().unwrap_or_default();
        let _working = self.live.take(id);
        let done = self.copy_parts(from, to, size_bytes, id, &source.etag).await;
        if done.is_err() {
            self.abort(to, id).await;
        }
        Ok(done.map(|()| CopyOutcome::Copied)?)
    }

    async fn copy_parts(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        size_bytes: u64,
        id: &str,
        etag: &str,
    ) -> Result<(), Fault> {
        let count = i32::try_from(size_bytes.div_ceil(PART)).unwrap_or(i32::MAX);
        let parts = stream::iter(1..=count).map(|number| self.copy_part(from, to, size_bytes, id, etag, number));
        let parts: Vec<CompletedPart> = parts.buffered(AT_ONCE).try_collect().await?;
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.clients.bulk.complete_multipart_upload();
        let request = request.bucket(self.bucket(&to.bucket)).key(to.key.as_str()).upload_id(id).multipart_upload(list);
        self.ask(|| format!("put object {to} together"), moving(size_bytes), request.send()).await.map(drop)
    }

    async fn copy_part(
        &self,
        from: &ObjectRef,
        to: &ObjectRef,
        size_bytes: u64,
        id: &str,
        etag: &str,
        number: i32,
    ) -> Result<CompletedPart, Fault> {
        let first = u64::from(number.unsigned_abs() - 1) * PART;
        let last = (first + PART).min(size_bytes) - 1;
        let request = self.clients.bulk.upload_part_copy().bucket(self.bucket(&to.bucket)).key(to.key.as_str());
        let request = request
            .upload_id(id)
            .part_number(number)
            .copy_source(self.source(from))
            .copy_source_if_match(etag)
            .copy_source_range(format!("bytes={first}-{last}"));
        let what = || format!("copy part {number} of object {from} to {to}");
        let copied = self.ask(what, moving(PART), request.send()).await?;
        let Some(etag) = copied.copy_part_result().and_then(|copied| copied.e_tag()) else {
            return Err(Error::new(ErrorKind::Internal, what()).because("the store's answer names no part").into());
        };
        Ok(CompletedPart::builder().part_number(number).e_tag(etag).build())
    }
}
