//! Multipart uploads of large objects, and resuming those that were interrupted.
//!
//! The source is read once, from beginning to end. Each part is hashed, and skipped if the store has it already with the same
//! SHA-256 (or MD5, where the store keeps nothing else). So a process that is killed loses only the parts in flight. A lost
//! connection, a store outage or a read error of the source leaves the upload for the next put of the key; a source of the wrong
//! length aborts it.

use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{FuturesUnordered, StreamExt};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

use super::blocking::run_blocking;
use super::body::chunked_body;
use super::buckets::BucketClient;
use super::digest::{self, ChecksumSupport, PayloadSha256, PayloadSigningInterceptor};
use super::error::S3Error;
use super::parts::{self, BufferBudget, ReadOutcome, SourcePart};
use super::read::ObjectReader;
use super::requests::{REQUEST_TIMEOUT, Requests, server_side_timeout};
use super::uploads::{ActiveUpload, StoredParts, UploadClient};
use super::verify::{ByteSample, WriteVerifier, WrittenObject};
use mfctl_core::domain::ObjectRef;
use mfctl_core::failpoint;
use mfctl_core::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// How often an upload is created again because another put of this process claimed the new one.
const MAX_CREATE_ATTEMPTS: usize = 8;

/// Stores objects as multipart uploads.
pub(super) struct MultipartUploader {
    pub(super) requests: Arc<Requests>,
    pub(super) buckets: Arc<BucketClient>,
    pub(super) checksums: Arc<ChecksumSupport>,
    pub(super) budget: BufferBudget,
    pub(super) reader: ObjectReader,
    pub(super) verifier: WriteVerifier,
    pub(super) uploads: Arc<UploadClient>,
    /// One permit per part in flight.
    pub(super) part_slots: Semaphore,
    /// As configured.
    pub(super) part_size: Option<u64>,
}

/// An upload that was just created, or one that is resumed.
struct OpenUpload<'a> {
    at: &'a ObjectRef,
    active: ActiveUpload<'a>,
    part_size: u64,
    /// The parts of an earlier put; none in a new upload.
    stored: StoredParts,
    /// Whether its parts carry SHA-256 checksums.
    is_checksummed: bool,
}

/// A part that the store has.
struct UploadedPart {
    number: i32,
    etag: String,
    sha256: PayloadSha256,
    /// Whether the store keeps its checksum.
    is_checksummed: bool,
}

/// All parts of an upload by number, and a random sample of them.
#[derive(Default)]
struct UploadedParts {
    parts: Vec<UploadedPart>,
    sample: Option<ByteSample>,
}

impl MultipartUploader {
    /// Stores a large object. An upload that another client aborts meanwhile is restarted once.
    pub(super) async fn upload(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: &PutOptions) -> Result<()> {
        match self.try_upload(at, source.clone(), options).await {
            Err(error) if error.has_code("NoSuchUpload") => {
                tracing::warn!(object = %at, "the upload was aborted by another client; restarting it");
                Ok(self.try_upload(at, source, options).await?)
            }
            response => Ok(response?),
        }
    }

    async fn try_upload(
        &self,
        at: &ObjectRef,
        source: Arc<dyn ByteSource>,
        options: &PutOptions,
    ) -> Result<(), S3Error> {
        let part_size = parts::part_size_for(source.len(), self.part_size);
        let upload = match self.find_resumable(at, source.len(), part_size).await? {
            Some(upload) => upload,
            None if self.is_stored(at, source.clone(), part_size).await? => return Ok(()),
            None => self.create(at, part_size, options).await?,
        };
        let (reader, parts) = self.budget.part_reader(source.clone(), upload.part_size);
        let reading = tokio::task::spawn_blocking(move || reader.run());
        let uploaded = self.send_parts(&upload, parts).await;
        // Waited for after a failure too: a retry must not start while the source is still being read.
        let read = reading.await.map_err(|error| Error::new(ErrorKind::Internal, "read a source").because(error))?;
        let uploaded = match (read, uploaded) {
            (Err(error), _) => return Err(parts::unreadable_source(at, error).into()),
            (Ok(ReadOutcome::LengthMismatch(why)), _) => {
                self.uploads.abort(at, upload.active.id()).await;
                return Err(parts::length_mismatch(at, &why).into());
            }
            (Ok(_), uploaded) => uploaded?,
        };
        self.complete(&upload, source.len(), uploaded).await
    }

