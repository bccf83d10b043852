//! Reads a batch's files: small ones into memory, several to a blocking thread; large ones are streamed to staging while
//! they are hashed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::candidate::IngestCandidate;
use super::context::RunContext;
use super::files::{AcceptedFile, FileReadOutcome, ReadBatch, RefusedFile};
use super::metadata::{self, ResolvedMetadata};
use super::read::{self, ContentType, FileRead, FileVersion, SMALL, refusal, unreadable};
use super::stage::{Stager, concerns_one_object};
use super::stream::{HashingFile, ReadAbort};
use mfctl_core::domain::job::{FileRefusal, JournalFile, RefusalKind};
use mfctl_core::domain::{AssetId, Sha256};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Files that one blocking task reads.
const CHUNK: usize = 64;

/// Reads files, with no more than `concurrency` reads at the same time over all batches.
pub(super) struct FileReader {
    context: Arc<RunContext>,
    stager: Stager,
    permits: Semaphore,
    concurrency: usize,
}

/// The outcome of a streamed upload.
enum StreamedUpload {
    Complete(Sha256),
    Refused(FileRefusal),
    Stopped,
}

impl FileReader {
    pub(super) fn new(context: Arc<RunContext>, stager: Stager, concurrency: usize) -> Self {
        Self { context, stager, permits: Semaphore::new(concurrency), concurrency }
    }

    /// Reads the files of a batch.
    pub(super) async fn read_all(&self, files: Vec<(JournalFile, IngestCandidate)>) -> Result<ReadBatch> {
        let (mut large, small): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(_, candidate)| candidate.refused.is_none() && candidate.size_hint > SMALL);
        let chunks = stream::iter(chunked(small)).map(|chunk| self.read_chunk(chunk));
        let outcomes: Vec<Vec<FileReadOutcome>> = chunks.buffered(self.concurrency).try_collect().await?;
        let mut batch = ReadBatch::default();
        large.extend(outcomes.into_iter().flatten().filter_map(|outcome| batch.add(outcome)));
        let streams = stream::iter(large).map(|(row, candidate)| self.read_large(row, candidate));
        let outcomes: Vec<FileReadOutcome> = streams.buffered(self.concurrency).try_collect().await?;
        for outcome in outcomes {
            batch.add(outcome);
        }
        Ok(batch)
    }

    async fn read_chunk(&self, chunk: Vec<(JournalFile, IngestCandidate)>) -> Result<Vec<FileReadOutcome>> {
        let context = self.context.clone();
        let read = move || chunk.into_iter().map(|(row, candidate)| read_small(&context, row, candidate)).collect();
        self.run_blocking(read).await
    }

    async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let internal = |error: String| Error::new(ErrorKind::Internal, format!("read files: {error}"));
        let _permit = self.permits.acquire().await.map_err(|error| internal(error.to_string()))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| internal(error.to_string()))
    }

    /// Reads a file that was large when it was found: it may be small or gone by now.
    async fn read_large(&self, row: JournalFile, candidate: IngestCandidate) -> Result<FileReadOutcome> {
        if self.context.is_stopping() {
            return Ok(FileReadOutcome::Skipped);
        }
        let context = self.context.clone();
        let path = candidate.path.clone();
        let opened = self.run_blocking(move || {
            let read = read::read(&candidate.path, &context.rules);
            (read, metadata::resolve(&context.rules, &candidate.path, candidate.declared.as_deref()))
        });
        let (version, content_type, file, metadata) = match opened.await? {
            (FileRead::Refused(refusal, version), _) => {
                return Ok(FileReadOutcome::Refused(RefusedFile { row, refusal, version }));
            }
            (FileRead::Small(version, ..) | FileRead::Large(version, ..), Err(refusal)) => {
                return Ok(FileReadOutcome::Refused(RefusedFile { row, refusal, version: Some(version) }));
            }
            (FileRead::Small(version, sha256, content_type, content), Ok(metadata)) => {
                return Ok(accepted(&self.context, row, version, sha256, content_type, metadata, Some(content)));
            }
            (FileRead::Large(version, content_type, file), Ok(metadata)) => (version, content_type, file, metadata),
        };
        self.context.free_space.check(self.context.ports.objects.as_ref(), version.size_bytes).await?;
        let bytes_read = self.context.progress.bytes.clone();
        let source = Arc::new(HashingFile::new(file, version, self.context.stop.clone(), bytes_read));
        let object = self.context.staging_object(&row);
        let put = self.stager.put(&object, source.clone(), content_type, None).await;
        Ok(match streamed(put, &path, &source, version)? {
            StreamedUpload::Complete(sha256) => {
                accepted(&self.context, row, version, sha256, content_type, metadata, None)
            }
            StreamedUpload::Refused(refusal) => {
                self.stager.delete_unreferenced(vec![object]).await;
                FileReadOutcome::Refused(RefusedFile { row, refusal, version: Some(version) })
            }
            StreamedUpload::Stopped => FileReadOutcome::Skipped,
        })
    }
}

