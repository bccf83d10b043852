//! Lock files: locks of the kernel's, which it frees when their process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use mfctl_core::ports::{Error, ErrorKind, Result};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would free it too, but not while a child that inherited the descriptor lives.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Opens a lock file, making it if it is missing.
///
/// # Errors
/// When it cannot be made or opened.
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| super::base::io_error(error, format!("open lock file {}", path.display())))
}

/// Waits for the lock.
///
/// # Errors
/// When the file cannot be opened or locked.
pub fn wait(path: &Path) -> Result<FileLock> {
    let file = open(path)?;
    exclusive(&file).map_err(|errno| failed(path, errno))?;
    Ok(FileLock { file })
}

/// Takes the lock if it is free.
///
/// # Errors
/// When the file cannot be opened or locked for another reason than that it is held.
pub fn try_now(path: &Path) -> Result<Option<FileLock>> {
    let file = open(path)?;
    match retried(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(Some(FileLock { file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(path, errno)),
    }
}

/// Waits for an exclusive lock on an open file.
///
/// # Errors
/// The kernel's error.
pub fn exclusive(file: &File) -> rustix::io::Result<()> {
    retried(|| rustix::fs::flock(file, FlockOperation::LockExclusive))
}

/// Frees a lock on an open file.
pub fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

fn retried(mut call: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::new(ErrorKind::Internal, format!("lock {}", path.display())).because(std::io::Error::from(errno))
}
