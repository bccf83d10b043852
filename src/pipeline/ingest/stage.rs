//! From files to durable objects: small ones are read into memory and staged if their bytes are new, large ones stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::engine::Engine;
use super::metadata::{self, Known};
use super::read::{self, Kind, Reading, SMALL, Stat, refusal, unreadable};
use super::retry_call;
use super::stream::{Broken, HashingFile};
use super::walk::Candidate;
use mfctl_core::domain::job::{FileRefusal, JournalFile, RefusalKind};
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectRef, Sha256};
use mfctl_core::ports::{ByteSource, Error, ErrorKind, PutOptions, Result};

/// A file whose content is known.
pub(super) struct Taken {
    pub(super) row: JournalFile,
    pub(super) stat: Stat,
    pub(super) sha256: Sha256,
    pub(super) kind: Kind,
    pub(super) known: Known,
    pub(super) asset: AssetId,
    /// Its bytes, as long as they may have to be staged.
    pub(super) content: Option<Bytes>,
    /// Whether its bytes were staged in this run, under the row's own key.
    pub(super) put: bool,
}

/// A file that is not taken.
pub(super) struct Refused {
    pub(super) row: JournalFile,
    pub(super) refusal: FileRefusal,
    pub(super) stat: Option<Stat>,
}

/// What became of a batch's files so far. A file that is in neither stays planned: the run is stopping.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) taken: Vec<Taken>,
    pub(super) refused: Vec<Refused>,
}

enum Seen {
    Taken(Box<Taken>),
    Refused(Refused),
    Large(JournalFile, Candidate),
    Left,
}

/// Files that one thread reads before it takes the next ones.
const CHUNK: usize = 64;

impl Engine {
    /// Where a file's bytes go.
    pub(super) fn own_object(&self, row: &JournalFile) -> ObjectRef {
        ObjectRef { bucket: self.place.buckets.staging.clone(), key: row.staging_key.clone() }
    }

