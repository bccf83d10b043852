//! Reading objects. A body that breaks off is taken up where it broke, as long as the object is the same.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_util::io::StreamReader;

use super::ask::QUICK;
use super::{Shared, blocking, size, time};
use mfctl_core::domain::{ObjectRef, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, LocalObject, Result};

/// How often a body may break off without one byte more.
const TRIES: u32 = 4;

/// What a store knows of an object.
pub(super) struct Head {
    pub(super) size_bytes: u64,
    pub(super) modified_at: Timestamp,
    pub(super) etag: String,
    pub(super) content_type: Option<String>,
    checksum: Option<String>,
}

impl Head {
    /// Whether it was stored in this many parts, as far as the store tells.
    pub(super) fn is_of_parts(&self, count: u64) -> bool {
        let end = format!("-{count}");
        self.checksum.as_deref().unwrap_or_default().ends_with(&end) || self.etag.trim_matches('"').ends_with(&end)
    }

    /// Whether it is the object of this checksum, or, where the store keeps none, of this ETag.
    pub(super) fn is(&self, checksum: &str, etag: Option<&str>) -> bool {
        match &self.checksum {
            Some(kept) => kept == checksum,
            None => etag.is_some_and(|etag| etag == self.etag.trim_matches('"')),
        }
    }
}

impl Shared {
    /// What is known of an object; `None` if it is not there, `NotFound` if its bucket is not.
    pub(super) async fn head(&self, at: &ObjectRef) -> Result<Option<Head>> {
        let request = self.clients.quick.head_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str());
        let request = request.checksum_mode(ChecksumMode::Enabled);
        let found = match self.ask(|| format!("look at object {at}"), QUICK, request.send()).await {
            Ok(found) => found,
            // The answer to HEAD has no body, so it does not say what is missing.
            Err(fault) if fault.is_missing_object() => {
                return if self.has_seen(&at.bucket) {
                    Ok(None)
                } else {
                    self.require_bucket(&at.bucket).await.map(|()| None)
                };
            }
            Err(fault) => return Err(fault.into()),
        };
        self.saw(&at.bucket);
        Ok(Some(Head {
            size_bytes: size(found.content_length()),
            modified_at: time(found.last_modified()),
            etag: found.e_tag().unwrap_or_default().to_owned(),
            content_type: found.content_type().map(str::to_owned),
            checksum: found.checksum_sha256().map(str::to_owned),
        }))
    }

    /// A body from this offset on, of the object with this ETag.
    async fn body(&self, at: &ObjectRef, from: u64, etag: Option<&str>) -> Result<Answer> {
        let request = self.clients.bulk.get_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str());
        let request = request.set_if_match(etag.map(str::to_owned));
        let request = match from {
            // The SDK compares the checksum at the end of a whole body.
            0 => request.checksum_mode(ChecksumMode::Enabled),
            from => request.range(format!("bytes={from}-")),
        };
        match self.ask(|| format!("read object {at}"), QUICK, request.send()).await {
            Ok(answer) => Ok(Answer {
                len: from + size(answer.content_length()),
                etag: answer.e_tag().map(str::to_owned),
                body: answer.body,
            }),
            Err(fault) if fault.is_missing_object() => {
                Err(Error::new(ErrorKind::NotFound, format!("object {at} does not exist")))
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

struct Answer {
    len: u64,
    etag: Option<String>,
    body: ByteStream,
}

/// An object that is being read.
pub(super) struct Opened {
    pub(super) len: u64,
    pub(super) reader: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
}

/// Opens an object.
pub(super) async fn open(shared: Arc<Shared>, at: &ObjectRef) -> Result<Opened> {
    let answer = shared.body(at, 0, None).await?;
    let len = answer.len;
    let download =
        Download { shared, at: at.clone(), len, etag: answer.etag, done: 0, failures: 0, body: Some(answer.body) };
    let chunks = stream::try_unfold(download, |mut download| async move {
        let chunk = download.next().await?;
        Ok(chunk.map(|chunk| (chunk, download)))
    });
    Ok(Opened { len, reader: StreamReader::new(chunks.boxed()) })
}

struct Download {
    shared: Arc<Shared>,
    at: ObjectRef,
    len: u64,
    etag: Option<String>,
    done: u64,
    /// How often it broke off since the last byte.
    failures: u32,
    body: Option<ByteStream>,
}

impl Download {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let broken = match &mut self.body {
                Some(body) => match body.next().await {
                    Some(Ok(chunk)) => {
                        self.done += chunk.len() as u64;
                        self.failures = 0;
                        return Ok(Some(chunk));
                    }
                    None if self.done == self.len => return Ok(None),
                    None => io::Error::from(io::ErrorKind::UnexpectedEof),
                    Some(Err(error)) => io::Error::other(error),
                },
                None => io::Error::from(io::ErrorKind::ConnectionAborted),
            };
            self.go_on(broken).await?;
        }
    }

    /// Opens the rest, if that can help.
    async fn go_on(&mut self, broken: io::Error) -> io::Result<()> {
        let what = format!("read object {}", self.at);
        self.body = None;
        if self.done == self.len {
            let corrupt = Error::new(ErrorKind::Corrupt, what).because(broken);
            return Err(io::Error::new(io::ErrorKind::InvalidData, corrupt));
        }
        self.failures += 1;
        if self.failures > TRIES || self.etag.is_none() {
            return Err(io::Error::other(Error::new(ErrorKind::Unreachable, what).because(broken)));
        }
        tracing::debug!(object = %self.at, from = self.done, error = %broken, "its body broke off; reading on");
        tokio::time::sleep(Duration::from_millis(100) * 2u32.pow(self.failures)).await;
        match self.shared.body(&self.at, self.done, self.etag.as_deref()).await {
            Ok(rest) if rest.len == self.len => self.body = Some(rest.body),
            Ok(_) => return Err(io::Error::other(Error::new(ErrorKind::Corrupt, what).because("its length changed"))),
            Err(error) if error.kind().is_dependency() => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }
}

/// Copies an object into a folder of this host.
pub(super) async fn local(shared: Arc<Shared>, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
    let what = format!("copy object {at} into {}", dir.display());
    let failed = |error: io::Error| local_fault(&what, error);
    let mut opened = open(shared, at).await?;
    let dir = dir.to_path_buf();
    // Readable by this user alone, and gone when dropped.
    let made = blocking("make a temporary file", move || tempfile::Builder::new().prefix("object-").tempfile_in(dir));
    let (file, temporary) = made.await?.map_err(failed)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let copied = tokio::io::copy_buf(&mut opened.reader, &mut file).await.map_err(failed)?;
    file.flush().await.map_err(failed)?;
    if copied != opened.len {
        return Err(Error::new(ErrorKind::Corrupt, what).because(format!("{copied} bytes came of {}", opened.len)));
    }
    Ok(LocalObject { path: temporary.to_path_buf(), temporary: Some(temporary) })
}

/// The error of writing a local file, or the store's own, which came through the reader.
fn local_fault(what: &str, error: io::Error) -> Error {
    if !error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        let kind = if error.kind() == io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Internal };
        return Error::new(kind, what).because(error);
    }
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(inner)) => *inner,
        _ => Error::new(ErrorKind::Internal, what),
    }
}
