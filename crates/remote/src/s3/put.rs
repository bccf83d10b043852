//! Stores objects: small ones in one request, large ones as a multipart upload.

use std::sync::Arc;

use bytes::Bytes;

use super::blocking::run_blocking;
use super::body::chunked_body;
use super::buckets::BucketClient;
use super::digest::{self, ChecksumSupport, PayloadSha256, PayloadSigningInterceptor};
use super::error::S3Error;
use super::multipart::MultipartUploader;
use super::parts::{self, BufferBudget};
use super::read::ObjectReader;
use super::requests::Requests;
use super::verify::{ByteSample, WriteVerifier, WrittenObject};
use mfctl_core::domain::{ObjectRef, Sha256};
use mfctl_core::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// The largest object that is stored in one request; an upload in parts would save nothing below.
const MAX_SINGLE_PUT_BYTES: u64 = 16 * 1024 * 1024;

/// Stores objects.
pub(super) struct ObjectWriter {
    pub(super) requests: Arc<Requests>,
    pub(super) buckets: Arc<BucketClient>,
    pub(super) checksums: Arc<ChecksumSupport>,
    pub(super) budget: BufferBudget,
    pub(super) reader: ObjectReader,
    pub(super) verifier: WriteVerifier,
    pub(super) multipart: MultipartUploader,
}

impl ObjectWriter {
    /// Stores an object, replacing what the key holds.
    pub(super) async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<()> {
        parts::check_object_size(at, source.len())?;
        if source.len() > MAX_SINGLE_PUT_BYTES {
            return self.multipart.upload(at, source, &options).await;
        }
        let _reservation = self.budget.reserve(source.len()).await;
        let (sha256, bytes) = read_source(at, source, options.sha256).await?;
        match self.put_bytes(at, &bytes, sha256, &options).await {
            Err(error)
                if error.is_unsupported_argument() && !self.checksums.is_confirmed() && self.checksums.is_assumed() =>
            {
                // The checksum header may be what the store does not support.
                self.checksums.record(false);
                Ok(self.put_bytes(at, &bytes, sha256, &options).await?)
            }
            response => Ok(response?),
        }
    }

    /// Stores an object unless its key holds one.
    ///
    /// # Errors
    /// `Conflict` if the key holds an object.
    pub(super) async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<()> {
        match self.put_if_absent(at, &bytes, &options).await {
            // The store does not support the condition.
            Err(error) if error.is_unsupported_argument() => match self.reader.head(at).await? {
                Some(_) => Err(Error::new(ErrorKind::Conflict, format!("store object {at}: it exists already"))),
                None => self.put(at, Arc::new(bytes), options).await,
            },
            response => Ok(response?),
        }
    }

    /// With no checksum but `Content-MD5`, which every store supports: an unsupported argument is then the condition.
    async fn put_if_absent(&self, at: &ObjectRef, bytes: &Bytes, options: &PutOptions) -> Result<(), S3Error> {
        let (body, progress) = chunked_body(bytes);
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().put_object().bucket(name).key(at.key.as_str());
        let request = request
            .set_content_type(options.content_type.clone())
            .set_content_length(i64::try_from(bytes.len()).ok())
            .content_md5(digest::content_md5(bytes))
            .if_none_match("*")
            .body(body);
        let signing = PayloadSigningInterceptor::new(PayloadSha256::of(bytes), false);
        let request = request.customize().interceptor(signing);
        self.requests.send(|| format!("store object {at}"), progress, request.send()).await?;
        self.buckets.remember(&at.bucket);
        Ok(())
    }

    async fn put_bytes(
        &self,
        at: &ObjectRef,
        bytes: &Bytes,
        sha256: PayloadSha256,
        options: &PutOptions,
    ) -> Result<(), S3Error> {
        let with_checksum = self.checksums.is_assumed();
        let (body, progress) = chunked_body(bytes);
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().put_object().bucket(name).key(at.key.as_str());
        let request = request
            .set_content_type(options.content_type.clone())
            .set_content_length(i64::try_from(bytes.len()).ok())
            .body(body);
        let request = match with_checksum {
            true => request.checksum_sha256(sha256.base64()),
            false => request.content_md5(digest::content_md5(bytes)),
        };
        let signing = PayloadSigningInterceptor::new(sha256, with_checksum && self.checksums.is_confirmed());
        let request = request.customize().interceptor(signing);
        let stored = self.requests.send(|| format!("store object {at}"), progress, request.send()).await?;
        self.buckets.remember(&at.bucket);
        if with_checksum {
            match stored.checksum_sha256() {
                Some(checksum) if checksum == sha256.base64() => {
                    self.checksums.record(true);
                    return Ok(());
                }
                Some(_) => return Err(self.verifier.remove_corrupt(at).await.into()),
                None => self.checksums.record(false),
            }
        }
        if stored.e_tag().is_some_and(|etag| digest::etag_matches(etag, bytes)) {
            return Ok(());
        }
        let sample = ByteSample::take(bytes, 0);
        let written = WrittenObject { size_bytes: bytes.len() as u64, sample: &sample, etag: stored.e_tag() };
        Ok(self.verifier.verify(at, &written).await?)
    }
}

/// The bytes of a small source and their digest, which is not computed where the caller knows it.
async fn read_source(
    at: &ObjectRef,
    source: Arc<dyn ByteSource>,
    known: Option<Sha256>,
) -> Result<(PayloadSha256, Bytes)> {
    let known = known.map(|sha256| PayloadSha256(sha256.0));
    if let (Some(sha256), Some(bytes)) = (known, source.in_memory()) {
        return Ok((sha256, bytes));
    }
    let read = run_blocking("read a source", move || {
        let read = parts::read_whole(source.as_ref())?;
        Ok(read.map(|bytes| (known.unwrap_or_else(|| PayloadSha256::of(&bytes)), Bytes::from(bytes))))
    });
    let read = read.await?.map_err(|error| parts::unreadable_source(at, error))?;
    read.map_err(|why| parts::length_mismatch(at, &why))
}
