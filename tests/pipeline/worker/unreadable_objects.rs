//! The audit on a store that does not return some objects, or none.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mfctl::ops::audit::ViolationKind;
use mfctl_core::domain::{AssetId, BucketName, ObjectKey, ObjectRef};
use mfctl_core::ports::{
    BucketUsage, ByteSource, Capacity, ContentDigest, CopyOutcome, Error, ErrorKind, LocalObject, ObjectInfo,
    ObjectListing, ObjectStore, Ports, PutOptions, Result,
};
use tokio::io::AsyncRead;

use super::hidden_records::audit_of;
use super::platform::Platform;

/// A store that fails in this way for one object, or for all.
struct FailingStore {
    inner: Arc<dyn ObjectStore>,
    kind: ErrorKind,
    /// The object that cannot be read; `None` if nothing works.
    only: Option<ObjectRef>,
}

impl FailingStore {
    fn check(&self, at: Option<&ObjectRef>) -> Result<()> {
        let fails = self.only.as_ref().is_none_or(|only| Some(only) == at);
        if fails { Err(Error::new(self.kind, "read an object: as scripted")) } else { Ok(()) }
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        self.inner.create_buckets(buckets).await
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, options: PutOptions) -> Result<ObjectInfo> {
        self.inner.put(at, source, options).await
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, options: PutOptions) -> Result<ObjectInfo> {
        self.inner.put_new(at, bytes, options).await
    }

    async fn sync(&self) -> Result<()> {
        self.inner.sync().await
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        self.inner.copy(from, to, expected).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        self.inner.head(at).await
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        self.check(Some(at))?;
        self.inner.open(at).await
    }

    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
        self.inner.local(at, dir).await
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        self.inner.delete(at).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        self.check(None)?;
        self.inner.list(bucket, prefix, after, limit).await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        self.inner.usage(bucket, limit).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        self.inner.capacity().await
    }
}

/// A platform of three staged files, and their ids.
async fn staged() -> (Platform, Vec<AssetId>) {
    let platform = Platform::new().await;
    let assets = platform.ingest(3).await;
    (platform, assets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_cannot_be_read_is_listed_and_the_others_are_checked() {
    let (platform, assets) = staged().await;
    let unreadable = platform.asset(assets[1]).await.staging;
    for kind in [ErrorKind::Denied, ErrorKind::Unreachable, ErrorKind::Corrupt, ErrorKind::Internal] {
        let inner = Arc::clone(&platform.ports.objects);
        let objects = Arc::new(FailingStore { inner, kind, only: Some(unreadable.clone()) });
        let report = audit_of(&platform, Ports { objects, ..platform.ports.clone() }).await.unwrap();
        let found: Vec<_> = report.violations.iter().map(|one| (one.kind, one.subject.clone())).collect();
        assert_eq!(found, [(ViolationKind::UnreadableObject, assets[1].to_string())], "{kind:?}");
        assert_eq!(report.assets, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_answers_nothing_is_an_outage_and_no_damage() {
    let (platform, _) = staged().await;
    let inner = Arc::clone(&platform.ports.objects);
    let objects = Arc::new(FailingStore { inner, kind: ErrorKind::Unreachable, only: None });
    let error = audit_of(&platform, Ports { objects, ..platform.ports.clone() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}
