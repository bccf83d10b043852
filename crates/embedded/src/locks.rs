//! File locks (`flock(2)`). The kernel releases them when the process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::base::{io_error, open_at_once};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, Result};

/// The longest note that is read back from a lock file, in bytes.
const MAX_NOTE_BYTES: u64 = 20;

/// An exclusive lock on a file, held until this is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Replaces the lock file's content. For people only: the lock is what counts, so a failure is ignored.
    pub fn write_note(&mut self, note: &str) {
        let _ = self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| write!(self.file, "{note}"));
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would release it too, but not while a child process that inherited the descriptor lives.
        unlock(&self.file);
    }
}

/// Opens a lock file, creating it if it is missing.
fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| open_failed(path, error))
}

/// Acquires the lock, blocking the thread until it is free.
///
/// # Errors
/// When the file cannot be opened or locked.
pub fn lock_exclusive(path: &Path) -> Result<FileLock> {
    let file = open(path)?;
    retry_interrupted(&file, FlockOperation::LockExclusive).map_err(|errno| lock_failed(path, errno))?;
    Ok(FileLock { file })
}

/// Acquires the lock if it is free; `None` if another process holds it.
///
/// # Errors
/// When the file cannot be opened, or cannot be locked for any other reason.
pub fn try_lock_exclusive(path: &Path) -> Result<Option<FileLock>> {
    let file = open(path)?;
    let locked = try_lock(&file, FlockOperation::NonBlockingLockExclusive, path)?;
    Ok(locked.then_some(FileLock { file }))
}

/// Whether a process holds the exclusive lock. Creates no file; a missing one is not locked.
///
/// # Errors
/// When the file cannot be opened, or cannot be locked for any other reason.
pub fn is_locked(path: &Path) -> Result<bool> {
    let file = match open_at_once(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(open_failed(path, error)),
    };
    // A shared lock, so that two processes that ask do not take each other for the holder. Closing the file releases
    // it.
    Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared, path)?)
}

/// The beginning of the note in a lock file; empty if there is none.
#[must_use]
pub fn read_note(path: &Path) -> String {
    let mut note = String::new();
    let read = open_at_once(path).and_then(|file| file.take(MAX_NOTE_BYTES).read_to_string(&mut note));
    read.map_or_else(|_| String::new(), |_| note)
}

/// Releases a lock on an open file.
pub fn unlock(file: &File) {
    let _ = flock(file, FlockOperation::Unlock);
}

/// Whether the lock was acquired; `false` if another process holds it.
fn try_lock(file: &File, operation: FlockOperation, path: &Path) -> Result<bool> {
    match retry_interrupted(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(lock_failed(path, errno)),
    }
}

fn retry_interrupted(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn open_failed(path: &Path, error: std::io::Error) -> Error {
    io_error(error, format!("open lock file {}", path.shown()))
}

fn lock_failed(path: &Path, errno: Errno) -> Error {
    io_error(errno.into(), format!("lock {}", path.shown()))
}
