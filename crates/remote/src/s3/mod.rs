//! The object store on S3's REST protocol, with Signature Version 4.
//!
//! Nothing here assumes one implementation of S3. A feature that a store lacks (checksum headers, batch deletes) is detected once,
//! by its response, and not used from then on. Only `create_buckets` and `configure_bucket` create buckets. Credentials come from
//! the configuration alone, not from the environment, `~/.aws` or the instance metadata service.
//!
//! Large objects are stored as multipart uploads, and a put that was interrupted resumes with the parts that the store has
//! (`multipart`). Only one process at a time may put a key of that size: an unfinished upload of another process is taken for an
//! interrupted one.
//!
//! [`S3Store`] puts the parts together. Each part takes what it needs: all send through `Requests`.

mod blocking;
mod body;
mod bucket_admin;
mod bucket_settings;
mod buckets;
mod config;
mod convert;
mod copy;
mod delete;
mod digest;
mod encoding;
mod error;
mod lifecycle;
mod limiter;
mod list;
mod multipart;
mod parts;
mod purge;
mod put;
mod read;
mod request_metrics;
mod requests;
mod routing;
mod sdk_clients;
mod uploads;
mod verify;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;

use self::bucket_admin::BucketAdminClient;
use self::buckets::BucketClient;
pub use self::config::S3Config;
use self::convert::whole_seconds;
use self::copy::ObjectCopier;
use self::delete::ObjectDeleter;
use self::digest::ChecksumSupport;
use self::list::ObjectLister;
use self::multipart::MultipartUploader;
use self::parts::BufferBudget;
use self::purge::VersionPurger;
use self::put::ObjectWriter;
use self::read::ObjectReader;
use self::requests::Requests;
use self::uploads::UploadClient;
use self::verify::WriteVerifier;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Timestamp};
use mfctl_core::ports::{
    BucketAdmin, BucketChange, BucketPolicy, BucketUsage, ByteSource, Capacity, ContentDigest, CopyOutcome,
    LocalObject, ObjectInfo, ObjectListing, ObjectStore, PutOptions, Result, UnfinishedUpload,
};

/// The object store of a profile.
pub struct S3Store {
    buckets: Arc<BucketClient>,
    bucket_admin: BucketAdminClient,
    lister: ObjectLister,
    reader: ObjectReader,
    writer: ObjectWriter,
    copier: ObjectCopier,
    deleter: ObjectDeleter,
    purger: VersionPurger,
    uploads: Arc<UploadClient>,
}

impl S3Store {
    /// A store. Opens no connection before its first request.
    ///
    /// # Errors
    /// `Invalid` when an address or a file of the configuration cannot be used.
    pub fn new(config: &S3Config) -> Result<Self> {
        let requests = Arc::new(Requests::new(config)?);
        let buckets = Arc::new(BucketClient::new(requests.clone(), &config.region));
        let uploads = Arc::new(UploadClient::new(requests.clone()));
        let reader = ObjectReader::new(requests.clone(), buckets.clone());
        let deleter = ObjectDeleter::new(requests.clone());
        let verifier = WriteVerifier::new(requests.clone(), reader.clone(), deleter.clone());
        let checksums = Arc::new(ChecksumSupport::default());
        let budget = BufferBudget::default();
        let multipart = MultipartUploader {
            requests: requests.clone(),
            buckets: buckets.clone(),
            checksums: checksums.clone(),
            budget: budget.clone(),
            reader: reader.clone(),
            verifier: verifier.clone(),
            uploads: uploads.clone(),
            part_slots: Semaphore::new(config.concurrency.max(1)),
            part_size: config.part_size,
        };
        Ok(Self {
            bucket_admin: BucketAdminClient::new(&requests, buckets.clone()),
            purger: VersionPurger::new(requests.clone(), uploads.clone()),
            lister: ObjectLister::new(requests.clone(), buckets.clone()),
            copier: ObjectCopier::new(requests.clone(), reader.clone(), uploads.clone()),
            writer: ObjectWriter {
                requests,
                buckets: buckets.clone(),
                checksums,
                budget,
                reader: reader.clone(),
                verifier,
                multipart,
            },
            buckets,
            reader,
            deleter,
            uploads,
        })
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        for bucket in buckets {
            self.buckets.create(bucket).await?;
        }
        Ok(())
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo> {
        let size_bytes = source.len();
        self.writer.put(at, source, options).await?;
        // The response has no time, and a HEAD would be another request per object.
        Ok(ObjectInfo { at: at.clone(), size_bytes, modified_at: whole_seconds(Timestamp::now()), sha256: None })
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<ObjectInfo> {
        let size_bytes = bytes.len() as u64;
        self.writer.put_new(at, bytes, options).await?;
        Ok(ObjectInfo { at: at.clone(), size_bytes, modified_at: whole_seconds(Timestamp::now()), sha256: None })
    }

    async fn sync(&self) -> Result<()> {
        // A store answers once the object is durable.
        Ok(())
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        self.copier.copy(from, to, expected).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        let head = self.reader.head(at).await?;
        Ok(head.map(|head| ObjectInfo {
            at: at.clone(),
            size_bytes: head.size_bytes,
            modified_at: head.modified_at,
            sha256: head.whole_sha256(),
        }))
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let object = self.reader.open(at).await?;
        Ok(Box::new(object.reader))
    }

    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
        self.reader.local(at, dir).await
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        self.deleter.delete(at).await
    }

    async fn purge(&self, at: &[ObjectRef]) -> Result<u64> {
        self.purger.purge(at).await
    }

    async fn versions(&self, at: &[ObjectRef]) -> Result<u64> {
        self.purger.count(at).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        self.lister.list(bucket, prefix, after, limit).await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        self.lister.usage(bucket, limit).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        // The protocol has no request for it.
        Ok(None)
    }
}

#[async_trait]
impl BucketAdmin for S3Store {
    async fn buckets(&self) -> Result<Vec<BucketName>> {
        self.buckets.list().await
    }

    async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>> {
        self.bucket_admin.describe_bucket(bucket).await
    }

    async fn configure_bucket(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<Vec<BucketChange>> {
        self.bucket_admin.configure_bucket(bucket, wanted).await
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        self.buckets.delete(bucket).await
    }

    async fn abort_unfinished(&self, bucket: &BucketName, older_than: Timestamp) -> Result<Vec<UnfinishedUpload>> {
        self.uploads.abort_unfinished(bucket, older_than).await
    }
}
