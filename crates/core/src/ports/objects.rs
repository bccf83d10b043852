//! The object store: buckets of immutable objects.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::StatVfs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tokio::io::AsyncRead;

use super::Result;
use crate::domain::{BucketName, ObjectKey, ObjectRef, Sha256};

/// Bytes to be stored, readable from any offset so that an interrupted upload can be resumed.
///
/// Readers block, so a backend reads them on a blocking thread; that is why a put shares its source.
pub trait ByteSource: Send + Sync {
    /// Number of bytes.
    fn len(&self) -> u64;

    /// Whether the length is 0.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from this offset to the end.
    ///
    /// # Errors
    /// The error of opening the source.
    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send + '_>>;

    /// All bytes, if the source is in memory; `None` otherwise.
    fn in_memory(&self) -> Option<Bytes> {
        None
    }
}

impl ByteSource for Bytes {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.as_ref().len());
        Ok(Box::new(io::Cursor::new(&self[from..])))
    }

    fn in_memory(&self) -> Option<Bytes> {
        Some(self.clone())
    }
}

/// Options of a put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// `Content-Type` of the object.
    pub content_type: Option<String>,
    /// SHA-256 of the bytes where it is known, so that they are not hashed again. A store that checks it refuses other
    /// bytes.
    pub sha256: Option<Sha256>,
}

/// Metadata of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bucket and key.
    pub at: ObjectRef,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Time of the put.
    pub modified_at: Timestamp,
    /// SHA-256 of all its bytes, where the store keeps one; `None` says nothing about them.
    pub sha256: Option<Sha256>,
}

/// Size and digest of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest {
    /// Number of bytes.
    pub size_bytes: u64,
    /// Their SHA-256.
    pub sha256: Sha256,
}

impl ContentDigest {
    /// Bytes read at a time, unless fewer are expected.
    const BUFFER_BYTES: u64 = 256 * 1024;

    /// Reads to the end. The buffer is no larger than the expected size needs.
    ///
    /// # Errors
    /// The error of the reader, without context: the caller adds it.
    pub fn read(mut reader: impl Read, expected_bytes: u64) -> io::Result<Self> {
        let mut hasher = sha2::Sha256::new();
        let mut size_bytes = 0;
        let buffer_bytes = expected_bytes.saturating_add(1).min(Self::BUFFER_BYTES);
        let mut buffer = vec![0; usize::try_from(buffer_bytes).unwrap_or(1)];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self { size_bytes, sha256: Sha256(hasher.finalize().into()) }),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    size_bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with SHA-256 {}", self.size_bytes, self.sha256)
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Key of the object.
    pub key: ObjectKey,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Time of the put.
    pub modified_at: Timestamp,
}

/// A page of a bucket in key order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectListing {
    /// Objects whose keys are valid for mfctl.
    pub objects: Vec<ListedObject>,
    /// Number of objects in this range (on the last page: up to the end of the bucket) whose keys are no valid
    /// [`ObjectKey`]: another tool stored them.
    pub foreign: u64,
    /// The first of those keys, at most [`ObjectListing::MAX_FOREIGN_KEYS`], as the store encodes them.
    pub foreign_keys: Vec<String>,
}

impl ObjectListing {
    /// Foreign keys that are kept by name; the others are counted only.
    pub const MAX_FOREIGN_KEYS: usize = 1000;

    /// Counts an object with a foreign key.
    pub fn add_foreign(&mut self, key: String) {
        self.foreign += 1;
        if self.foreign_keys.len() < Self::MAX_FOREIGN_KEYS {
            self.foreign_keys.push(key);
        }
    }

    /// Whether the page has neither objects nor foreign keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.foreign == 0
    }
}

