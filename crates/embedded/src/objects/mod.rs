//! Objects as files in a folder: `<data>/objects/<bucket>/<key>`.
//!
//! A file appears by a rename (or, for a copy, by a hard link) and is never opened for writing again, so a reader sees
//! an object whole or not at all, and two keys may share one file. [`FolderStore::sync`] makes writes durable, with one
//! flush of the file system for all waiting callers. Several processes may use one folder at once.
//!
//! One limit that S3 does not have: a key cannot lie below another (`a` and `a/b`), nor have a segment of more than 255
//! bytes; both are `Invalid`.

mod file_ops;
mod group_flush;
mod object_folder;
mod temp_files;
#[cfg(test)]
mod tests;
mod verified_copy;
mod walk;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;

use self::file_ops::{file_error, open_object, run_blocking};
use self::group_flush::GroupFlush;
use self::object_folder::ObjectFolder;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef};
use mfctl_core::ports::{
    BucketUsage, ByteSource, Capacity, ContentDigest, CopyOutcome, LocalObject, ObjectInfo, ObjectListing, ObjectStore,
    PutOptions, Result,
};

/// The object store of the embedded profile.
pub struct FolderStore {
    folder: Arc<ObjectFolder>,
    flush: GroupFlush,
}

impl FolderStore {
    /// The store of this data folder. Creates nothing.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        let folder = ObjectFolder::new(data);
        let flush = GroupFlush::new(folder.root().to_owned());
        Self { folder: Arc::new(folder), flush }
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        let folder = self.folder.clone();
        let buckets = buckets.to_vec();
        let created = run_blocking("create buckets", move || folder.create_buckets(&buckets)).await?;
        if created { self.sync().await } else { Ok(()) }
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, _options: PutOptions) -> Result<ObjectInfo> {
        let folder = self.folder.clone();
        let at = at.clone();
        run_blocking("store an object", move || folder.put(&at, source.as_ref())).await
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, _options: PutOptions) -> Result<ObjectInfo> {
        let folder = self.folder.clone();
        let at = at.clone();
        run_blocking("store an object", move || folder.put_new(&at, &bytes)).await
    }

    async fn sync(&self) -> Result<()> {
        self.flush.flush().await
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let folder = self.folder.clone();
        let from = from.clone();
        let to = to.clone();
        let expected = *expected;
        run_blocking("copy an object", move || folder.copy(&from, &to, &expected)).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        let folder = self.folder.clone();
        let at = at.clone();
        run_blocking("read an object's metadata", move || folder.head(&at)).await
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let folder = self.folder.clone();
        let at = at.clone();
        let file = run_blocking("open an object", move || {
            let path = folder.existing_file(&at)?;
            open_object(&path).map_err(|error| file_error(format!("open object {at}"), error))
        })
        .await?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn local(&self, at: &ObjectRef, _dir: &Path) -> Result<LocalObject> {
        let folder = self.folder.clone();
        let at = at.clone();
        let path = run_blocking("find an object", move || folder.existing_file(&at)).await?;
        Ok(LocalObject { path, temporary: None })
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        let folder = self.folder.clone();
        let at = at.to_vec();
        run_blocking("remove objects", move || folder.delete(&at).map(drop)).await
    }

    async fn purge(&self, at: &[ObjectRef]) -> Result<u64> {
        let folder = self.folder.clone();
        let at = at.to_vec();
        // A folder keeps no versions.
        run_blocking("remove objects", move || folder.delete(&at)).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        let folder = self.folder.clone();
        let bucket = bucket.clone();
        let prefix = prefix.to_owned();
        let after = after.cloned();
        run_blocking("list objects", move || {
            // Files that cannot be objects are logged as a warning here; `usage` does not count them either.
            let objects = folder.list(&bucket, &prefix, after.as_ref(), limit)?;
            Ok(ObjectListing { objects, ..ObjectListing::default() })
        })
        .await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        let folder = self.folder.clone();
        let bucket = bucket.clone();
        run_blocking("count objects", move || folder.usage(&bucket, limit)).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        let folder = self.folder.clone();
        run_blocking("measure the disk", move || {
            let root = folder.root();
            let existing = root.ancestors().find(|path| path.exists()).unwrap_or(root);
            crate::base::capacity(existing).map(Some)
        })
        .await
    }
}
