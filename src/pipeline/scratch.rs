//! Folders for temporary files of the enrich step.
//!
//! Each process has one, `mfctl-enrich-*` in the system's folder for temporary files, whose file `lock` it holds locked:
//! the kernel releases the lock of a process that dies. [`sweep`] deletes those whose lock is free.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "mfctl-enrich-";
const LOCK_FILE: &str = "lock";
/// A folder without a lock file is of an earlier version, which made one per record. It is abandoned after this time.
const UNLOCKED_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// This process's folder for temporary files, created when it is first needed and deleted with this.
#[derive(Debug)]
pub struct Scratch {
    parent: PathBuf,
    folder: Mutex<Option<LockedFolder>>,
}

/// A folder whose lock this process holds.
#[derive(Debug)]
struct LockedFolder {
    // Declared, and so dropped, before its lock.
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A folder within `parent`.
    #[must_use]
    pub fn new(parent: impl Into<PathBuf>) -> Self {
        Self { parent: parent.into(), folder: Mutex::new(None) }
    }

    /// A new folder for one record, deleted when it is dropped.
    ///
    /// # Errors
    /// Those of creating it.
    pub fn folder(&self) -> io::Result<TempDir> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(locked) = &*folder {
            match tempfile::Builder::new().prefix("record-").tempdir_in(locked.folder.path()) {
                // Another program has deleted the folder, as one that tidies up old temporary files does.
                Err(error) if error.kind() == io::ErrorKind::NotFound => *folder = None,
                made => return made,
            }
        }
        let locked = folder.insert(LockedFolder::create_in(&self.parent)?);
        tempfile::Builder::new().prefix("record-").tempdir_in(locked.folder.path())
    }
}

impl LockedFolder {
    fn create_in(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // The file gets its name once it is locked: a sweep that finds it unlocked knows that its process is gone.
        let unnamed = folder.path().join("lock.new");
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        lock.lock()?;
        std::fs::rename(&unnamed, folder.path().join(LOCK_FILE))?;
        Ok(Self { folder, _lock: lock })
    }
}

/// What [`sweep`] did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Abandoned folders that were deleted.
    pub deleted: u64,
    /// Abandoned folders that could not be deleted, with the errors.
    pub failed: Vec<(PathBuf, io::Error)>,
}

/// Deletes the folders in `parent` that this user's processes left behind: never one whose lock is held, and nothing that is
/// not a folder of this module. Blocks.
///
/// # Errors
/// Those of listing `parent`.
pub fn sweep(parent: &Path) -> io::Result<Swept> {
    let mut swept = Swept::default();
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
            continue;
        }
        match sweep_one(&path) {
            Ok(deleted) => swept.deleted += u64::from(deleted),
            // Another process deletes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => swept.failed.push((path, error)),
        }
    }
    Ok(swept)
}

/// Deletes a folder if it is abandoned; whether it was.
fn sweep_one(path: &Path) -> io::Result<bool> {
    // Of the entry itself: a symbolic link is not followed.
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let lock = match open_lock(&path.join(LOCK_FILE)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_older(&metadata, UNLOCKED_AGE) => {
            std::fs::remove_dir_all(path)?;
            return Ok(true);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        // The lock is held until the folder is gone, so that no other process deletes it at the same time.
        Ok(()) => std::fs::remove_dir_all(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

fn is_older(metadata: &Metadata, age: Duration) -> bool {
    metadata.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed > age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn names(parent: &Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(parent).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn age(path: &Path) {
        let old = SystemTime::now() - UNLOCKED_AGE - Duration::from_secs(60);
        File::open(path).unwrap().set_modified(old).unwrap();
    }

    #[test]
    fn a_folder_in_use_stays_and_one_of_a_dead_process_goes() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path());
        let record = scratch.folder().unwrap();
        let dead = parent.path().join("mfctl-enrich-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK_FILE), "").unwrap();
        std::fs::write(dead.join("original"), "bytes").unwrap();
        let swept = sweep(parent.path()).unwrap();
        assert_eq!((swept.deleted, swept.failed.len()), (1, 0));
        assert!(record.path().exists() && !dead.exists());
        drop(record);
        drop(scratch);
        assert_eq!(names(parent.path()), Vec::<String>::new());
    }

    #[test]
    fn a_folder_without_a_lock_goes_after_a_day_and_nothing_else_does() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("kept"), "").unwrap();
        let at = |name: &str| parent.path().join(name);
        for folder in ["mfctl-enrich-young", "mfctl-enrich-old", "mfctl-other", "another"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("mfctl-enrich-file"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), at("mfctl-enrich-link")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), at("mfctl-enrich-old").join("link")).unwrap();
        for old in ["mfctl-enrich-old", "mfctl-other", "another", "mfctl-enrich-file"] {
            age(&at(old));
        }
        assert_eq!(sweep(parent.path()).unwrap().deleted, 1);
        let left = ["another", "mfctl-enrich-file", "mfctl-enrich-link", "mfctl-enrich-young", "mfctl-other"];
        assert_eq!(names(parent.path()), left);
        assert_eq!(names(elsewhere.path()), ["kept"]);
    }

    #[test]
    fn a_folder_that_was_deleted_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path());
        drop(scratch.folder().unwrap());
        for name in names(parent.path()) {
            std::fs::remove_dir_all(parent.path().join(name)).unwrap();
        }
        assert!(scratch.folder().unwrap().path().exists());
    }
}