    /// Reads files, several at a time.
    pub(super) async fn read_all(self: &Arc<Self>, files: Vec<(JournalFile, Candidate)>) -> Result<Sorted> {
        let (large, small): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(_, found)| found.refused.is_none() && found.size_hint > SMALL);
        let mut small = small.into_iter();
        let chunks = std::iter::from_fn(|| {
            let chunk: Vec<_> = small.by_ref().take(CHUNK).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        let seen: Vec<Vec<Seen>> = stream::iter(chunks.collect::<Vec<_>>())
            .map(|chunk| self.read_chunk(chunk))
            .buffered(self.concurrency)
            .try_collect()
            .await?;
        let mut sorted = Sorted::default();
        let mut streamed = large;
        for seen in seen.into_iter().flatten() {
            if let Some(large) = sorted.sort(seen) {
                streamed.push(large);
            }
        }
        let streams = stream::iter(streamed).map(|(row, found)| self.send_large(row, found));
        let seen: Vec<Seen> = streams.buffered(self.concurrency).try_collect().await?;
        for seen in seen {
            sorted.sort(seen);
        }
        Ok(sorted)
    }

    async fn read_chunk(self: &Arc<Self>, chunk: Vec<(JournalFile, Candidate)>) -> Result<Vec<Seen>> {
        let engine = self.clone();
        self.by_hand(move || chunk.into_iter().map(|(row, found)| engine.see(row, found)).collect()).await
    }

    /// Runs what blocks, with no more than the run's concurrency at the same time.
    async fn by_hand<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let internal = |error: String| Error::new(ErrorKind::Internal, format!("read files: {error}"));
        let _hand = self.hands.acquire().await.map_err(|error| internal(error.to_string()))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| internal(error.to_string()))
    }

    fn see(&self, row: JournalFile, found: Candidate) -> Seen {
        if self.stopping() {
            return Seen::Left;
        }
        if let Some(refusal) = found.refused {
            return Seen::Refused(Refused { row, refusal, stat: None });
        }
        match read::read(&found.path, &self.rules) {
            Reading::Refused(refusal, stat) => Seen::Refused(Refused { row, refusal, stat }),
            Reading::Large(..) => Seen::Large(row, found),
            Reading::Small(stat, sha256, kind, content) => match self.said(&found) {
                Err(refusal) => Seen::Refused(Refused { row, refusal, stat: Some(stat) }),
                Ok(known) => {
                    self.done.bytes.fetch_add(stat.size_bytes, Ordering::Relaxed);
                    Seen::Taken(Box::new(self.taken(row, stat, sha256, kind, known, Some(content))))
                }
            },
        }
    }

    fn taken(
        &self,
        row: JournalFile,
        stat: Stat,
        sha256: Sha256,
        kind: Kind,
        known: Known,
        content: Option<Bytes>,
    ) -> Taken {
        let asset = AssetId::of(&self.place.tenant, &sha256);
        let put = content.is_none();
        Taken { row, stat, sha256, kind, known, asset, content, put }
    }

    /// What is said of a file by its sidecar, its manifest row and the flags.
    pub(super) fn said(&self, found: &Candidate) -> Result<Known, FileRefusal> {
        said(&self.rules, found)
    }

    async fn send_large(self: &Arc<Self>, row: JournalFile, found: Candidate) -> Result<Seen> {
        if self.stopping() {
            return Ok(Seen::Left);
        }
        let (engine, path) = (self.clone(), found.path.clone());
        let opened = self.by_hand(move || (read::read(&path, &engine.rules), engine.said(&found))).await?;
        let (stat, kind, file, known) = match opened {
            (Reading::Refused(refusal, stat), _) => return Ok(Seen::Refused(Refused { row, refusal, stat })),
            (Reading::Small(stat, ..) | Reading::Large(stat, ..), Err(refusal)) => {
                return Ok(Seen::Refused(Refused { row, refusal, stat: Some(stat) }));
            }
            (Reading::Small(stat, sha256, kind, content), Ok(known)) => {
                return Ok(Seen::Taken(Box::new(self.taken(row, stat, sha256, kind, known, Some(content)))));
            }
            (Reading::Large(stat, kind, file), Ok(known)) => (stat, kind, file, known),
        };
        self.guard.check(self.tools.objects.as_ref(), stat.size_bytes).await?;
        let source = Arc::new(HashingFile::new(file, stat, self.stop.clone(), self.done.bytes.clone()));
        let at = self.own_object(&row);
        let put = self.put(&at, source.clone(), kind, None).await;
        match self.judge(put, &source, stat) {
            Ok(Ok(sha256)) => Ok(Seen::Taken(Box::new(self.taken(row, stat, sha256, kind, known, None)))),
            Ok(Err(Some(refusal))) => {
                self.remove(vec![at]).await;
                Ok(Seen::Refused(Refused { row, refusal, stat: Some(stat) }))
            }
            Ok(Err(None)) => Ok(Seen::Left),
            Err(error) => Err(error),
        }
    }

    /// What came of sending a large file: its digest, why it is refused, or nothing where a stop broke it off.
    fn judge(&self, put: Result<()>, source: &HashingFile, stat: Stat) -> Result<Result<Sha256, Option<FileRefusal>>> {
        match source.broken() {
            Some(Broken::Stopped) => return Ok(Err(None)),
            Some(Broken::Unreadable(error)) => return Ok(Err(Some(unreadable(&error)))),
            None => {}
        }
        match put {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Invalid || refusable(&error) => {
                let changed = read::changed(source.file(), stat, source.read_bytes());
                return Ok(Err(Some(match changed {
                    Ok(Some(refusal)) => refusal,
                    _ => refusal(RefusalKind::Store, error.full()),
                })));
            }
            Err(error) => return Err(error),
        }
        match (read::changed(source.file(), stat, source.read_bytes()), source.digest()) {
            (Err(error), _) => Ok(Err(Some(unreadable(&error)))),
            (Ok(Some(refusal)), _) => Ok(Err(Some(refusal))),
            (Ok(None), Some(digest)) => Ok(Ok(digest)),
            (Ok(None), None) => Ok(Err(Some(refusal(RefusalKind::Store, "the store did not read it to its end")))),
        }
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, kind: Kind, sha256: Option<Sha256>) -> Result<()> {
        let options = PutOptions { content_type: Some(kind.media_type.to_owned()), sha256 };
        retry_call(&self.stop, || self.tools.objects.put(at, source.clone(), options.clone())).await.map(drop)
    }

    /// Removes objects that nothing points at. Best effort: what stays is garbage, which the audit counts.
    pub(super) async fn remove(&self, objects: Vec<ObjectRef>) {
        if !objects.is_empty()
            && let Err(error) = self.tools.objects.delete(&objects).await
        {
            tracing::warn!(error = error.full(), "staged objects that are not needed could not be removed");
        }
    }

    /// Whether the object that a staged row points at is there.
    pub(super) async fn is_there(&self, at: &ObjectRef) -> Result<bool> {
        Ok(retry_call(&self.stop, || self.tools.objects.head(at)).await?.is_some())
    }

    /// Stages the small files whose bytes are new, and makes all staged bytes durable.
    pub(super) async fn stage_new(&self, sorted: &mut Sorted, known: &HashMap<AssetId, Asset>) -> Result<()> {
        let mut staged: HashSet<AssetId> =
            sorted.taken.iter().filter(|taken| taken.put).map(|taken| taken.asset).collect();
        let mut wanted = Vec::new();
        for (index, taken) in sorted.taken.iter_mut().enumerate() {
            let Some(content) = taken.content.take() else { continue };
            let lacking = match known.get(&taken.asset) {
                None => true,
                Some(asset) if asset.state == AssetState::Staged => !self.is_there(&asset.staging).await?,
                Some(_) => false,
            };
            // The second of two files with the same bytes is the first one's duplicate.
            if lacking && staged.insert(taken.asset) {
                wanted.push((index, self.own_object(&taken.row), content, taken.kind, taken.sha256));
            }
        }
        let bytes = wanted.iter().map(|(_, _, content, ..)| content.len() as u64).sum();
        if bytes > 0 {
            self.guard.check(self.tools.objects.as_ref(), bytes).await?;
        }
        let puts = stream::iter(wanted).map(|(index, at, content, kind, sha256)| async move {
            (index, self.put(&at, Arc::new(content), kind, Some(sha256)).await)
        });
        let done: Vec<(usize, Result<()>)> = puts.buffer_unordered(self.sends).collect().await;
        let mut failed: HashMap<AssetId, String> = HashMap::new();
        for (index, put) in done {
            match put {
                Ok(()) => sorted.taken[index].put = true,
                Err(error) if refusable(&error) || error.kind() == ErrorKind::Invalid => {
                    failed.insert(sorted.taken[index].asset, error.full());
                }
                Err(error) => return Err(error),
            }
        }
        sorted.refuse(&failed);
        if sorted.taken.iter().any(|taken| taken.put) {
            retry_call(&self.stop, || self.tools.objects.sync()).await?;
        }
        Ok(())
    }
}