fn chunked<T>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    let next = || {
        let chunk: Vec<_> = items.by_ref().take(CHUNK).collect();
        (!chunk.is_empty()).then_some(chunk)
    };
    std::iter::from_fn(next).collect()
}

fn read_small(context: &RunContext, row: JournalFile, candidate: IngestCandidate) -> FileReadOutcome {
    if context.is_stopping() {
        return FileReadOutcome::Skipped;
    }
    if let Some(refusal) = candidate.refused {
        return FileReadOutcome::Refused(RefusedFile { row, refusal, version: None });
    }
    let (version, sha256, content_type, content) = match read::read(&candidate.path, &context.rules) {
        FileRead::Refused(refusal, version) => return FileReadOutcome::Refused(RefusedFile { row, refusal, version }),
        FileRead::Large(..) => return FileReadOutcome::Large(row, candidate),
        FileRead::Small(version, sha256, content_type, content) => (version, sha256, content_type, content),
    };
    match metadata::resolve(&context.rules, &candidate.path, candidate.declared.as_deref()) {
        Err(refusal) => FileReadOutcome::Refused(RefusedFile { row, refusal, version: Some(version) }),
        Ok(metadata) => {
            context.progress.bytes.fetch_add(version.size_bytes, Ordering::Relaxed);
            accepted(context, row, version, sha256, content_type, metadata, Some(content))
        }
    }
}

fn accepted(
    context: &RunContext,
    row: JournalFile,
    version: FileVersion,
    sha256: Sha256,
    content_type: ContentType,
    metadata: ResolvedMetadata,
    content: Option<Bytes>,
) -> FileReadOutcome {
    let asset = AssetId::of(&context.scope.tenant, &sha256);
    let staged = content.is_none();
    FileReadOutcome::Accepted(Box::new(AcceptedFile {
        row,
        version,
        sha256,
        content_type,
        metadata,
        asset,
        content,
        staged,
    }))
}

/// Judges a streamed upload by the store's answer, the reads and the file's state after them.
fn streamed(put: Result<()>, path: &Path, source: &HashingFile, version: FileVersion) -> Result<StreamedUpload> {
    match source.take_abort() {
        Some(ReadAbort::Stopped) => return Ok(StreamedUpload::Stopped),
        Some(ReadAbort::Unreadable(error)) => return Ok(StreamedUpload::Refused(unreadable(&error))),
        None => {}
    }
    let changed = || read::changed(path, source.file(), version, source.read_bytes());
    match put {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Invalid || concerns_one_object(&error) => {
            return Ok(StreamedUpload::Refused(match changed() {
                Ok(Some(refusal)) => refusal,
                _ => refusal(RefusalKind::Store, error.full()),
            }));
        }
        Err(error) => return Err(error),
    }
    Ok(match (changed(), source.digest()) {
        (Err(error), _) => StreamedUpload::Refused(unreadable(&error)),
        (Ok(Some(refusal)), _) => StreamedUpload::Refused(refusal),
        (Ok(None), Some(sha256)) => StreamedUpload::Complete(sha256),
        (Ok(None), None) => {
            StreamedUpload::Refused(refusal(RefusalKind::Store, "the store did not read it to its end"))
        }
    })
}
