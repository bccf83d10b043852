//! Objects in an S3 store: any that speaks S3's REST protocol with signatures of version 4.
//!
//! Nothing here assumes one maker's store. What a store lacks (checksum headers, deleting many at once) is noticed by
//! its answer, once, and done without. Buckets are made by `create_buckets` alone. Only what the configuration holds is
//! used: no credentials of the environment, of `~/.aws` or of the machine's role.
//!
//! An object of this size or more goes up in parts, and a put that was cut off goes on with the parts that are there
//! (`multipart`). One process at a time puts a key of that size: another's unfinished upload is taken for a dead one's.

mod ask;
mod body;
mod bucket_access;
mod buckets;
mod client;
mod copy;
mod delete;
mod digest;
mod fault;
mod list;
mod meter;
mod multipart;
mod pace;
mod parts;
mod put;
mod read;
mod route;
mod uploads;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;

use self::client::Clients;
use self::digest::Checksums;
use self::pace::Pace;
use self::parts::Budget;
use super::instances::Instances;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Secret, Timestamp};
use mfctl_core::ports::{
    BucketAdmin, BucketChange, BucketPolicy, BucketUsage, ByteSource, Capacity, CopyOutcome, Error, ErrorKind, Listing,
    LocalObject, ObjectInfo, ObjectStore, PutOptions, Result, UnfinishedUpload,
};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The table of settings that this comes from, for hints: `profile.prod.s3`.
    pub settings: String,
    /// The store's address, `https://host:port`; none means AWS's own for the region.
    pub endpoint: Option<String>,
    /// Where its requests go in turn, whatever host the address has; none: where that says.
    pub instances: Option<Arc<Instances>>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is named in the path (`host/bucket/key`) and not in the host's name (`bucket.host/key`).
    pub path_style: bool,
    /// The name of the key pair.
    pub access_key: String,
    /// Its secret half.
    pub secret_key: Secret,
    /// What goes with a key pair that is lent for a time.
    pub session_token: Option<Secret>,
    /// Whom to trust.
    pub tls: TlsFiles,
    /// A proxy, `http://host:port`.
    pub proxy: Option<String>,
    /// Hosts that are reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Put before every bucket's name on the wire, so that tests do not meet.
    pub bucket_prefix: String,
    /// Bytes in a part of a large object; it grows where there would be too many parts.
    pub part_size: Option<u64>,
    /// Parts in flight at the same time, over all objects.
    pub concurrency: usize,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// The object store of the cluster profile.
pub struct S3Store {
    shared: Arc<Shared>,
}

/// What all calls share.
struct Shared {
    clients: Clients,
    settings: String,
    region: String,
    bucket_prefix: String,
    part_size: Option<u64>,
    /// Requests at the same time; fewer while the store asks for that.
    pace: Arc<Pace>,
    /// Bytes of sources that are in memory.
    budget: Budget,
    /// Parts in flight.
    hands: Semaphore,
    checksums: Checksums,
    /// Whether the store was found not to delete many objects at once.
    deletes_singly: AtomicBool,
    /// Buckets that were there when they were last used: a 404 of a `HEAD` does not say what is missing.
    seen: Mutex<HashSet<BucketName>>,
    /// Uploads that this process is working on.
    live: multipart::Live,
}

impl S3Store {
    /// A store. Opens no connection before its first request.
    ///
    /// # Errors
    /// `Invalid` when an address or a file of the configuration cannot be used.
    pub fn new(config: &S3Config) -> Result<Self> {
        let pace = Arc::new(Pace::default());
        let shared = Shared {
            clients: Clients::new(config, pace.clone())?,
            settings: config.settings.clone(),
            region: config.region.clone(),
            bucket_prefix: config.bucket_prefix.clone(),
            part_size: config.part_size,
            pace,
            budget: Budget::default(),
            hands: Semaphore::new(config.concurrency.max(1)),
            checksums: Checksums::default(),
            deletes_singly: AtomicBool::default(),
            seen: Mutex::default(),
            live: multipart::Live::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// A bucket's name on the wire.
    fn bucket(&self, bucket: &BucketName) -> String {
        format!("{}{bucket}", self.bucket_prefix)
    }

    /// Remembers that a bucket is there.
    fn saw(&self, bucket: &BucketName) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(bucket) {
            seen.insert(bucket.clone());
        }
    }

    fn has_seen(&self, bucket: &BucketName) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(bucket)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        for bucket in buckets {
            self.shared.create_bucket(bucket).await?;
        }
        Ok(())
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo> {
        let size_bytes = source.len();
        self.shared.put(at, source, options).await?;
        // A store does not say when it stored; asking would be a request for every object.
        Ok(ObjectInfo { at: at.clone(), size_bytes, modified_at: whole_seconds(Timestamp::now()) })
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<ObjectInfo> {
        let size_bytes = bytes.len() as u64;
        self.shared.put_new(at, bytes, options).await?;
        Ok(ObjectInfo { at: at.clone(), size_bytes, modified_at: whole_seconds(Timestamp::now()) })
    }

    async fn sync(&self) -> Result<()> {
        // A store answers once the object is durable.
        Ok(())
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        self.shared.copy(from, to, size_bytes).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        let found = self.shared.head(at).await?;
        Ok(found.map(|head| ObjectInfo { at: at.clone(), size_bytes: head.size_bytes, modified_at: head.modified_at }))
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let opened = read::open(self.shared.clone(), at).await?;
        Ok(Box::new(opened.reader))
    }

    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
        read::local(self.shared.clone(), at, dir).await
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        self.shared.delete(at).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Listing> {
        self.shared.list(bucket, prefix, after, limit).await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        self.shared.usage(bucket, limit).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        // The protocol has no question for it.
        Ok(None)
    }
}

#[async_trait]
impl BucketAdmin for S3Store {
    async fn buckets(&self) -> Result<Vec<BucketName>> {
        self.shared.buckets().await
    }

    async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>> {
        self.shared.describe_bucket(bucket).await
    }

    async fn configure_bucket(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<Vec<BucketChange>> {
        self.shared.configure_bucket(bucket, wanted).await
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        self.shared.delete_bucket(bucket).await
    }

    async fn abort_unfinished(&self, bucket: &BucketName, older_than: Timestamp) -> Result<Vec<UnfinishedUpload>> {
        self.shared.abort_unfinished(bucket, older_than).await
    }
}

/// Times of objects are told in whole seconds by `HEAD`, in finer ones by listings: they are to agree.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The SDK's time as ours.
fn time(time: Option<&aws_sdk_s3::primitives::DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A size as the store tells it.
fn size(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Runs what blocks on a thread made for that.
async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::new(ErrorKind::Internal, what).because(error))
}
