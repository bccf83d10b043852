//! An object store that fails for some of its objects.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef};
use mfctl_core::ports::{
    BucketUsage, ByteSource, Capacity, ContentDigest, CopyOutcome, Error, ErrorKind, LocalObject, ObjectInfo,
    ObjectListing, ObjectStore, PutOptions, Result,
};
use tokio::io::AsyncRead;
use tokio::sync::watch;

/// A call that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadCall {
    Copy,
    Head,
    /// The bytes of an object, as a stream or as a file.
    Bytes,
    List,
}

/// The error of a call, if it fails. Asked for the object that is read, the source of a copy; `None` for a list.
pub trait Fault: Fn(ReadCall, Option<&ObjectRef>) -> Option<ErrorKind> + Send + Sync + 'static {}
impl<F: Fn(ReadCall, Option<&ObjectRef>) -> Option<ErrorKind> + Send + Sync + 'static> Fault for F {}

/// A store whose reads fail as scripted.
pub struct FaultyObjects {
    inner: Arc<dyn ObjectStore>,
    fault: Box<dyn Fault>,
    reads: AtomicUsize,
    /// The local file of one object.
    local: Option<(ObjectRef, PathBuf)>,
    /// Deletes wait until the value is `true`.
    may_delete: Option<watch::Receiver<bool>>,
    /// Deletes that were called and have not ended.
    deletes: AtomicUsize,
}

impl FaultyObjects {
    pub fn new(inner: &Arc<dyn ObjectStore>, fault: impl Fault) -> Arc<Self> {
        Arc::new(Self::of(inner, fault))
    }

    /// A store without faults that has this local file for one of its objects.
    pub fn with_local_file(inner: &Arc<dyn ObjectStore>, at: ObjectRef, path: PathBuf) -> Arc<Self> {
        Arc::new(Self { local: Some((at, path)), ..Self::of(inner, |_, _| None) })
    }

    /// A store without faults that deletes nothing until the value is `true`.
    pub fn with_delayed_deletes(inner: &Arc<dyn ObjectStore>, may_delete: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { may_delete: Some(may_delete), ..Self::of(inner, |_, _| None) })
    }

    fn of(inner: &Arc<dyn ObjectStore>, fault: impl Fault) -> Self {
        Self {
            inner: Arc::clone(inner),
            fault: Box::new(fault),
            reads: AtomicUsize::new(0),
            local: None,
            may_delete: None,
            deletes: AtomicUsize::new(0),
        }
    }

    /// How many deletes were called and have not ended.
    pub fn deletes(&self) -> usize {
        self.deletes.load(Ordering::SeqCst)
    }

    /// How often the bytes of an object were asked for.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn check(&self, call: ReadCall, at: Option<&ObjectRef>) -> Result<()> {
        match (self.fault)(call, at) {
            Some(kind) => {
                let at = at.map(|at| format!(" of {at}")).unwrap_or_default();
                Err(Error::new(kind, format!("{call:?}{at}, as scripted")))
            }
            None => Ok(()),
        }
    }

    fn read(&self, at: &ObjectRef) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.check(ReadCall::Bytes, Some(at))
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
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
        self.check(ReadCall::Copy, Some(from))?;
        self.inner.copy(from, to, expected).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        self.check(ReadCall::Head, Some(at))?;
        self.inner.head(at).await
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        self.read(at)?;
        self.inner.open(at).await
    }

    async fn local(&self, at: &ObjectRef, dir: &Path) -> Result<LocalObject> {
        self.read(at)?;
        match &self.local {
            Some((local, path)) if local == at => Ok(LocalObject { path: path.clone(), temporary: None }),
            _ => self.inner.local(at, dir).await,
        }
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        self.deletes.fetch_add(1, Ordering::SeqCst);
        if let Some(mut may_delete) = self.may_delete.clone() {
            may_delete.wait_for(|may_delete| *may_delete).await.unwrap();
        }
        let deleted = self.inner.delete(at).await;
        self.deletes.fetch_sub(1, Ordering::SeqCst);
        deleted
    }

    async fn purge(&self, at: &[ObjectRef]) -> Result<u64> {
        self.inner.purge(at).await
    }

    async fn versions(&self, at: &[ObjectRef]) -> Result<u64> {
        self.inner.versions(at).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        self.check(ReadCall::List, None)?;
        self.inner.list(bucket, prefix, after, limit).await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        self.inner.usage(bucket, limit).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        self.inner.capacity().await
    }
}