    /// Claims the unfinished upload of this key that has the most bytes, and aborts the others.
    async fn find_resumable<'a>(
        &'a self,
        at: &'a ObjectRef,
        object_size: u64,
        part_size: u64,
    ) -> Result<Option<OpenUpload<'a>>, S3Error> {
        let mut best: Option<OpenUpload<'a>> = None;
        for id in self.uploads.unfinished_of(at).await? {
            let Some(active) = self.uploads.claim(&id) else { continue };
            let Some(stored) = self.uploads.parts_of(at, &id).await? else { continue };
            // A store that is known to keep no checksums need not say so.
            let is_checksummed = stored.is_checksummed().or((!self.checksums.is_assumed()).then_some(false));
            match is_checksummed {
                Some(is_checksummed) if best.as_ref().is_none_or(|best| stored.bytes() > best.stored.bytes()) => {
                    let part_size = stored.part_size(object_size, part_size);
                    let better = OpenUpload { at, active, part_size, stored, is_checksummed };
                    if let Some(worse) = best.replace(better) {
                        self.uploads.abort(at, worse.active.id()).await;
                    }
                }
                _ => {
                    self.uploads.abort(at, &id).await;
                }
            }
        }
        if let Some(upload) = &best {
            tracing::info!(object = %at, parts = upload.stored.count(), "resuming an interrupted upload");
        }
        Ok(best)
    }

    /// Creates an upload. Another put of this process may claim the new upload as an interrupted one before this put does; then
    /// it belongs to that put, and another is created.
    async fn create<'a>(
        &'a self,
        at: &'a ObjectRef,
        part_size: u64,
        options: &PutOptions,
    ) -> Result<OpenUpload<'a>, S3Error> {
        for _ in 0..MAX_CREATE_ATTEMPTS {
            if let Some(upload) = self.try_create(at, part_size, options).await? {
                return Ok(upload);
            }
        }
        let what = format!("store object {at}: other tasks of this process store it at the same time");
        Err(Error::new(ErrorKind::Conflict, what).into())
    }

    async fn try_create<'a>(
        &'a self,
        at: &'a ObjectRef,
        part_size: u64,
        options: &PutOptions,
    ) -> Result<Option<OpenUpload<'a>>, S3Error> {
        let create = |is_checksummed: bool| {
            let name = self.requests.wire_name(&at.bucket);
            let request = self.requests.metadata().create_multipart_upload().bucket(name).key(at.key.as_str());
            let request = request
                .set_content_type(options.content_type.clone())
                .set_checksum_algorithm(is_checksummed.then_some(ChecksumAlgorithm::Sha256));
            self.requests.send(move || format!("create an upload of object {at}"), REQUEST_TIMEOUT, request.send())
        };
        let mut is_checksummed = self.checksums.is_assumed();
        let mut created = create(is_checksummed).await;
        let is_refused = created.as_ref().is_err_and(S3Error::is_unsupported_argument);
        if is_checksummed && !self.checksums.is_confirmed() && is_refused {
            self.checksums.record(false);
            is_checksummed = false;
            created = create(false).await;
        }
        let created = created?;
        self.buckets.remember(&at.bucket);
        let id = created.upload_id().unwrap_or_default();
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Internal, format!("store object {at}: the upload has no id")).into());
        }
        let active = self.uploads.claim(id);
        Ok(active.map(|active| OpenUpload { at, active, part_size, stored: StoredParts::default(), is_checksummed }))
    }

    /// Sends the parts in the order they are read, several at a time, except those that the store has.
    async fn send_parts(
        &self,
        upload: &OpenUpload<'_>,
        mut parts: mpsc::Receiver<SourcePart>,
    ) -> Result<UploadedParts, S3Error> {
        let mut uploaded = UploadedParts::default();
        let mut sending = FuturesUnordered::new();
        loop {
            // 1. A part that was sent, first, so that memory is released. 2. The next part, or the end of the source.
            tokio::select! {
                biased;
                Some(sent) = sending.next() => uploaded.parts.push(sent?),
                part = parts.recv() => {
                    let Some(part) = part else { break };
                    // Reservoir sampling: each part is sampled with the same probability.
                    if fastrand::i32(..part.number.max(1)) == 0 {
                        let offset = u64::from(part.number.unsigned_abs() - 1) * upload.part_size;
                        uploaded.sample = Some(ByteSample::take(&part.bytes, offset));
                    }
                    sending.push(self.send_part(upload, part));
                }
            }
        }
        while let Some(sent) = sending.next().await {
            uploaded.parts.push(sent?);
        }
        uploaded.parts.sort_unstable_by_key(|part| part.number);
        Ok(uploaded)
    }

    async fn send_part(&self, upload: &OpenUpload<'_>, part: SourcePart) -> Result<UploadedPart, S3Error> {
        let number = part.number;
        let sha256 = part.sha256;
        if let Some((etag, is_checksummed)) = upload.stored.find(&part) {
            return Ok(UploadedPart { number, etag, sha256, is_checksummed });
        }
        let at = upload.at;
        // The semaphore is never closed.
        let _slot = self.part_slots.acquire().await;
        let (body, progress) = chunked_body(&part.bytes);
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().upload_part().bucket(name).key(at.key.as_str());
        let request = request
            .upload_id(upload.active.id())
            .part_number(number)
            .set_content_length(i64::try_from(part.bytes.len()).ok())
            .body(body);
        let request = match upload.is_checksummed {
            true => request.checksum_sha256(sha256.base64()),
            false => request.content_md5(digest::content_md5(&part.bytes)),
        };
        let is_verified = upload.is_checksummed && self.checksums.is_confirmed();
        let request = request.customize().interceptor(PayloadSigningInterceptor::new(sha256, is_verified));
        let what = || format!("store part {number} of object {at}");
        let response = self.requests.send(what, progress, request.send()).await?;
        let etag = response.e_tag().unwrap_or_default().to_owned();
        let is_checksummed = upload.is_checksummed && response.checksum_sha256().is_some();
        let differs = is_checksummed && response.checksum_sha256() != Some(sha256.base64().as_str());
        if etag.is_empty() || differs {
            let why = "the response has no ETag, or another checksum";
            return Err(Error::new(ErrorKind::Internal, what()).because(why).into());
        }
        failpoint::hit("s3_part_stored");
        Ok(UploadedPart { number, etag, sha256, is_checksummed })
    }

    async fn complete(&self, upload: &OpenUpload<'_>, size_bytes: u64, uploaded: UploadedParts) -> Result<(), S3Error> {
        let at = upload.at;
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().complete_multipart_upload().bucket(name).key(at.key.as_str());
        let request = request.upload_id(upload.active.id()).multipart_upload(completed(&uploaded.parts));
        failpoint::hit("s3_before_complete");
        let what = || format!("complete the upload of object {at}");
        let response = self.requests.send(what, server_side_timeout(size_bytes), request.send()).await;
        failpoint::hit("s3_after_complete");
        let shas: Vec<PayloadSha256> = uploaded.parts.iter().map(|part| part.sha256).collect();
        let checksum = digest::composite_checksum(&shas);
        match response {
            // A retry after the first attempt was applied finds no upload.
            Err(error) if error.has_code("NoSuchUpload") => {
                let etag = digest::composite_etag(uploaded.parts.iter().map(|part| part.etag.as_str()));
                match self.reader.head(at).await? {
                    Some(head) if head.size_bytes == size_bytes && head.matches(&checksum, etag.as_deref()) => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
            Ok(response) if response.checksum_sha256() == Some(checksum.as_str()) => {
                self.checksums.record(true);
                Ok(())
            }
            // The parts were verified one by one; the sample verifies that they were assembled.
            Ok(response) => match &uploaded.sample {
                Some(sample) => {
                    let written = WrittenObject { size_bytes, sample, etag: response.e_tag() };
                    Ok(self.verifier.verify(at, &written).await?)
                }
                None => Ok(()),
            },
        }
    }

    /// Whether the key holds an object with these bytes already: a put that was killed after its last request is not repeated.
    async fn is_stored(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, part_size: u64) -> Result<bool, S3Error> {
        let Some(head) = self.reader.head(at).await? else { return Ok(false) };
        if head.size_bytes != source.len() || !head.has_part_count(source.len().div_ceil(part_size)) {
            return Ok(false);
        }
        let read = run_blocking("read a source", move || composite_digests(source.as_ref(), part_size)).await?;
        let digests = read.map_err(|error| parts::unreadable_source(at, error))?;
        let Some((checksum, etag)) = digests else { return Ok(false) };
        Ok(head.matches(&checksum, Some(&etag)))
    }
}

/// The list of parts in the request that completes an upload; with checksums only if the store keeps them for all parts.
fn completed(parts: &[UploadedPart]) -> CompletedMultipartUpload {
    let is_checksummed = parts.iter().all(|part| part.is_checksummed);
    let part = |part: &UploadedPart| {
        let checksum = is_checksummed.then(|| part.sha256.base64());
        let builder = CompletedPart::builder().part_number(part.number).e_tag(&part.etag);
        builder.set_checksum_sha256(checksum).build()
    };
    CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build()
}

/// The checksum and the ETag that a source would have as a multipart object; `None` if its length is not the announced one.
fn composite_digests(source: &dyn ByteSource, part_size: u64) -> std::io::Result<Option<(String, String)>> {
    let mut shas = Vec::new();
    let mut md5s = Vec::new();
    let mut sha = Sha256::new();
    let mut md5 = Md5::new();
    let is_complete = parts::for_each_chunk(source, part_size, &mut |bytes, is_part_end| {
        sha.update(bytes);
        md5.update(bytes);
        if is_part_end {
            shas.push(PayloadSha256(sha.finalize_reset().into()));
            md5s.push(hex::encode(md5.finalize_reset()));
        }
    })?;
    let etag = digest::composite_etag(md5s.iter().map(String::as_str)).unwrap_or_default();
    Ok(is_complete.then(|| (digest::composite_checksum(&shas), etag)))
}
