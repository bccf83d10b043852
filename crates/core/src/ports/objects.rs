//! The object store: buckets of immutable objects.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use super::Result;
use crate::domain::{BucketName, ObjectKey, ObjectRef, Sha256};

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

    /// All of it, where it is in memory anyway.
    fn in_memory(&self) -> Option<Bytes> {
        None
    }
}

impl ByteSource for Bytes {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn reader(&self, from: u64) -> std::io::Result<Box<dyn Read + Send + '_>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.as_ref().len());
        Ok(Box::new(std::io::Cursor::new(&self[from..])))
    }

    fn in_memory(&self) -> Option<Bytes> {
        Some(self.clone())
    }
}

/// How an object is to be stored.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Its media type.
    pub content_type: Option<String>,
    /// What its bytes are known to have as SHA-256, so that they are not hashed again. Bytes that have another are refused
    /// where the store checks it.
    pub sha256: Option<Sha256>,
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

/// A stretch of a bucket, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectListing {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// How many objects among them, or after the last if that is the end, have keys that mfctl would never give: others
    /// stored them.
    pub foreign: u64,
    /// The first of those keys, at most [`ObjectListing::MAX_FOREIGN_KEYS`]. One that is no UTF-8 is as the store wrote it.
    pub foreign_keys: Vec<String>,
}

impl ObjectListing {
    /// Strange keys that are named; the rest of them is counted.
    pub const MAX_FOREIGN_KEYS: usize = 1000;

    /// Counts an object with a strange key.
    pub fn add_foreign(&mut self, key: String) {
        self.foreign += 1;
        if self.foreign_keys.len() < Self::MAX_FOREIGN_KEYS {
            self.foreign_keys.push(key);
        }
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.foreign == 0
    }
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
/// exists replaces it. Deleting what is not there succeeds. A missing bucket is [`super::ErrorKind::Unprepared`]; a full
/// store is [`super::ErrorKind::Full`]. Listings are in the order of the keys' bytes.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Makes the buckets that are missing.
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()>;

    /// Stores an object. Fewer or more bytes than `source.len()` is [`super::ErrorKind::Invalid`] and leaves nothing;
    /// a reader's own error comes back as the cause, of that kind too. After any failure the key holds what it held;
    /// where a backend keeps what was sent, the next put of the key goes on with it.
    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo>;

    /// As [`ObjectStore::put`], of a few bytes, and only if the key holds nothing: `Conflict` when it does, or when another
    /// is just storing something there. A store that cannot be asked this may replace what comes at the same moment.
    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<ObjectInfo>;

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

    /// Objects whose key begins with `prefix` and comes after `after`, at most `limit` and those with strange keys. A
    /// caller who goes on after the last object meets each strange key once.
    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing>;

    /// What a bucket holds, counting at most `limit` objects.
    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage>;

    /// Room left, where the store can tell.
    async fn capacity(&self) -> Result<Option<Capacity>>;
}

/// How a bucket encrypts what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BucketEncryption {
    /// With the store's own keys.
    Aes256,
    /// With a key service's.
    Kms,
}

/// How a bucket keeps what it holds, and who may have it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BucketPolicy {
    /// Whether what is replaced or removed stays as a noncurrent version.
    pub versioned: bool,
    /// Days after which an object goes.
    pub expire_after_days: Option<u32>,
    /// Days after which a version goes that is not the current one any more.
    pub expire_noncurrent_after_days: Option<u32>,
    /// Days after which an upload goes that was begun and not finished.
    pub abort_uploads_after_days: Option<u32>,
    /// How it encrypts by itself; `None`: it does not. In what is asked for, `None` leaves it as it is.
    pub encryption: Option<BucketEncryption>,
    /// Its policy document, as S3 has it; `None`: there is none. In what is asked for, `None` leaves it as it is.
    pub access: Option<serde_json::Value>,
}

/// What configuring a bucket changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketChange {
    /// The bucket is new.
    Created,
    /// It keeps versions now, or does not any more.
    Versioning,
    /// Things go after other times than before.
    Lifecycle,
    /// It encrypts otherwise than before.
    Encryption,
    /// Others may have what it holds.
    Access,
}

/// An upload that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The object it was to become.
    pub at: ObjectRef,
    /// When it was begun.
    pub begun_at: Timestamp,
}

/// What a store of many users can be told about its buckets. The embedded store has no need of it.
///
/// Contract: configuring twice changes nothing the second time, and touches no rule that others made. A store that
/// cannot keep a part of the policy keeps the rest; `describe_bucket` says what it keeps.
#[async_trait]
pub trait BucketAdmin: Send + Sync {
    /// Every bucket of this profile, by name.
    async fn buckets(&self) -> Result<Vec<BucketName>>;

    /// How a bucket keeps what it holds; `None` if it is not there.
    async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>>;

    /// Makes a bucket if it is missing and gives it this policy. Answers what that changed.
    async fn configure_bucket(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<Vec<BucketChange>>;

    /// Removes an empty bucket; `Conflict` for one that holds something, older versions too. One that is not there is none.
    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()>;

    /// Removes uploads that were begun before a time and not finished, but those this process works on. Answers them.
    async fn abort_unfinished(&self, bucket: &BucketName, older_than: Timestamp) -> Result<Vec<UnfinishedUpload>>;
}
