//! The object store: buckets of immutable objects.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use super::Result;
use crate::domain::{BucketName, ObjectKey, ObjectRef};

/// Bytes to be stored, readable from any offset so that a half-sent upload can go on.
///
/// Readers block: a backend reads them on a thread made for that, which is why a put shares its source.
pub trait ByteSource: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from this offset to the end.
    ///
    /// # Errors
    /// Whatever opening gives.
    fn reader(&self, from: u64) -> std::io::Result<Box<dyn Read + Send + '_>>;
}

impl ByteSource for bytes::Bytes {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn reader(&self, from: u64) -> std::io::Result<Box<dyn Read + Send + '_>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.as_ref().len());
        Ok(Box::new(std::io::Cursor::new(&self[from..])))
    }
}

/// How an object is to be stored.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Its media type.
    pub content_type: Option<String>,
}

/// An object as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it is.
    pub at: ObjectRef,
    /// How many bytes.
    pub size_bytes: u64,
    /// When it was stored.
    pub modified_at: Timestamp,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// How many bytes.
    pub size_bytes: u64,
    /// When it was stored.
    pub modified_at: Timestamp,
}

/// What a copy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The target is new.
    Copied,
    /// The target was there with the same size; nothing was written.
    AlreadyThere,
}

/// What a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BucketUsage {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was stored.
    #[schemars(with = "Option<String>")]
    pub oldest_at: Option<Timestamp>,
    /// Whether counting stopped at a limit, so that there is more.
    pub partial: bool,
}

/// Room on the disk or in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// All of it.
    pub total_bytes: u64,
    /// What this user may still write.
    pub free_bytes: u64,
}

/// What a bucket does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketRules {
    /// Whether what is replaced or deleted is kept as an older version.
    pub versioned: bool,
    /// Days after which an object goes.
    pub expire_days: Option<u32>,
    /// Days after which an older version goes.
    pub expire_noncurrent_days: Option<u32>,
    /// Days after which an upload that was never finished goes.
    pub abort_uploads_days: Option<u32>,
}

/// An object as a file on this host. A temporary copy is removed when this is dropped.
#[derive(Debug)]
pub struct LocalObject {
    /// The file. Read-only: it may be the store's own.
    pub path: PathBuf,
    /// Keeps a temporary copy alive.
    pub temporary: Option<tempfile::TempPath>,
}

/// The store.
///
/// Contract: an object is visible whole or not at all; it is never changed in place. `put` and `copy` may return before
/// the bytes are durable: they are once a [`ObjectStore::sync`] that began afterwards has returned. `put` of a key that
/// exists replaces it. Deleting what is not there succeeds. A missing bucket is [`super::ErrorKind::NotFound`]; a full
/// store is [`super::ErrorKind::Full`]. Listings are in the order of the keys' bytes.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Makes the buckets that are missing.
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()>;

    /// Whether there is such a bucket.
    async fn has_bucket(&self, bucket: &BucketName) -> Result<bool>;

    /// What a bucket does by itself; `None` where the store does nothing by itself and mfctl's own retention does it.
    async fn bucket_rules(&self, bucket: &BucketName) -> Result<Option<BucketRules>>;

    /// Sets what a bucket does by itself. Rules that others made are left alone.
    async fn set_bucket_rules(&self, bucket: &BucketName, rules: BucketRules) -> Result<()>;

    /// Stores an object. Fewer or more bytes than `source.len()` is [`super::ErrorKind::Invalid`] and leaves nothing;
    /// a reader's own error comes back as the cause, of that kind too.
    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo>;

    /// Makes everything accepted so far durable.
    async fn sync(&self) -> Result<()>;

    /// Copies inside the store. The target is left alone if it is there with the source's size. A missing source is
    /// `NotFound`, unless the target is there with `size_bytes`: then it was copied before.
    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome>;

    /// What is known of an object; `None` if it is not there.
    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>>;

    /// Reads an object; `NotFound` if it is not there.
    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>>;

    /// The object as a file on this host, copied into `dir` if it is not one already.
    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject>;

    /// Removes objects.
    async fn delete(&self, at: &[ObjectRef]) -> Result<()>;

    /// Objects whose key begins with `prefix` and comes after `after`, at most `limit`.
    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>>;

    /// What a bucket holds, counting at most `limit` objects.
    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage>;

    /// Room left, where the store can tell.
    async fn capacity(&self) -> Result<Option<Capacity>>;
}
