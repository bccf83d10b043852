//! Objects as files in a folder: `<data>/objects/<bucket>/<key>`.
//!
//! A file appears by a rename (or, for a copy, by a hard link) and is never opened for writing again, so a reader sees
//! an object whole or not at all, and two keys may share one file. [`FolderStore::sync`] makes writes durable, with one
//! flush of the file system for all waiting callers; when that has failed, every later call of this process fails.
//! Several processes may use one folder at once.
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

use std::collections::BTreeSet;
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

    /// Runs work that changes the folder, on a thread for file operations.
    async fn write<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&ObjectFolder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let flushed = self.flush.folder();
        self.run(what, move |folder| flushed.watch().and_then(|()| work(folder))).await
    }

    /// Runs work that looks at the folder, on a thread for file operations.
    async fn read<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&ObjectFolder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.flush.folder().check()?;
        self.run(what, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&ObjectFolder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = Arc::clone(&self.folder);
        run_blocking(what, move || work(&folder)).await
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn create_buckets(&self, buckets: &[BucketName]) -> Result<()> {
        let buckets = buckets.to_vec();
        let created = self.write("create buckets", move |folder| folder.create_buckets(&buckets)).await?;
        if created { self.sync().await } else { Ok(()) }
    }

    async fn put(&self, at: &ObjectRef, source: Arc<dyn ByteSource>, _options: PutOptions) -> Result<ObjectInfo> {
        let at = at.clone();
        self.write("store an object", move |folder| folder.put(&at, source.as_ref())).await
    }

    async fn put_new(&self, at: &ObjectRef, bytes: Bytes, _options: PutOptions) -> Result<ObjectInfo> {
        let at = at.clone();
        self.write("store an object", move |folder| folder.put_new(&at, &bytes)).await
    }

    async fn sync(&self) -> Result<()> {
        self.flush.flush().await
    }

    async fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let from = from.clone();
        let to = to.clone();
        let expected = *expected;
        self.write("copy an object", move |folder| folder.copy(&from, &to, &expected)).await
    }

    async fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        let at = at.clone();
        self.read("read an object's metadata", move |folder| folder.head(&at)).await
    }

    async fn open(&self, at: &ObjectRef) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let at = at.clone();
        let open = move |folder: &ObjectFolder| {
            let path = folder.existing_file(&at)?;
            open_object(&path).map_err(|error| file_error(format!("open object {at}"), error))
        };
        let file = self.read("open an object", open).await?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn local(&self, at: &ObjectRef, _dir: &Path) -> Result<LocalObject> {
        let at = at.clone();
        let path = self.read("find an object", move |folder| folder.existing_file(&at)).await?;
        Ok(LocalObject { path, temporary: None })
    }

    async fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        let at = at.to_vec();
        self.write("remove objects", move |folder| folder.delete(&at).map(drop)).await
    }

    async fn purge(&self, at: &[ObjectRef]) -> Result<u64> {
        let at = at.to_vec();
        // A folder keeps no versions.
        self.write("remove objects", move |folder| folder.delete(&at)).await
    }

    async fn versions(&self, at: &[ObjectRef]) -> Result<u64> {
        let at: BTreeSet<ObjectRef> = at.iter().cloned().collect();
        let count = move |folder: &ObjectFolder| {
            let mut count = 0;
            for at in &at {
                count += u64::from(folder.head(at)?.is_some());
            }
            Ok(count)
        };
        self.read("count versions of objects", count).await
    }

    async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ObjectListing> {
        let bucket = bucket.clone();
        let prefix = prefix.to_owned();
        let after = after.cloned();
        let list = move |folder: &ObjectFolder| {
            // Files that cannot be objects are logged as a warning here; `usage` does not count them either.
            let objects = folder.list(&bucket, &prefix, after.as_ref(), limit)?;
            Ok(ObjectListing { objects, ..ObjectListing::default() })
        };
        self.read("list objects", list).await
    }

    async fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        let bucket = bucket.clone();
        self.read("count objects", move |folder| folder.usage(&bucket, limit)).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>> {
        let measure = |folder: &ObjectFolder| {
            let root = folder.root();
            let existing = root.ancestors().find(|path| path.exists()).unwrap_or(root);
            crate::base::capacity(existing).map(Some)
        };
        self.run("measure the disk", measure).await
    }
}
