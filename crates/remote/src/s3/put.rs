//! Storing an object in one request, and making sure that the store has what was sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ask::QUICK;
use super::body::body;
use super::digest::{self, Sha, Signed};
use super::fault::Fault;
use super::parts;
use super::{Shared, blocking};
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// Up to this size an object goes in one request: cutting it would save nothing.
pub(super) const ONE_REQUEST: u64 = 16 * 1024 * 1024;
/// Bytes of a sample that is read back.
pub(super) const SAMPLE: usize = 64 * 1024;
/// How often a new object is looked at before the store counts as not showing it: a replica, or another gateway of the
/// store, may hear of it later. The waits between double, and are 6 seconds together.
const LOOKS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(100);

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

/// What was sent as one object, by which the store is checked.
pub(super) struct Sent<'a> {
    pub(super) len: u64,
    pub(super) sample: &'a Sample,
    /// The ETag that the store gave it.
    pub(super) etag: Option<&'a str>,
}

impl Sent<'_> {
    /// Whether an ETag that was read is the one that was given: then what came with it is what the store keeps of this
    /// put, and no object from before it.
    fn is_it(&self, etag: Option<&str>) -> bool {
        let bare = |etag: &str| Some(etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
        let given = self.etag.and_then(bare);
        given.is_some() && given == etag.and_then(bare)
    }
}

/// What a look at a new object shows.
enum Shown {
    /// What was sent.
    Same,
    /// Other bytes, as those of this very put.
    Other,
    /// Nothing, or what may be from before it; in words.
    NotYet(&'static str),
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

    /// Stores an object unless its key holds one.
    pub(super) async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<()> {
        match self.put_if_none(at, &bytes, &options).await {
            // It does not know the condition.
            Err(fault) if fault.is_unsupported_argument() => match self.head(at).await? {
                Some(_) => Err(Error::new(ErrorKind::Conflict, format!("store object {at}: it is there already"))),
                None => self.put(at, Arc::new(bytes), options).await,
            },
            answer => Ok(answer?),
        }
    }

    /// With no checksum but the oldest, which every store knows: what one does not support is the condition then.
    async fn put_if_none(&self, at: &ObjectRef, bytes: &Bytes, options: &PutOptions) -> Result<(), Fault> {
        let (body, progress) = body(bytes);
        let request = self.clients.bulk.put_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str());
        let request = request
            .set_content_type(options.content_type.clone())
            .set_content_length(i64::try_from(bytes.len()).ok())
            .content_md5(digest::content_md5(bytes))
            .if_none_match("*")
            .body(body);
        let send = request.customize().interceptor(Signed::of(Sha::of(bytes), false)).send();
        self.send(|| format!("store object {at}"), progress, send).await?;
        self.saw(&at.bucket);
        Ok(())
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
        let sample = Sample::of(bytes, 0);
        let sent = Sent { len: bytes.len() as u64, sample: &sample, etag: stored.e_tag() };
        Ok(self.verify_sample(at, &sent).await?)
    }

    /// Compares an object's length and some of its bytes with what was sent.
    pub(super) async fn verify_sample(&self, at: &ObjectRef, sent: &Sent<'_>) -> Result<()> {
        let mut looks = 1;
        loop {
            match self.look(at, sent).await? {
                Shown::Same => return Ok(()),
                Shown::Other => return Err(self.not_what_was_sent(at).await),
                Shown::NotYet(why) if looks >= LOOKS => return Err(not_shown(at, why)),
                Shown::NotYet(why) => tracing::debug!(object = %at, why, "it was stored; looking again"),
            }
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(looks - 1)).await;
            looks += 1;
        }
    }

    async fn look(&self, at: &ObjectRef, sent: &Sent<'_>) -> Result<Shown> {
        let Some(head) = self.head(at).await? else { return Ok(Shown::NotYet("it is not there")) };
        if head.size_bytes != sent.len {
            let own = sent.is_it(Some(&head.etag));
            return Ok(if own { Shown::Other } else { Shown::NotYet("it has another length") });
        }
        if sent.sample.bytes.is_empty() {
            return Ok(Shown::Same);
        }
        self.look_inside(at, sent).await
    }

    async fn look_inside(&self, at: &ObjectRef, sent: &Sent<'_>) -> Result<Shown> {
        let sample = sent.sample;
        let last = sample.offset + sample.bytes.len() as u64 - 1;
        let range = format!("bytes={}-{last}", sample.offset);
        let request = self.clients.bulk.get_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str()).range(range);
        let what = || format!("read a sample of object {at}");
        let answer = match self.ask(what, QUICK, request.send()).await {
            Ok(answer) => answer,
            // Not every node need know what the one that was asked before knows.
            Err(fault) if fault.is_missing_object() => return Ok(Shown::NotYet("it cannot be read")),
            Err(fault) if fault.is("InvalidRange") => return Ok(Shown::NotYet("it is shorter")),
            Err(fault) => return Err(fault.into()),
        };
        let own = sent.is_it(answer.e_tag());
        let read = answer.body.collect().await;
        let read = read.map_err(|error| Error::new(ErrorKind::Unreachable, what()).because(error))?;
        Ok(match read.into_bytes() == sample.bytes {
            true => Shown::Same,
            false if own => Shown::Other,
            false => Shown::NotYet("it has other bytes, under another ETag than it was given"),
        })
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

/// The error for an object that was stored and does not show. It stays: what was seen may be from before it.
fn not_shown(at: &ObjectRef, why: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("store object {at}: the store took it and does not show it"))
        .because(why.to_owned())
        .hint("if it lasts, see whether all of the store's nodes are in step")
}
