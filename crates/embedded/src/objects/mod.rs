//! Objects as files in a folder: `<data>/objects/<bucket>/<key>`.
//!
//! A file appears by a rename (or, for a copy, by a hard link) and is never opened for writing again, so a reader sees
//! an object whole or not at all, and two keys may share one file. Durability comes in groups: [`FolderStore::sync`]
//! flushes the file system once for everybody who waits. Several processes may use one folder at once.
//!
//! One limit that S3 does not have: a key cannot lie below another (`a` and `a/b`), nor have a part of more than 255
//! bytes; both are `Invalid`.

mod fault;
mod flush;
mod leftovers;
mod publish;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::DirBuilder;
use std::io::ErrorKind as Io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncRead;

use self::fault::fault;
use self::flush::Flush;
use self::leftovers::Workshop;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef};
use mfctl_core::ports::{
    BucketUsage, ByteSource, Capacity, CopyOutcome, Error, ErrorKind, Listing, LocalObject, ObjectInfo, ObjectStore,
    PutOptions, Result,
};

/// The object store of the embedded profile.
pub struct FolderStore {
    folder: Arc<Folder>,
    flush: Flush,
}

/// What the blocking halves of the calls share.
struct Folder {
    /// `<data>/objects`.
    objects: PathBuf,
    workshop: Workshop,
    memory: walk::Memory,
}

impl Folder {
    fn bucket(&self, bucket: &BucketName) -> PathBuf {
        self.objects.join(bucket.as_str())
    }

    fn path(&self, at: &ObjectRef) -> PathBuf {
        let mut path = self.bucket(&at.bucket);
        path.push(at.key.as_str());
        path
    }

    /// `NotFound` with what to do if the bucket is not there.
    fn require_bucket(&self, bucket: &BucketName) -> Result<PathBuf> {
        let path = self.bucket(bucket);
        match path.metadata() {
            Ok(found) if found.is_dir() => Ok(path),
            Ok(_) => Err(Error::new(ErrorKind::Corrupt, format!("open bucket {bucket}: {} is a file", path.display()))),
            Err(error) if error.kind() == Io::NotFound => {
                Err(Error::new(ErrorKind::Unprepared, format!("bucket {bucket} does not exist")))
            }
            Err(error) => Err(fault(format!("open bucket {bucket}"), error)),
        }
    }
}

impl FolderStore {
    /// The store of this data folder. Makes nothing.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        let objects = data.join("objects");
        let flush = Flush::new(objects.clone());
        Self {
            folder: Arc::new(Folder {
                objects,
                workshop: Workshop::new(data.join("tmp")),
                memory: walk::Memory::default(),
            }),
            flush,
        }
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        let folder = self.folder.clone();
        let buckets = buckets.to_vec();
        let made = blocking("make buckets", move || {
            let mut made = false;
            for bucket in &buckets {
                let path = folder.bucket(bucket);
                made |= !path.is_dir();
                private_folder(&path).map_err(|error| fault(format!("make bucket {bucket}"), error))?;
            }
            Ok(made)
        })
        .await?;
        if made { self.sync().await } else { Ok(()) }
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, _options: PutOptions) -> Result<ObjectInfo> {
        let folder = self.folder.clone();
        let at = at.clone();
        blocking("store an object", move || folder.put(&at, source.as_ref())).await
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, _options: PutOptions) -> Result<ObjectInfo> {
        let folder = self.folder.clone();
        let at = at.clone();
        blocking("store an object", move || folder.put_new(&at, &bytes)).await
    }

    async fn sync(&self) -> Result<()> {
        self.flush.everything_so_far().await
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let folder = self.folder.clone();
        let (from, to) = (from.clone(), to.clone());
        blocking("copy an object", move || folder.copy(&from, &to, size_bytes)).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        let folder = self.folder.clone();
        let at = at.clone();
        blocking("look at an object", move || folder.head(&at)).await
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let folder = self.folder.clone();
        let at = at.clone();
        let file = blocking("open an object", move || {
            let (path, _) = folder.existing(&at)?;
            std::fs::File::open(path).map_err(|error| fault(format!("open object {at}"), error))
        })
        .await?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn local(&self, at: &ObjectRef, _dir: &Path) -> Result<LocalObject> {
        let folder = self.folder.clone();
        let at = at.clone();
        let (path, _) = blocking("find an object", move || folder.existing(&at)).await?;
        Ok(LocalObject { path, temporary: None })
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        let folder = self.folder.clone();
        let at = at.to_vec();
        blocking("remove objects", move || folder.delete(&at)).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Listing> {
        let folder = self.folder.clone();
        let (bucket, prefix, after) = (bucket.clone(), prefix.to_owned(), after.cloned());
        blocking("list objects", move || {
            let root = folder.require_bucket(&bucket)?;
            // A folder's files that can be no objects are told in a warning, and not counted by `usage` either.
            let objects = walk::list(&folder.memory, &root, &prefix, after.as_ref(), limit)?;
            Ok(Listing { objects, ..Listing::default() })
        })
        .await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        let folder = self.folder.clone();
        let bucket = bucket.clone();
        blocking("count objects", move || walk::usage(&folder.require_bucket(&bucket)?, limit)).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        let objects = self.folder.objects.clone();
        blocking("measure the disk", move || {
            let found = objects.ancestors().find(|path| path.exists()).unwrap_or(&objects);
            super::folder::capacity(found).map(Some)
        })
        .await
    }
}

/// Runs what blocks on a thread made for that.
async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, what).because(error)),
    }
}

/// Makes a folder, and those above it, that only this user can enter. One that is there stays as it is.
fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// When a file was stored; milliseconds, as everywhere else.
fn stored_at(metadata: &std::fs::Metadata) -> Timestamp {
    use std::os::unix::fs::MetadataExt;
    let milliseconds = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
