//! Reads objects. A body that breaks off is resumed at the next byte, as long as the object is unchanged.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt};
use tokio_util::io::StreamReader;

use super::blocking::run_blocking;
use super::buckets::BucketClient;
use super::convert::{size, timestamp};
use super::digest;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{ObjectRef, Sha256, Timestamp};
use mfctl_core::ports::{ContentDigest, Error, ErrorKind, LocalObject, Result};
use mfctl_core::wait::{Attempts, Backoff};

/// How long to try to resume a body that broke off; longer than four requests may take.
const RESUME_TIMEOUT: Duration = Duration::from_secs(105);
const RESUME_BACKOFF: Backoff = Backoff::exponential(Duration::from_millis(200), Duration::from_millis(1600));

/// The metadata of an object.
pub(super) struct ObjectHead {
    pub(super) size_bytes: u64,
    pub(super) modified_at: Timestamp,
    pub(super) etag: String,
    pub(super) content_type: Option<String>,
    checksum_sha256: Option<String>,
}

impl ObjectHead {
    /// The ETag by which a request names this version; `None` where the store gives none.
    pub(super) fn version(&self) -> Option<String> {
        Some(self.etag.clone()).filter(|etag| !etag.is_empty())
    }

    /// Whether the object was stored in this many parts, as far as its checksum or ETag shows.
    pub(super) fn has_part_count(&self, count: u64) -> bool {
        let suffix = format!("-{count}");
        self.checksum_sha256.as_deref().unwrap_or_default().ends_with(&suffix)
            || self.etag.trim_matches('"').ends_with(&suffix)
    }

    /// The SHA-256 of all bytes, where the store keeps one: the checksum of a multipart object is that of its parts'
    /// checksums, unless the store says that it covers the whole object.
    pub(super) fn whole_sha256(&self) -> Option<Sha256> {
        self.checksum_sha256.as_deref().and_then(digest::whole_sha256)
    }

    /// Whether the object has this checksum or, where the store keeps none, this ETag.
    pub(super) fn matches(&self, checksum_sha256: &str, etag: Option<&str>) -> bool {
        match &self.checksum_sha256 {
            Some(stored) => stored == checksum_sha256,
            None => etag.is_some_and(|etag| etag == self.etag.trim_matches('"')),
        }
    }
}

/// Reads the objects of a store.
#[derive(Clone)]
pub(super) struct ObjectReader {
    requests: Arc<Requests>,
    buckets: Arc<BucketClient>,
}

/// A body from some offset on.
struct OpenBody {
    /// Of the whole object.
    size_bytes: u64,
    etag: Option<String>,
    stream: ByteStream,
}

/// An object that is being read.
pub(super) struct OpenObject {
    pub(super) size_bytes: u64,
    /// The ETag of the version that is read.
    etag: Option<String>,
    pub(super) reader: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
}

impl ObjectReader {
    pub(super) fn new(requests: Arc<Requests>, buckets: Arc<BucketClient>) -> Self {
        Self { requests, buckets }
    }