/// The outcome of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The target was written, with the expected bytes.
    Copied,
    /// The target existed with the expected bytes; nothing was written.
    AlreadyThere,
    /// The target does not exist, and the source has other bytes than expected; nothing was written.
    WrongSource {
        /// What the source holds.
        found: ContentDigest,
    },
    /// The target exists with other bytes than expected; nothing was written.
    WrongTarget {
        /// What the target holds.
        found: ContentDigest,
        /// What the source holds; `None` if it does not exist.
        source: Option<ContentDigest>,
    },
}

/// Usage of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BucketUsage {
    /// Number of objects.
    pub objects: u64,
    /// Their total size in bytes.
    pub bytes: u64,
    /// Time of the oldest object.
    #[schemars(with = "Option<String>")]
    pub oldest_at: Option<Timestamp>,
    /// Whether counting stopped at its limit: the bucket holds more.
    pub partial: bool,
}

/// Capacity of the disk or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Total size in bytes.
    pub total_bytes: u64,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
}

/// As df(1) computes it: blocks reserved for root are neither used nor free.
impl From<StatVfs> for Capacity {
    fn from(disk: StatVfs) -> Self {
        let block_bytes = if disk.f_frsize == 0 { disk.f_bsize } else { disk.f_frsize };
        let used = disk.f_blocks.saturating_sub(disk.f_bfree);
        Self { total_bytes: (used + disk.f_bavail) * block_bytes, free_bytes: disk.f_bavail * block_bytes }
    }
}

/// An object as a file on this host. A temporary copy is deleted on drop.
#[derive(Debug)]
pub struct LocalObject {
    /// Path of the file. Read-only: it may be the store's own file.
    pub path: PathBuf,
    /// Guard of a temporary copy.
    pub temporary: Option<tempfile::TempPath>,
}

/// The object store.
///
/// Contract: an object is visible completely or not at all, and is never changed in place. `put` and `copy` may return
/// before the bytes are durable: they are durable once a [`ObjectStore::sync`] that began afterwards has returned. `put`
/// replaces an existing key. A delete of a missing object succeeds. A missing bucket is
/// [`super::ErrorKind::Unprepared`]; a full store is [`super::ErrorKind::Full`]. Listings are in byte order of the keys.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Creates the buckets that are missing.
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()>;

    /// Stores an object. A source of more or fewer bytes than `source.len()` is [`super::ErrorKind::Invalid`] and stores
    /// nothing; an error of its reader is the cause of an error of that kind. After any failure the key holds what it
    /// held before; a backend that keeps uploaded parts resumes them at the next put of the key.
    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo>;

    /// Stores a small object only if the key does not exist: `Conflict` when it does, or when another put of the key is
    /// in progress. A store without conditional writes may replace an object put at the same moment.
    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<ObjectInfo>;

    /// Makes every put and copy that has returned durable.
    async fn sync(&self) -> Result<()>;

    /// Copies within the store, if the source has the expected bytes: by the checksum that the store keeps for the whole
    /// object where it keeps one, by reading otherwise. A target that exists is never written, and is compared in the
    /// same way. If neither exists, that is `NotFound`.
    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome>;

    /// Metadata of an object; `None` if it does not exist.
    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>>;

    /// Opens an object for reading; `NotFound` if it does not exist.
    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>>;

    /// The object as a local file, copied into `dir` unless the store keeps it as a file itself.
    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject>;

    /// Deletes objects. In a versioned bucket their versions stay, as non-current ones.
    async fn delete(&self, at: &[ObjectRef]) -> Result<()>;

    /// Deletes objects with every version and delete marker of their keys, so that nothing of them can be restored, and
    /// aborts the unfinished uploads of their keys. Missing ones are no error. Returns how many versions were deleted.
    async fn purge(&self, at: &[ObjectRef]) -> Result<u64>;

    /// Number of versions and delete markers that [`ObjectStore::purge`] would delete of these objects now.
    async fn versions(&self, at: &[ObjectRef]) -> Result<u64>;

    /// As [`ObjectStore::copy`], and reads back what was copied: after `Copied` and `AlreadyThere` the target has the
    /// expected bytes and is durable, so that the first object may be deleted.
    async fn copy_verified(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let copied = match self.copy(from, to, expected).await? {
            // A second copy writes nothing and compares the target.
            CopyOutcome::Copied => match self.copy(from, to, expected).await? {
                CopyOutcome::AlreadyThere => CopyOutcome::Copied,
                compared => compared,
            },
            copied => copied,
        };
        if matches!(copied, CopyOutcome::Copied | CopyOutcome::AlreadyThere) {
            self.sync().await?;
        }
        Ok(copied)
    }

    /// Objects whose key begins with `prefix` and is greater than `after`, at most `limit`, plus the foreign keys of that
    /// range. A caller that continues after the last object gets each foreign key once.
    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing>;

    /// Usage of a bucket, counting at most `limit` objects; the platform's marker is not counted.
    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage>;

    /// Capacity; `None` where the store does not report it.
    async fn capacity(&self) -> Result<Option<Capacity>>;
}