/// What is said of a file by its sidecar, its manifest row and the flags.
pub(super) fn said(rules: &super::Rules, found: &Candidate) -> Result<Known, FileRefusal> {
    let sidecar = if rules.spec.no_sidecars { Ok(None) } else { metadata::read_sidecar(&found.path) };
    match sidecar {
        Ok(sidecar) => Ok(metadata::merge(&rules.spec, sidecar.as_ref(), found.said.as_deref())),
        Err(reason) => Err(refusal(RefusalKind::BadMetadata, reason)),
    }
}

/// Whether the store's refusal concerns this one object.
fn refusable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Conflict)
}

impl Sorted {
    fn sort(&mut self, seen: Seen) -> Option<(JournalFile, Candidate)> {
        match seen {
            Seen::Taken(taken) => self.taken.push(*taken),
            Seen::Refused(refused) => self.refused.push(refused),
            Seen::Large(row, found) => return Some((row, found)),
            Seen::Left => {}
        }
        None
    }

    /// Files whose bytes the store did not take are failed, and with them those that relied on the same bytes.
    fn refuse(&mut self, failed: &HashMap<AssetId, String>) {
        if failed.is_empty() {
            return;
        }
        let (lost, kept) = std::mem::take(&mut self.taken)
            .into_iter()
            .partition(|taken: &Taken| !taken.put && failed.contains_key(&taken.asset));
        self.taken = kept;
        let lost: Vec<Taken> = lost;
        self.refused.extend(lost.into_iter().map(|taken| Refused {
            refusal: refusal(RefusalKind::Store, failed.get(&taken.asset).cloned().unwrap_or_default()),
            stat: Some(taken.stat),
            row: taken.row,
        }));
    }
}
