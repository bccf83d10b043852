//! Verifies that the store has what was sent, by reading a sample back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::delete::ObjectDeleter;
use super::read::ObjectReader;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::wait::{Attempts, Backoff};

const SAMPLE_BYTES: usize = 64 * 1024;
/// How long a new object may take to become visible: replicas and other gateways of a store can lag.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);
const VISIBILITY_BACKOFF: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_millis(3200));

/// Some bytes of an object, kept to compare them with what the store has.
#[derive(Debug, Clone)]
pub(super) struct ByteSample {
    offset: u64,
    bytes: Bytes,
}

impl ByteSample {
    /// A random piece of these bytes, which begin at `offset` of the object. It is a copy, so it does not keep them in memory.
    pub(super) fn take(bytes: &[u8], offset: u64) -> Self {
        let length = bytes.len().min(SAMPLE_BYTES);
        let from = fastrand::usize(..=bytes.len() - length);
        Self { offset: offset + from as u64, bytes: Bytes::copy_from_slice(&bytes[from..from + length]) }
    }
}

/// An object that was sent, with what is known about it.
pub(super) struct WrittenObject<'a> {
    pub(super) size_bytes: u64,
    pub(super) sample: &'a ByteSample,
    /// The ETag in the store's response.
    pub(super) etag: Option<&'a str>,
}

impl WrittenObject<'_> {
    /// Whether an ETag that was read is that of this put: then what came with it is what the store keeps of the put, and not
    /// an object from before it.
    fn has_etag(&self, etag: Option<&str>) -> bool {
        let unquoted = |etag: &str| Some(etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
        let written = self.etag.and_then(unquoted);
        written.is_some() && written == etag.and_then(unquoted)
    }
}

/// What reading a new object back shows.
enum ReadBack {
    Match,
    /// Other bytes under the ETag of this put.
    Mismatch,
    /// No object, or possibly one from before the put; the text says which.
    NotVisible(&'static str),
}

/// Verifies objects that were just stored.
#[derive(Clone)]
pub(super) struct WriteVerifier {
    requests: Arc<Requests>,
    reader: ObjectReader,
    deleter: ObjectDeleter,
}

impl WriteVerifier {
    pub(super) fn new(requests: Arc<Requests>, reader: ObjectReader, deleter: ObjectDeleter) -> Self {
        Self { requests, reader, deleter }
    }

    /// Compares an object's length and a sample of its bytes with what was sent; waits until the object is visible.
    ///
    /// # Errors
    /// `Corrupt` if the store has other bytes, which are removed. `Unreachable` if the object does not become visible; it is
    /// left, because what was read may be from before the put.
    pub(super) async fn verify(&self, at: &ObjectRef, written: &WrittenObject<'_>) -> Result<()> {
        // The first look may be slow itself: the time for others begins after it.
        let mut attempts: Option<Attempts> = None;
        loop {
            match self.read_back(at, written).await? {
                ReadBack::Match => return Ok(()),
                ReadBack::Mismatch => return Err(self.remove_corrupt(at).await),
                ReadBack::NotVisible(why) => {
                    tracing::debug!(object = %at, why, "a stored object is not visible yet");
                    let deadline = || Attempts::new(Instant::now() + VISIBILITY_TIMEOUT, VISIBILITY_BACKOFF);
                    if !attempts.get_or_insert_with(deadline).pause().await {
                        return Err(not_visible(at, why));
                    }
                }
            }
        }
    }

    async fn read_back(&self, at: &ObjectRef, written: &WrittenObject<'_>) -> Result<ReadBack> {
        let Some(head) = self.reader.head(at).await? else { return Ok(ReadBack::NotVisible("it does not exist")) };
        if head.size_bytes != written.size_bytes {
            let is_own = written.has_etag(Some(&head.etag));
            return Ok(if is_own { ReadBack::Mismatch } else { ReadBack::NotVisible("it has another length") });
        }
        if written.sample.bytes.is_empty() {
            return Ok(ReadBack::Match);
        }
        self.compare_sample(at, written).await
    }

    async fn compare_sample(&self, at: &ObjectRef, written: &WrittenObject<'_>) -> Result<ReadBack> {
        let ByteSample { offset, bytes } = written.sample;
        let range = format!("bytes={offset}-{}", offset + bytes.len() as u64 - 1);
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.data().get_object().bucket(name).key(at.key.as_str()).range(range);
        let what = || format!("read a sample of object {at}");
        let response = match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(response) => response,
            // Another node may have answered than the one before.
            Err(error) if error.is_object_missing() => return Ok(ReadBack::NotVisible("it cannot be read")),
            Err(error) if error.has_code("InvalidRange") => return Ok(ReadBack::NotVisible("it is shorter")),
            Err(error) => return Err(error.into()),
        };
        let is_own = written.has_etag(response.e_tag());
        let stored = response.body.collect().await;
        let stored = stored.map_err(|error| Error::new(ErrorKind::Unreachable, what()).because(error))?;
        Ok(match stored.into_bytes() == *bytes {
            true => ReadBack::Match,
            false if is_own => ReadBack::Mismatch,
            false => ReadBack::NotVisible("it has other bytes, under another ETag than this put's"),
        })
    }

    /// Removes an object whose bytes are not those that were sent, and returns the error for the put.
    pub(super) async fn remove_corrupt(&self, at: &ObjectRef) -> Error {
        if let Err(error) = self.deleter.delete(std::slice::from_ref(at)).await {
            tracing::warn!(object = %at, error = error.full(), "cannot remove an object with other bytes than were sent");
        }
        Error::new(ErrorKind::Corrupt, format!("store object {at}: the store has other bytes than were sent"))
            .hint("see the store's log: its disks, or a proxy on the way, change bytes")
    }
}

fn not_visible(at: &ObjectRef, why: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("store object {at}: the store accepted it but does not return it"))
        .because(why.to_owned())
        .hint("if this persists, check that all nodes of the store are in sync")
}