/// Default encryption of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BucketEncryption {
    /// SSE-S3: keys of the store.
    Aes256,
    /// SSE-KMS: keys of a key management service.
    Kms,
    /// An algorithm that mfctl does not set, by its name in S3's API, such as `aws:kms:dsse`.
    Other(String),
}

/// Versioning, lifecycle, encryption and access of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BucketPolicy {
    /// Versioning: a replaced or deleted object stays as a noncurrent version.
    pub versioned: bool,
    /// Days after which an object expires.
    pub expire_after_days: Option<u32>,
    /// Days after which a noncurrent version expires.
    pub expire_noncurrent_after_days: Option<u32>,
    /// Days after which an incomplete multipart upload is aborted.
    pub abort_uploads_after_days: Option<u32>,
    /// Ids of mfctl's lifecycle rules that others changed, so that they apply to some objects only or do something
    /// else; their days are not in the fields above. Empty in a desired policy.
    pub changed_rules: Vec<String>,
    /// Default encryption; `None` if the bucket has none. In a desired policy `None` leaves it unchanged.
    pub encryption: Option<BucketEncryption>,
    /// S3 bucket policy document; `None` if the bucket has none. In a desired policy `None` leaves it unchanged.
    pub access: Option<serde_json::Value>,
}

/// A change that [`BucketAdmin::configure_bucket`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketChange {
    /// The bucket was created.
    Created,
    /// Versioning was enabled or suspended.
    Versioning,
    /// Lifecycle rules changed.
    Lifecycle,
    /// Default encryption changed.
    Encryption,
    /// The bucket policy changed.
    Access,
}

/// An incomplete multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// Object that the upload was for.
    pub at: ObjectRef,
    /// Time the upload was initiated.
    pub begun_at: Timestamp,
}

/// Administration of buckets; the embedded store does not have it.
///
/// Contract: configuring a bucket is idempotent and changes no rule of others. A store that does not support a part of
/// the lifecycle applies the rest; one that cannot encrypt as desired is `Invalid`. `describe_bucket` returns what is
/// in effect.
#[async_trait]
pub trait BucketAdmin: Send + Sync {
    /// Every bucket of this profile, sorted by name.
    async fn buckets(&self) -> Result<Vec<BucketName>>;

    /// Policy of a bucket; `None` if the bucket does not exist.
    async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>>;

    /// Creates a bucket if it is missing and applies this policy. Returns the changes.
    async fn configure_bucket(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<Vec<BucketChange>>;

    /// Deletes an empty bucket; `Conflict` while it holds objects or noncurrent versions. A missing bucket is no error.
    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()>;

    /// Aborts incomplete multipart uploads that were initiated before this time, except this process's own. Returns them.
    async fn abort_unfinished(&self, bucket: &BucketName, older_than: Timestamp) -> Result<Vec<UnfinishedUpload>>;
}
