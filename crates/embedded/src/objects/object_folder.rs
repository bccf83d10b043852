//! The folder of buckets: stores objects (write to a temporary file, then rename or link it to the key) and removes them.
//! Blocking. [`super::verified_copy`] copies them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file_ops::{create_private_folder, file_error, modified_at};
use super::temp_files::{TempFile, TempFiles};
use super::walk::{self, ListingCache};
use crate::base::special_file;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef};
use mfctl_core::ports::{BucketUsage, ByteSource, Error, ErrorKind, ListedObject, ObjectInfo, Result};

/// Bytes copied at once. A small object takes one read and one write.
const BUFFER_BYTES: u64 = 1024 * 1024;
/// How often to try to create a key whose folders other processes keep pruning. A try fails only if an empty folder is
/// removed between two system calls.
pub(super) const MAX_TRIES: usize = 64;

/// `<data>/objects` and the temporary files beside it.
pub(super) struct ObjectFolder {
    root: PathBuf,
    pub(super) temp_files: TempFiles,
    listings: ListingCache,
}

impl ObjectFolder {
    /// The folder of this data folder. Creates nothing.
    pub(super) fn new(data: &Path) -> Self {
        Self {
            root: data.join("objects"),
            temp_files: TempFiles::new(data.join("tmp")),
            listings: ListingCache::default(),
        }
    }

    /// `<data>/objects`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a bucket.
    pub(super) fn bucket(&self, bucket: &BucketName) -> PathBuf {
        self.root.join(bucket.as_str())
    }

    pub(super) fn path(&self, at: &ObjectRef) -> PathBuf {
        let mut path = self.bucket(&at.bucket);
        path.push(at.key.as_str());
        path
    }