    /// The metadata of an object; `None` if it does not exist.
    ///
    /// # Errors
    /// `Unprepared` if its bucket does not exist.
    pub(super) async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectHead>> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().head_object().bucket(name).key(at.key.as_str());
        let request = request.checksum_mode(ChecksumMode::Enabled);
        let what = || format!("read the metadata of object {at}");
        let response = match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(response) => response,
            // A response to HEAD has no body, so it does not say whether the object or the bucket is missing.
            Err(error) if error.is_object_missing() => {
                if !self.buckets.is_remembered(&at.bucket) {
                    self.buckets.require(&at.bucket).await?;
                }
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        self.buckets.remember(&at.bucket);
        Ok(Some(ObjectHead {
            size_bytes: size(response.content_length()),
            modified_at: timestamp(response.last_modified()),
            etag: response.e_tag().unwrap_or_default().to_owned(),
            content_type: response.content_type().map(str::to_owned),
            checksum_sha256: response.checksum_sha256().map(str::to_owned),
        }))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound` if it does not exist. The reader's errors are the port's, within `io::Error`.
    pub(super) async fn open(&self, at: &ObjectRef) -> Result<OpenObject> {
        let body = self.body(at, 0, None).await?;
        let size_bytes = body.size_bytes;
        let etag = body.etag.clone();
        let download = Download {
            reader: self.clone(),
            at: at.clone(),
            size_bytes,
            etag: body.etag,
            received: 0,
            stream: body.stream,
        };
        let chunks = stream::try_unfold(download, |mut download| async move {
            let chunk = download.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, download)))
        });
        Ok(OpenObject { size_bytes, etag, reader: StreamReader::new(chunks.boxed()) })
    }

    /// Size and SHA-256 of an object: by the store's checksum of the whole object, else by reading it.
    ///
    /// # Errors
    /// `Throttled` if the object was replaced or removed since `head` was read: to be tried again.
    pub(super) async fn content(&self, at: &ObjectRef, head: &ObjectHead) -> Result<ContentDigest> {
        if let Some(sha256) = head.whole_sha256() {
            return Ok(ContentDigest { size_bytes: head.size_bytes, sha256 });
        }
        let replaced = || Error::new(ErrorKind::Throttled, format!("read object {at}: it was replaced meanwhile"));
        let mut object = match self.open(at).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(replaced()),
            opened => opened?,
        };
        let mut hasher = Hasher::new();
        let mut size_bytes = 0;
        loop {
            let chunk =
                object.reader.fill_buf().await.map_err(|error| local_error(&format!("read object {at}"), error))?;
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            hasher.update(chunk);
            size_bytes += length as u64;
            object.reader.consume(length);
        }
        if object.etag.is_some_and(|etag| etag != head.etag) {
            return Err(replaced());
        }
        Ok(ContentDigest { size_bytes, sha256: Sha256(hasher.finalize().into()) })
    }

    /// Downloads an object into a temporary file in `dir`, readable by this user alone, which is removed when dropped.
    pub(super) async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
        let what = format!("copy object {at} into {}", dir.shown());
        let failed = |error: io::Error| local_error(&what, error);
        let mut object = self.open(at).await?;
        let dir = dir.to_path_buf();
        let create = move || tempfile::Builder::new().prefix("object-").tempfile_in(dir);
        let created = run_blocking("create a temporary file", create).await?;
        let (file, temporary) = created.map_err(failed)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let copied = tokio::io::copy_buf(&mut object.reader, &mut file).await.map_err(failed)?;
        file.flush().await.map_err(failed)?;
        if copied != object.size_bytes {
            let mismatch = format!("{copied} of {} bytes were received", object.size_bytes);
            return Err(Error::new(ErrorKind::Corrupt, what).because(mismatch));
        }
        Ok(LocalObject { path: temporary.to_path_buf(), temporary: Some(temporary) })
    }

    /// The body from this offset on, if the object still has this ETag.
    async fn body(&self, at: &ObjectRef, offset: u64, etag: Option<&str>) -> Result<OpenBody> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().get_object().bucket(name).key(at.key.as_str());
        let request = request.set_if_match(etag.map(str::to_owned));
        let request = match offset {
            // The SDK verifies the checksum at the end of a whole body.
            0 => request.checksum_mode(ChecksumMode::Enabled),
            offset => request.range(format!("bytes={offset}-")),
        };
        match self.requests.send(|| format!("read object {at}"), REQUEST_TIMEOUT, request.send()).await {
            Ok(response) => Ok(OpenBody {
                size_bytes: offset + size(response.content_length()),
                etag: response.e_tag().map(str::to_owned),
                stream: response.body,
            }),
            Err(error) if error.is_object_missing() => {
                Err(Error::new(ErrorKind::NotFound, format!("object {at} does not exist")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A download that resumes when its body breaks off.
struct Download {
    reader: ObjectReader,
    at: ObjectRef,
    size_bytes: u64,
    etag: Option<String>,
    received: u64,
    stream: ByteStream,
}

impl Download {
    async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        match self.poll_stream().await {
            Ok(chunk) => Ok(chunk),
            Err(interruption) => self.resume(interruption).await.map(Some).map_err(io::Error::other),
        }
    }

    /// The next chunk of the current body; `None` at the end of the object.
    async fn poll_stream(&mut self) -> io::Result<Option<Bytes>> {
        match self.stream.next().await {
            Some(Ok(chunk)) => {
                self.received += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None if self.received == self.size_bytes => Ok(None),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reopens the body at the next byte until a chunk arrives, if that can help.
    async fn resume(&mut self, interruption: io::Error) -> Result<Bytes> {
        let what = format!("read object {}", self.at);
        if self.received == self.size_bytes {
            return Err(Error::new(ErrorKind::Corrupt, what).because(interruption));
        }
        if self.etag.is_none() {
            return Err(Error::new(ErrorKind::Unreachable, what).because(interruption));
        }
        tracing::debug!(object = %self.at, from = self.received, error = %interruption, "the body broke off; resuming");
        let mut attempts = Attempts::new(Instant::now() + RESUME_TIMEOUT, RESUME_BACKOFF);
        attempts.pause().await;
        loop {
            match self.reopen().await {
                Err(error) if error.kind().is_dependency() => {
                    if !attempts.pause().await {
                        return Err(error);
                    }
                }
                resumed => return resumed,
            }
        }
    }

    /// The first chunk of the rest of the object.
    async fn reopen(&mut self) -> Result<Bytes> {
        let what = format!("read object {}", self.at);
        let rest = self.reader.body(&self.at, self.received, self.etag.as_deref()).await?;
        if rest.size_bytes != self.size_bytes {
            return Err(Error::new(ErrorKind::Corrupt, what).because("its length changed"));
        }
        self.stream = rest.stream;
        let interrupted = |error| Error::new(ErrorKind::Unreachable, what).because(error);
        match self.poll_stream().await {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Err(interrupted(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(interrupted(error)),
        }
    }
}

/// The error of a local file, or the store's own error, which came through the reader.
fn local_error(what: &str, error: io::Error) -> Error {
    if !error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        let kind = if error.kind() == io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Internal };
        return Error::new(kind, what).because(error);
    }
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(inner)) => *inner,
        _ => Error::new(ErrorKind::Internal, what),
    }
}
