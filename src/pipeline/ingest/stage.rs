//! Makes bytes durable in staging, and removes those that no catalog row refers to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::context::RunContext;
use super::files::ReadBatch;
use super::read::ContentType;
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectRef, Sha256};
use mfctl_core::ports::{ByteSource, ContentDigest, CopyOutcome, Error, ErrorKind, PutOptions, Result};

/// Writes to staging.
#[derive(Clone)]
pub(super) struct Stager {
    context: Arc<RunContext>,
    /// Small objects of a batch that are put at the same time.
    concurrency: usize,
}

/// A small object that has to be put.
struct PendingPut {
    /// The file's position among the batch's accepted files.
    index: usize,
    object: ObjectRef,
    content: Bytes,
    content_type: ContentType,
    sha256: Sha256,
}

impl Stager {
    pub(super) fn new(context: Arc<RunContext>, concurrency: usize) -> Self {
        Self { context, concurrency }
    }

    /// Puts an object, with retries. Each retry reads the source again from where the store asks it to.
    pub(super) async fn put(
        &self,
        object: &ObjectRef,
        source: Arc<dyn ByteSource>,
        content_type: ContentType,
        sha256: Option<Sha256>,
    ) -> Result<()> {
        let options = PutOptions { content_type: Some(content_type.media_type.to_owned()), sha256 };
        let put = || self.context.ports.objects.put(object, source.clone(), options.clone());
        self.context.retry(put).await.map(drop)
    }

    /// Deletes objects that no row refers to. Best effort: what remains is an orphan, which the audit counts.
    pub(super) async fn delete_unreferenced(&self, objects: Vec<ObjectRef>) {
        if !objects.is_empty()
            && let Err(error) = self.context.ports.objects.delete(&objects).await
        {
            tracing::warn!(error = error.full(), "staged objects that no row refers to could not be deleted");
        }
    }

    /// Whether an object exists in the store.
    pub(super) async fn exists(&self, object: &ObjectRef) -> Result<bool> {
        Ok(self.context.retry(|| self.context.ports.objects.head(object)).await?.is_some())
    }

    /// Stages the small files whose bytes are new, and makes all staged bytes durable.
    pub(super) async fn stage_new(&self, batch: &mut ReadBatch, known: &HashMap<AssetId, Asset>) -> Result<()> {
        let pending = self.pending_puts(batch, known).await?;
        let bytes = pending.iter().map(|put| put.content.len() as u64).sum();
        if bytes > 0 {
            self.context.free_space.check(self.context.ports.objects.as_ref(), bytes).await?;
        }
        self.put_all(batch, pending).await?;
        if batch.accepted.iter().any(|file| file.staged) {
            self.context.retry(|| self.context.ports.objects.sync()).await?;
        }
        Ok(())
    }

    /// The small files whose bytes the store does not have. Of several files with the same bytes, the first is staged.
    async fn pending_puts(&self, batch: &mut ReadBatch, known: &HashMap<AssetId, Asset>) -> Result<Vec<PendingPut>> {
        let streamed = batch.accepted.iter().filter(|file| file.staged);
        let mut staged: HashSet<AssetId> = streamed.map(|file| file.asset).collect();
        let mut pending = Vec::new();
        for (index, file) in batch.accepted.iter_mut().enumerate() {
            let Some(content) = file.content.take() else { continue };
            let missing = match known.get(&file.asset) {
                None => true,
                Some(asset) if asset.state == AssetState::Staged => !self.exists(&asset.staging).await?,
                Some(_) => false,
            };
            if missing && staged.insert(file.asset) {
                let object = self.context.staging_object(&file.row);
                let content_type = file.content_type;
                pending.push(PendingPut { index, object, content, content_type, sha256: file.sha256 });
            }
        }
        Ok(pending)
    }

    /// Puts the objects; refuses the files whose bytes the store does not take.
    async fn put_all(&self, batch: &mut ReadBatch, pending: Vec<PendingPut>) -> Result<()> {
        let puts = stream::iter(pending).map(|put| async move {
            (put.index, self.put(&put.object, Arc::new(put.content), put.content_type, Some(put.sha256)).await)
        });
        let results: Vec<(usize, Result<()>)> = puts.buffer_unordered(self.concurrency).collect().await;
        let mut failed: HashMap<AssetId, String> = HashMap::new();
        for (index, result) in results {
            match result {
                Ok(()) => batch.accepted[index].staged = true,
                Err(error) if concerns_one_object(&error) || error.kind() == ErrorKind::Invalid => {
                    failed.insert(batch.accepted[index].asset, error.full());
                }
                Err(error) => return Err(error),
            }
        }
        batch.refuse_unstaged(&failed);
        Ok(())
    }

    /// Copies lost bytes back to where the stored event points: that event may be in the log already, and is what a
    /// worker reads.
    pub(super) async fn restore(&self, lost: Vec<LostObject>) -> Result<()> {
        let objects = &self.context.ports.objects;
        for object in &lost {
            let copied = self.context.retry(|| objects.copy(&object.copy, &object.original, &object.content)).await?;
            if let CopyOutcome::WrongSource { found } | CopyOutcome::WrongTarget { found, .. } = copied {
                let what = format!("copy object {} to {}", object.copy, object.original);
                let mismatch = format!("{} were to be copied, {found} are stored", object.content);
                return Err(Error::new(ErrorKind::Corrupt, what).because(mismatch));
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        self.context.retry(|| objects.sync()).await
    }
}

/// A staged object that was lost, and a copy of its bytes.
pub(super) struct LostObject {
    pub(super) copy: ObjectRef,
    pub(super) original: ObjectRef,
    pub(super) content: ContentDigest,
}

/// Whether the store's error concerns this one object, so that the run may continue with others.
pub(super) fn concerns_one_object(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Conflict)
}