    /// The path of a bucket; `Unprepared` if it does not exist.
    fn require_bucket(&self, bucket: &BucketName) -> Result<PathBuf> {
        let path = self.bucket(bucket);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(path),
            Ok(_) => Err(Error::new(ErrorKind::Corrupt, format!("open bucket {bucket}: {} is a file", path.shown()))),
            Err(error) if error.kind() == Io::NotFound => {
                Err(Error::new(ErrorKind::Unprepared, format!("bucket {bucket} does not exist"))
                    .hint(format!("restore the folder {}, or mount the disk that holds it", path.shown())))
            }
            Err(error) => Err(file_error(format!("open bucket {bucket}"), error)),
        }
    }

    /// Creates the missing buckets. Returns whether any was missing.
    pub(super) fn create_buckets(&self, buckets: &[BucketName]) -> Result<bool> {
        let mut created = false;
        for bucket in buckets {
            let path = self.bucket(bucket);
            created |= !path.is_dir();
            create_private_folder(&path).map_err(|error| file_error(format!("create bucket {bucket}"), error))?;
        }
        Ok(created)
    }

    /// Objects of a bucket by key: at most `limit` whose key begins with `prefix` and sorts after `after`.
    pub(super) fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>> {
        walk::list(&self.listings, &self.require_bucket(bucket)?, prefix, after, limit)
    }

    /// Objects and bytes of a bucket, counting at most `limit` objects.
    pub(super) fn usage(&self, bucket: &BucketName, limit: u64) -> Result<BucketUsage> {
        walk::usage(&self.require_bucket(bucket)?, limit)
    }

    pub(super) fn put(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<ObjectInfo> {
        let (temp_file, file, info) = self.write_temp_file(at, source)?;
        flush_file(&file).map_err(|error| file_error(format!("store object {at}"), error))?;
        self.rename_to_key(temp_file, at)?;
        Ok(info)
    }

    /// Durable before it has its key: whoever finds the object later takes it for stored, without a flush.
    pub(super) fn put_new(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<ObjectInfo> {
        let (temp_file, file, info) = self.write_temp_file(at, source)?;
        file.sync_all().map_err(|error| file_error(format!("store object {at}"), error))?;
        self.link_to_new_key(temp_file, at)?;
        Ok(info)
    }

    /// Writes the whole object to a temporary file.
    fn write_temp_file(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<(TempFile, File, ObjectInfo)> {
        let temp_file = self.temp_files.allocate()?;
        let mut file = self.create(&temp_file, at)?;
        copy_source(&mut file, at, source)?;
        let metadata = file.metadata().map_err(|error| file_error(format!("store object {at}"), error))?;
        let info = ObjectInfo {
            at: at.clone(),
            size_bytes: metadata.len(),
            modified_at: modified_at(&metadata),
            sha256: None,
        };
        Ok((temp_file, file, info))
    }

    /// See [`mfctl_core::ports::ObjectStore::head`]. A folder, which holds other keys, and a link, whose bytes are not the
    /// store's, are no objects; neither is anything else that is no file, and that is damage.
    pub(super) fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        match self.path(at).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(ObjectInfo {
                at: at.clone(),
                size_bytes: metadata.len(),
                modified_at: modified_at(&metadata),
                sha256: None,
            })),
            Ok(metadata) => match special_file(metadata.file_type()) {
                Some(found) => Err(Error::new(ErrorKind::Corrupt, format!("object {at} is {found}, not a file"))
                    .hint("remove it: mfctl does not create such entries; then restore the object from a backup")),
                None => Ok(None),
            },
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => {
                self.require_bucket(&at.bucket).map(|_| None)
            }
            Err(error) => Err(file_error(format!("read the metadata of object {at}"), error)),
        }
    }

    /// The file of an object; `NotFound` if it does not exist.
    pub(super) fn existing_file(&self, at: &ObjectRef) -> Result<PathBuf> {
        match self.head(at)? {
            Some(_) => Ok(self.path(at)),
            None => Err(Error::new(ErrorKind::NotFound, format!("object {at} does not exist"))),
        }
    }

    /// Removes objects; returns how many there were.
    pub(super) fn delete(&self, at: &[ObjectRef]) -> Result<u64> {
        let mut removed = 0;
        let mut folders = BTreeSet::new();
        for object in at {
            let path = self.path(object);
            match fs::remove_file(&path) {
                Ok(()) => {
                    removed += 1;
                    folders.extend(path.parent().map(Path::to_path_buf));
                }
                // A folder at that path is not an object.
                Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory | Io::IsADirectory) => {
                    self.require_bucket(&object.bucket)?;
                }
                Err(error) => return Err(file_error(format!("remove object {object}"), error)),
            }
        }
        folders.iter().for_each(|folder| self.prune(folder));
        Ok(removed)
    }

    /// Removes a folder and its ancestors below the bucket while they are empty. Best effort: a folder that stays does
    /// no harm, and a writer that needs one creates it again.
    fn prune(&self, folder: &Path) {
        let mut folder = folder;
        while folder.parent().and_then(Path::parent).is_some_and(|grandparent| grandparent.starts_with(&self.root)) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
            let Some(parent) = folder.parent() else { return };
            folder = parent;
        }
    }

    /// Creates the temporary file, read-only for later openers.
    pub(super) fn create(&self, temp_file: &TempFile, at: &ObjectRef) -> Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(temp_file.path())
            .map_err(|error| file_error(format!("store object {at}"), error))
    }

    /// Renames a complete file to its key, replacing what is there.
    pub(super) fn rename_to_key(&self, temp_file: TempFile, at: &ObjectRef) -> Result<()> {
        let what = || format!("store object {at}");
        let target = self.path(at);
        for _ in 0..MAX_TRIES {
            let Err(error) = fs::rename(temp_file.path(), &target) else {
                temp_file.mark_published();
                return flush_folder_of(&target).map_err(|error| file_error(what(), error));
            };
            match error.kind() {
                Io::NotFound => self.create_folders_of(at)?,
                // An empty folder left by a removal is replaced; one that holds objects is in the way.
                Io::IsADirectory | Io::AlreadyExists if fs::remove_dir(&target).is_ok() => {}
                Io::IsADirectory | Io::NotADirectory => return Err(key_below_key(what(), error)),
                _ => return Err(file_error(what(), error)),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// Links a complete file to its key; `Conflict` if the key exists.
    pub(super) fn link_to_new_key(&self, temp_file: TempFile, at: &ObjectRef) -> Result<()> {
        let what = || format!("store object {at}");
        let target = self.path(at);
        for _ in 0..MAX_TRIES {
            let Err(error) = fs::hard_link(temp_file.path(), &target) else {
                return flush_folder_of(&target).map_err(|error| file_error(what(), error));
            };
            match error.kind() {
                Io::NotFound => self.create_folders_of(at)?,
                // An empty folder left by a removal is replaced; one that holds objects is in the way.
                Io::AlreadyExists if target.is_dir() && fs::remove_dir(&target).is_ok() => {}
                Io::AlreadyExists if target.is_dir() => return Err(key_below_key(what(), error)),
                Io::NotADirectory => return Err(key_below_key(what(), error)),
                _ if self.head(at)?.is_some() => {
                    return Err(Error::new(ErrorKind::Conflict, format!("{}: it exists already", what())));
                }
                Io::AlreadyExists if target.is_symlink() => {
                    return Err(Error::new(ErrorKind::Invalid, format!("{}: a link is in the way", what())));
                }
                // It was removed meanwhile: try again.
                Io::AlreadyExists => {}
                // No link is possible here.
                _ => return self.rename_to_key(temp_file, at),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// Creates the folders of a key, but never its bucket.
    pub(super) fn create_folders_of(&self, at: &ObjectRef) -> Result<()> {
        let what = || format!("create the folders of object {at}");
        self.require_bucket(&at.bucket)?;
        let path = self.path(at);
        let Some(parent) = path.parent() else { return Ok(()) };
        match create_private_folder(parent) {
            Ok(()) => Ok(()),
            Err(error) if let Some(link) = link_to_nothing(parent) => {
                Err(Error::new(ErrorKind::Unreachable, format!("{}: {} leads to nothing", what(), link.shown()))
                    .hint("mount what the link leads to, or remove the link")
                    .because(error))
            }
            // Another process pruned one of them at this moment: the caller tries again.
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            // Also if `mkdir` found one that was removed before it was examined.
            Err(error) if error.kind() == Io::AlreadyExists && !is_below_a_file(parent) => Ok(()),
            Err(error) if matches!(error.kind(), Io::NotADirectory | Io::AlreadyExists) => {
                Err(key_below_key(what(), error))
            }
            Err(error) => Err(file_error(what(), error)),
        }
    }
}

/// The link among these folders whose target does not exist, such as a disk that is not mounted.
fn link_to_nothing(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|above| above.is_symlink() && !above.exists())
}

/// Whether a folder cannot exist because it or an ancestor is a file.
fn is_below_a_file(folder: &Path) -> bool {
    folder.ancestors().any(|ancestor| ancestor.metadata().is_ok_and(|meta| !meta.is_dir()))
}

fn key_below_key(what: String, error: io::Error) -> Error {
    Error::new(ErrorKind::Invalid, what)
        .because(error)
        .hint("in the embedded profile an object's key cannot lie below another object's key")
}

/// Copies exactly `source.len()` bytes; `Invalid` if the source has more or fewer.
fn copy_source(file: &mut File, at: &ObjectRef, source: &dyn ByteSource) -> Result<()> {
    let expected = source.len();
    let unreadable =
        |error: io::Error| Error::new(ErrorKind::Invalid, format!("read the source of object {at}")).because(error);
    let mut reader = source.reader(0).map_err(unreadable)?;
    // One byte more than expected, so that the end is found without a second read.
    let mut buffer = vec![0; usize::try_from(expected.saturating_add(1).min(BUFFER_BYTES)).unwrap_or(1)];
    let mut written = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == Io::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        written += read as u64;
        if written > expected {
            break;
        }
        file.write_all(&buffer[..read]).map_err(|error| file_error(format!("store object {at}"), error))?;
    }
    if written == expected {
        return Ok(());
    }
    let actual = if written > expected { "more".to_owned() } else { format!("only {written}") };
    Err(Error::new(ErrorKind::Invalid, format!("store object {at}: expected {expected} bytes, found {actual}")))
}

/// Flushes a file where the file system cannot be flushed as a whole.
pub(super) fn flush_file(file: &File) -> io::Result<()> {
    if cfg!(target_os = "linux") { Ok(()) } else { file.sync_all() }
}

/// Flushes the folder of a new file, under the same condition.
pub(super) fn flush_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !cfg!(target_os = "linux") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
