//! Storing a large object in parts, and going on with one that was cut off.
//!
//! The source is read once, from its beginning to its end. Each part is hashed; what the store has of it already, by
//! its SHA-256 (or its MD5, where that is all the store tells), is not sent again. So a put that was killed loses no
//! more than the parts it had in flight. A broken connection, a store that is down, a source that fails in the middle
//! leave the upload for the next put of the key; a source of the wrong length ends it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{FuturesUnordered, StreamExt};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::ask::{QUICK, moving};
use super::body::body;
use super::digest::{self, Sha, Signed};
use super::fault::Fault;
use super::parts::{self, Part, Reading};
use super::put::{self, Sample, unreadable, wrong_length};
use super::uploads::Listed;
use super::{Shared, blocking};
use mfctl_core::domain::ObjectRef;
use mfctl_core::failpoint;
use mfctl_core::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// How often a put begins anew because its upload was taken for a leftover.
const TAKEN_AWAY: usize = 8;

/// The uploads that this process is working on: nobody's leftovers.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<HashSet<String>>);

/// An upload in work; forgotten when dropped.
pub(super) struct Working<'a> {
    live: &'a Live,
    id: String,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.live.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Live {
    /// Takes an upload, unless it is taken.
    pub(super) fn take(&self, id: &str) -> Option<Working<'_>> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        fresh.then(|| Working { live: self, id: id.to_owned() })
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// An upload, begun now or earlier.
struct Upload<'a> {
    at: &'a ObjectRef,
    working: Working<'a>,
    part_size: u64,
    /// What an earlier put sent.
    there: Listed,
    /// Whether its parts carry SHA-256 checksums.
    summed: bool,
}

/// A part that the store has.
struct Sent {
    number: i32,
    etag: String,
    sha: Sha,
    /// Whether the store keeps its checksum.
    summed: bool,
}

/// What was sent, and a piece of it to compare.
#[derive(Default)]
struct Progress {
    sent: Vec<Sent>,
    sample: Option<Sample>,
}

