//! Temporary files on the objects' file system: objects are written here before they get their key. Also removes those
//! of processes that died.
//!
//! Each process has a folder of its own, `<data>/tmp/<uuid>/`, and holds a lock on the file `lock` in it. The kernel
//! releases that lock however the process ends, so a folder whose lock is free has no owner.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::file_ops::{create_private_folder, file_error, open_object};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::Result;

const LOCK: &str = "lock";
/// A folder without a lock file is being created, or its process died just then; at this age it is the latter.
const STALE_FOLDER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Allocates temporary files in this process's own folder.
pub(super) struct TempFiles {
    root: PathBuf,
    /// Created on first use: a process that only reads leaves no trace.
    own: Mutex<Option<LockedFolder>>,
    next: AtomicU64,
}

/// This process's folder; removed when dropped.
struct LockedFolder {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Drop for LockedFolder {
    fn drop(&mut self) {
        // Best effort: the next process sweeps what is left.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl TempFiles {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, own: Mutex::new(None), next: AtomicU64::new(0) }
    }

    /// An unused path for a new file.
    pub(super) fn allocate(&self) -> Result<TempFile> {
        let folder = {
            let mut own = self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match &*own {
                // Another program may have deleted it.
                Some(own) if own.path.is_dir() => own.path.clone(),
                _ => own.insert(self.create_own()?).path.clone(),
            }
        };
        let path = folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        Ok(TempFile { path, published: false })
    }

    /// Creates and locks this process's folder, after a sweep.
    fn create_own(&self) -> Result<LockedFolder> {
        match self.sweep() {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed half-written objects of processes that died"),
            Err(error) => tracing::warn!(error = error.full(), "could not sweep half-written objects"),
        }
        let what = || format!("create a folder in {}", self.root.shown());
        loop {
            let path = self.root.join(Uuid::new_v4().to_string());
            create_private_folder(&path).map_err(|error| file_error(what(), error))?;
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(LOCK));
            let lock = opened.map_err(|error| file_error(what(), error))?;
            flock(&lock, FlockOperation::LockExclusive).map_err(|error| file_error(what(), error.into()))?;
            // A sweep between the creation of the lock file and its lock has removed the file; then try again.
            if lock.metadata().map_err(|error| file_error(what(), error))?.nlink() > 0 {
                return Ok(LockedFolder { path, _lock: lock });
            }
        }
    }

    /// Removes the folders that have no owner. Returns how many files were in them.
    fn sweep(&self) -> Result<u64> {
        let what = || format!("read {}", self.root.shown());
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == Io::NotFound => return Ok(0),
            Err(error) => return Err(file_error(what(), error)),
        };
        let mut removed = 0;
        for entry in entries {
            let folder = entry.map_err(|error| file_error(what(), error))?.path();
            removed += sweep_folder(&folder).unwrap_or_else(|error| {
                tracing::warn!(folder = %folder.shown(), %error, "could not remove half-written objects");
                0
            });
        }
        Ok(removed)
    }
}

fn sweep_folder(folder: &Path) -> std::io::Result<u64> {
    match open_object(&folder.join(LOCK)) {
        Ok(lock) => {
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(0);
            }
            let files = fs::read_dir(folder)?.count() as u64;
            fs::remove_dir_all(folder)?;
            Ok(files.saturating_sub(1))
        }
        Err(error) if error.kind() == Io::NotFound => {
            let age = SystemTime::now().duration_since(folder.metadata()?.modified()?).unwrap_or_default();
            if age > STALE_FOLDER_AGE {
                fs::remove_dir_all(folder)?;
            }
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// A file that is not an object yet; removed when dropped, unless it was renamed to its key.
pub(super) struct TempFile {
    path: PathBuf,
    published: bool,
}

impl TempFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file was renamed to its key: nothing is left to remove.
    pub(super) fn mark_published(mut self) {
        self.published = true;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: what is left is swept with its folder.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_removes_only_folders_without_an_owner() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("0"), "half").unwrap();
        let just_created = root.path().join("just-created");
        fs::create_dir(&just_created).unwrap();
        let live = TempFiles::new(root.path().to_owned());
        let temp_file = live.allocate().unwrap();
        fs::write(temp_file.path(), "half").unwrap();
        assert!(!dead.exists(), "the first write sweeps the folders of dead processes");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("0"), "half").unwrap();

        assert_eq!(TempFiles::new(root.path().to_owned()).sweep().unwrap(), 1);

        assert!(!dead.exists());
        assert!(just_created.exists() && temp_file.path().exists());
    }

    #[test]
    fn a_folder_that_was_deleted_is_created_again() {
        let root = tempfile::tempdir().unwrap();
        let temp_files = TempFiles::new(root.path().join("tmp"));
        let first = temp_files.allocate().unwrap();
        fs::remove_dir_all(root.path().join("tmp")).unwrap();
        let second = temp_files.allocate().unwrap();
        fs::write(second.path(), "half").unwrap();
        assert_ne!(first.path().parent(), second.path().parent());
    }

    #[test]
    fn a_clean_exit_leaves_no_temporary_files() {
        let root = tempfile::tempdir().unwrap();
        let temp_files = TempFiles::new(root.path().join("tmp"));
        assert_eq!(temp_files.sweep().unwrap(), 0);
        assert!(!root.path().join("tmp").exists(), "a sweep creates nothing");
        drop(temp_files.allocate().unwrap());
        drop(temp_files);
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }
}
