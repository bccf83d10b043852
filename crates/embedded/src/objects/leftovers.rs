//! Where objects are written before they get their name, and what to do with those whose writer died.
//!
//! Each process has a folder of its own, `<data>/tmp/<uuid>/`, and holds a lock on the file `lock` in it. The kernel
//! frees that lock however the process ends, so a folder whose lock is free has no owner.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::fault::fault;
use super::private_folder;
use mfctl_core::ports::Result;

const LOCK: &str = "lock";
/// A folder without a lock file is being made, or its maker died just then: after this long it is the latter.
const MAKING: Duration = Duration::from_secs(24 * 60 * 60);

/// Hands out paths on the objects' file system for files that are not yet objects.
pub(super) struct Workshop {
    root: PathBuf,
    /// Made when first asked for: a process that only reads leaves no trace.
    own: Mutex<Option<Own>>,
    next: AtomicU64,
}

struct Own {
    folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Drop for Own {
    fn drop(&mut self) {
        // Best effort: what stays is swept by the next process.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Workshop {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, own: Mutex::new(None), next: AtomicU64::new(0) }
    }

    /// A path that nothing is at, removed when the answer is dropped.
    pub(super) fn fresh(&self) -> Result<Unfinished> {
        let folder = {
            let mut own = self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match &*own {
                Some(own) => own.folder.clone(),
                None => own.insert(self.claim()?).folder.clone(),
            }
        };
        let path = folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        Ok(Unfinished { path, named: false })
    }

    /// Makes this process's folder, having removed those of the dead.
    fn claim(&self) -> Result<Own> {
        match self.sweep() {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed half-written objects of processes that died"),
            Err(error) => tracing::warn!(error = error.full(), "half-written objects could not be looked for"),
        }
        let what = || format!("make a folder in {}", self.root.display());
        loop {
            let folder = self.root.join(Uuid::new_v4().to_string());
            private_folder(&folder).map_err(|error| fault(what(), error))?;
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(LOCK));
            let lock = opened.map_err(|error| fault(what(), error))?;
            flock(&lock, FlockOperation::LockExclusive).map_err(|error| fault(what(), error.into()))?;
            // A sweep may have come between making the lock file and locking it; then the file is gone.
            if lock.metadata().map_err(|error| fault(what(), error))?.nlink() > 0 {
                return Ok(Own { folder, _lock: lock });
            }
        }
    }

    /// Removes the folders that have no owner; answers how many files were in them.
    fn sweep(&self) -> Result<u64> {
        let what = || format!("read {}", self.root.display());
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == Io::NotFound => return Ok(0),
            Err(error) => return Err(fault(what(), error)),
        };
        let mut removed = 0;
        for entry in entries {
            let folder = entry.map_err(|error| fault(what(), error))?.path();
            removed += sweep_folder(&folder).unwrap_or_else(|error| {
                tracing::warn!(folder = %folder.display(), %error, "half-written files could not be removed");
                0
            });
        }
        Ok(removed)
    }
}

fn sweep_folder(folder: &Path) -> std::io::Result<u64> {
    match File::open(folder.join(LOCK)) {
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
            if age > MAKING {
                fs::remove_dir_all(folder)?;
            }
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// A file that is not an object yet; removed when dropped, unless it was given its name.
pub(super) struct Unfinished {
    path: PathBuf,
    named: bool,
}

impl Unfinished {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file has its name now: nothing is left to remove.
    pub(super) fn named(mut self) {
        self.named = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            // Best effort: what stays is swept with its folder.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_removes_what_the_dead_left_and_spares_the_living() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("0"), "half").unwrap();
        let just_made = root.path().join("just-made");
        fs::create_dir(&just_made).unwrap();
        let living = Workshop::new(root.path().to_owned());
        let unfinished = living.fresh().unwrap();
        fs::write(unfinished.path(), "half").unwrap();
        assert!(!dead.exists(), "the first to write removes what the dead left");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("0"), "half").unwrap();

        assert_eq!(Workshop::new(root.path().to_owned()).sweep().unwrap(), 1);

        assert!(!dead.exists());
        assert!(just_made.exists() && unfinished.path().exists());
    }

    #[test]
    fn a_workshop_leaves_nothing_behind_when_its_process_ends_well() {
        let root = tempfile::tempdir().unwrap();
        let workshop = Workshop::new(root.path().join("tmp"));
        assert_eq!(workshop.sweep().unwrap(), 0);
        assert!(!root.path().join("tmp").exists(), "a sweep makes nothing");
        drop(workshop.fresh().unwrap());
        drop(workshop);
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }
}
