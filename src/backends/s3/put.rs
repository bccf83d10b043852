//! Storing an object in one request, and making sure that the store has what was sent.

use std::sync::Arc;

use bytes::Bytes;

use super::ask::QUICK;
use super::body::body;
use super::digest::{self, Sha, Signed};
use super::fault::Fault;
use super::parts;
use super::{Shared, blocking};
use crate::domain::ObjectRef;
use crate::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// Up to this size an object goes in one request: cutting it would save nothing.
pub(super) const ONE_REQUEST: u64 = 16 * 1024 * 1024;
/// Bytes of a sample that is read back.
pub(super) const SAMPLE: usize = 64 * 1024;

/// Some bytes of an object, kept to compare them with what the store has.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

impl Sample {
    /// A random piece of these bytes, which begin at `offset` of the object. It does not keep them alive.
    pub(super) fn of(bytes: &[u8], offset: u64) -> Self {
        let length = bytes.len().min(SAMPLE);
        let from = fastrand::usize(..=bytes.len() - length);
        Self { offset: offset + from as u64, bytes: Bytes::copy_from_slice(&bytes[from..from + length]) }
    }
}

/// The error for a source that cannot be read.
pub(super) fn unreadable(at: &ObjectRef, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("read the source of object {at}")).because(error)
}

/// The error for a source of another length than it said.
pub(super) fn wrong_length(at: &ObjectRef, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("store object {at}: {why}"))
}

impl Shared {
    pub(super) async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<()> {
        parts::check_size(at, source.len())?;
        if source.len() > ONE_REQUEST {
            return self.put_in_parts(at, source, &options).await;
        }
        let _room = self.budget.room(source.len()).await;
        let known = options.sha256.map(|sha256| Sha(sha256.0));
        let (sha, bytes) = match (known, source.in_memory()) {
            (Some(sha), Some(bytes)) => (sha, bytes),
            _ => {
                let read = blocking("read a source", move || {
                    let read = parts::read_whole(source.as_ref());
                    read.map(|read| read.map(|bytes| (known.unwrap_or_else(|| Sha::of(&bytes)), Bytes::from(bytes))))
                });
                match read.await? {
                    Ok(Ok(read)) => read,
                    Ok(Err(why)) => return Err(wrong_length(at, &why)),
                    Err(error) => return Err(unreadable(at, error)),
                }
            }
        };
        match self.put_bytes(at, &bytes, sha, &options).await {
            Err(fault) if fault.is_unsupported_argument() && !self.checksums.are_kept() && self.checksums.wanted() => {
                // It may be the checksum's header that the store does not know.
                self.checksums.learn(false);
                let again = self.put_bytes(at, &bytes, sha, &options).await;
                Ok(again?)
            }
            answer => Ok(answer?),
        }
    }

    async fn put_bytes(&self, at: &ObjectRef, bytes: &Bytes, sha: Sha, options: &PutOptions) -> Result<(), Fault> {
        let summed = self.checksums.wanted();
        let (body, progress) = body(bytes);
        let request = self
            .clients
            .bulk
            .put_object()
            .bucket(self.bucket(&at.bucket))
            .key(at.key.as_str())
            .set_content_type(options.content_type.clone())
            .set_content_length(i64::try_from(bytes.len()).ok())
            .body(body);
        let request = match summed {
            true => request.checksum_sha256(sha.base64()),
            false => request.content_md5(digest::content_md5(bytes)),
        };
        let send = request.customize().interceptor(Signed::of(sha, summed && self.checksums.are_kept())).send();
        let stored = self.send(|| format!("store object {at}"), progress, send).await?;
        self.saw(&at.bucket);
        if summed {
            match stored.checksum_sha256() {
                Some(found) if found == sha.base64() => {
                    self.checksums.learn(true);
                    return Ok(());
                }
                Some(_) => return Err(self.not_what_was_sent(at).await.into()),
                None => self.checksums.learn(false),
            }
        }
        if stored.e_tag().is_some_and(|etag| digest::etag_is_of(etag, bytes)) {
            return Ok(());
        }
        Ok(self.verify_sample(at, bytes.len() as u64, &Sample::of(bytes, 0)).await?)
    }

    /// Compares an object's length and some of its bytes with what was sent.
    pub(super) async fn verify_sample(&self, at: &ObjectRef, len: u64, sample: &Sample) -> Result<()> {
        let found = self.head(at).await?.map(|head| head.size_bytes);
        if found != Some(len) {
            return Err(self.not_what_was_sent(at).await);
        }
        if sample.bytes.is_empty() {
            return Ok(());
        }
        let last = sample.offset + sample.bytes.len() as u64 - 1;
        let range = format!("bytes={}-{last}", sample.offset);
        let request = self.clients.bulk.get_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str()).range(range);
        let what = || format!("read a sample of object {at}");
        let answer = self.ask(what, QUICK, request.send()).await?;
        let read = answer.body.collect().await;
        let read = read.map_err(|error| Error::new(ErrorKind::Unreachable, what()).because(error))?;
        if read.into_bytes() != sample.bytes {
            return Err(self.not_what_was_sent(at).await);
        }
        Ok(())
    }

    /// Removes what the store has instead of what was sent.
    async fn not_what_was_sent(&self, at: &ObjectRef) -> Error {
        if let Err(error) = self.delete(std::slice::from_ref(at)).await {
            tracing::warn!(object = %at, error = error.full(), "an object with other bytes than were sent stays");
        }
        Error::new(ErrorKind::Corrupt, format!("store object {at}: the store has other bytes than were sent"))
            .hint("see the store's log: its disks, or what lies between, change bytes")
    }
}