impl Shared {
    /// Stores a large object. If somebody removed the upload meanwhile, it begins once more.
    pub(super) async fn put_in_parts(
        &self,
        at: &ObjectRef,
        source: Arc<dyn ByteSource>,
        options: &PutOptions,
    ) -> Result<()> {
        match self.try_in_parts(at, source.clone(), options).await {
            Err(fault) if fault.is("NoSuchUpload") => {
                tracing::warn!(object = %at, "its upload was removed while it was under way; it begins again");
                Ok(self.try_in_parts(at, source, options).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn try_in_parts(
        &self,
        at: &ObjectRef,
        source: Arc<dyn ByteSource>,
        options: &PutOptions,
    ) -> Result<(), Fault> {
        let part_size = parts::size_for(source.len(), self.part_size);
        let upload = match self.resumable(at, source.len(), part_size).await? {
            Some(upload) => upload,
            None if self.is_stored(at, source.clone(), part_size).await? => return Ok(()),
            None => self.begin(at, part_size, options).await?,
        };
        let (cutter, parts) = self.budget.cutter(source.clone(), upload.part_size);
        let reading = tokio::task::spawn_blocking(move || cutter.run());
        let progress = self.send_parts(&upload, parts).await;
        // Also after a failure: whoever tries again must not meet a reader that still reads.
        let read = reading.await.map_err(|error| Error::new(ErrorKind::Internal, "read a source").because(error))?;
        let progress = match (read, progress) {
            (Err(error), _) => return Err(unreadable(at, error).into()),
            (Ok(Reading::Wrong(why)), _) => {
                self.abort(at, &upload.working.id).await;
                return Err(wrong_length(at, &why).into());
            }
            (Ok(_), progress) => progress?,
        };
        self.complete(&upload, source.len(), progress).await
    }

    /// The unfinished upload of this key that has the most parts; others are removed.
    async fn resumable<'a>(&'a self, at: &'a ObjectRef, len: u64, part_size: u64) -> Result<Option<Upload<'a>>, Fault> {
        let mut best: Option<Upload<'a>> = None;
        for id in self.unfinished_of(at).await? {
            let Some(working) = self.live.take(&id) else { continue };
            let Some(there) = self.parts_of(at, &id).await? else { continue };
            // Where it is known that the store keeps no checksums, it need not say so.
            let summed = there.is_summed().or((!self.checksums.wanted()).then_some(false));
            match summed {
                Some(summed) if best.as_ref().is_none_or(|best| there.bytes() > best.there.bytes()) => {
                    let part_size = there.part_size(len, part_size);
                    let better = Upload { at, working, part_size, there, summed };
                    if let Some(worse) = best.replace(better) {
                        self.abort(at, &worse.working.id).await;
                    }
                }
                _ => {
                    self.abort(at, &id).await;
                }
            }
        }
        if let Some(upload) = &best {
            tracing::info!(object = %at, parts = upload.there.count(), "going on with an upload that was cut off");
        }
        Ok(best)
    }

    /// Begins an upload. Another put of this process may take a new one for a leftover before we can say that it is ours:
    /// then it is that put's, and one more is begun.
    async fn begin<'a>(&'a self, at: &'a ObjectRef, part_size: u64, options: &PutOptions) -> Result<Upload<'a>, Fault> {
        for _ in 0..TAKEN_AWAY {
            if let Some(upload) = self.begin_one(at, part_size, options).await? {
                return Ok(upload);
            }
        }
        let what = format!("store object {at}: others of this process store it at the same time");
        Err(Error::new(ErrorKind::Conflict, what).into())
    }

    async fn begin_one<'a>(
        &'a self,
        at: &'a ObjectRef,
        part_size: u64,
        options: &PutOptions,
    ) -> Result<Option<Upload<'a>>, Fault> {
        let create = |summed: bool| {
            let request = self
                .clients
                .quick
                .create_multipart_upload()
                .bucket(self.bucket(&at.bucket))
                .key(at.key.as_str())
                .set_content_type(options.content_type.clone())
                .set_checksum_algorithm(summed.then_some(ChecksumAlgorithm::Sha256));
            self.ask(move || format!("begin to store object {at}"), QUICK, request.send())
        };
        let mut summed = self.checksums.wanted();
        let mut begun = create(summed).await;
        if summed && !self.checksums.are_kept() && begun.as_ref().is_err_and(Fault::is_unsupported_argument) {
            self.checksums.learn(false);
            summed = false;
            begun = create(false).await;
        }
        let begun = begun?;
        self.saw(&at.bucket);
        let id = begun.upload_id().unwrap_or_default();
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Internal, format!("store object {at}: the upload has no id")).into());
        }
        let working = self.live.take(id);
        Ok(working.map(|working| Upload { at, working, part_size, there: Listed::default(), summed }))
    }

    /// Sends the parts as they come, several at a time, but those that are there.
    async fn send_parts(&self, upload: &Upload<'_>, mut parts: mpsc::Receiver<Part>) -> Result<Progress, Fault> {
        let mut progress = Progress::default();
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(sent) = sending.next() => progress.sent.push(sent?),
                part = parts.recv() => {
                    let Some(part) = part else { break };
                    if fastrand::i32(..part.number.max(1)) == 0 {
                        let offset = u64::from(part.number.unsigned_abs() - 1) * upload.part_size;
                        progress.sample = Some(Sample::of(&part.bytes, offset));
                    }
                    sending.push(self.send_part(upload, part));
                }
            }
        }
        while let Some(sent) = sending.next().await {
            progress.sent.push(sent?);
        }
        progress.sent.sort_unstable_by_key(|sent| sent.number);
        Ok(progress)
    }

    async fn send_part(&self, upload: &Upload<'_>, part: Part) -> Result<Sent, Fault> {
        let (number, sha) = (part.number, part.sha);
        if let Some((etag, summed)) = upload.there.has(&part) {
            return Ok(Sent { number, etag, sha, summed });
        }
        let at = upload.at;
        // Never closed.
        let _hand = self.hands.acquire().await;
        let (body, progress) = body(&part.bytes);
        let request = self
            .clients
            .bulk
            .upload_part()
            .bucket(self.bucket(&at.bucket))
            .key(at.key.as_str())
            .upload_id(&upload.working.id)
            .part_number(number)
            .set_content_length(i64::try_from(part.bytes.len()).ok())
            .body(body);
        let request = match upload.summed {
            true => request.checksum_sha256(sha.base64()),
            false => request.content_md5(digest::content_md5(&part.bytes)),
        };
        let send = request.customize().interceptor(Signed::of(sha, upload.summed && self.checksums.are_kept())).send();
        let what = || format!("store part {number} of object {at}");
        let answer = self.send(what, progress, send).await?;
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        let summed = upload.summed && answer.checksum_sha256().is_some();
        let differs = summed && answer.checksum_sha256() != Some(sha.base64().as_str());
        if etag.is_empty() || differs {
            return Err(Error::new(ErrorKind::Internal, what()).because("the store's answer does not fit it").into());
        }
        failpoint::hit("s3_part_stored");
        Ok(Sent { number, etag, sha, summed })
    }

    async fn complete(&self, upload: &Upload<'_>, len: u64, progress: Progress) -> Result<(), Fault> {
        let (at, sent) = (upload.at, &progress.sent);
        let summed = sent.iter().all(|sent| sent.summed);
        let part = |sent: &Sent| {
            let sum = summed.then(|| sent.sha.base64());
            CompletedPart::builder().part_number(sent.number).e_tag(&sent.etag).set_checksum_sha256(sum).build()
        };
        let list = CompletedMultipartUpload::builder().set_parts(Some(sent.iter().map(part).collect())).build();
        let request = self
            .clients
            .bulk
            .complete_multipart_upload()
            .bucket(self.bucket(&at.bucket))
            .key(at.key.as_str())
            .upload_id(&upload.working.id)
            .multipart_upload(list);
        failpoint::hit("s3_before_complete");
        let done = self.ask(|| format!("put object {at} together"), moving(len), request.send()).await;
        failpoint::hit("s3_after_complete");
        let shas: Vec<Sha> = sent.iter().map(|sent| sent.sha).collect();
        let checksum = digest::checksum_of_parts(&shas);
        let etag = digest::etag_of_parts(sent.iter().map(|sent| sent.etag.as_str()));
        match done {
            // Tried twice and applied the first time?
            Err(fault) if fault.is("NoSuchUpload") => match self.head(at).await? {
                Some(head) if head.size_bytes == len && head.is(&checksum, etag.as_deref()) => Ok(()),
                _ => Err(fault),
            },
            Err(fault) => Err(fault),
            Ok(answer) if answer.checksum_sha256() == Some(checksum.as_str()) => {
                self.checksums.learn(true);
                Ok(())
            }
            // The parts were verified one by one; this is for what became of them.
            Ok(answer) => match &progress.sample {
                Some(sample) => Ok(self.verify_sample(at, &put::Sent { len, sample, etag: answer.e_tag() }).await?),
                None => Ok(()),
            },
        }
    }

    /// Whether the key has these very bytes: a put that was killed after its last request need not be done again.
    async fn is_stored(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, part_size: u64) -> Result<bool, Fault> {
        let Some(head) = self.head(at).await? else { return Ok(false) };
        if head.size_bytes != source.len() || !head.is_of_parts(source.len().div_ceil(part_size)) {
            return Ok(false);
        }
        let read = blocking("read a source", move || known_by(source.as_ref(), part_size)).await?;
        let Some((checksum, etag)) = read.map_err(|error| unreadable(at, error))? else { return Ok(false) };
        Ok(head.is(&checksum, Some(&etag)))
    }

    /// Removes an upload and its parts; answers whether it is gone. Best effort: what stays is said in a warning, and
    /// found by `abort_unfinished`.
    pub(super) async fn abort(&self, at: &ObjectRef, id: &str) -> bool {
        let request = self.clients.quick.abort_multipart_upload();
        let request = request.bucket(self.bucket(&at.bucket)).key(at.key.as_str()).upload_id(id);
        let aborted = self.ask(|| format!("remove an unfinished upload of object {at}"), QUICK, request.send()).await;
        match aborted {
            Err(fault) if !fault.is("NoSuchUpload") => {
                tracing::warn!(object = %at, error = fault.error.full(), "an unfinished upload stays in the store");
                false
            }
            _ => true,
        }
    }
}

/// The checksum and the ETag that a source would have as an object of parts; `None` if its length is not what it says.
fn known_by(source: &dyn ByteSource, part_size: u64) -> std::io::Result<Option<(String, String)>> {
    let (mut shas, mut md5s) = (Vec::new(), Vec::new());
    let (mut sha, mut md5) = (Sha256::new(), Md5::new());
    let whole = parts::digests(source, part_size, &mut |bytes, ends| {
        sha.update(bytes);
        md5.update(bytes);
        if ends {
            shas.push(Sha(sha.finalize_reset().into()));
            md5s.push(hex::encode(md5.finalize_reset()));
        }
    })?;
    let etag = digest::etag_of_parts(md5s.iter().map(String::as_str)).unwrap_or_default();
    Ok(whole.then(|| (digest::checksum_of_parts(&shas), etag)))
}
