//! Group flush: one flush of the file system makes the writes of every waiting caller durable.
//!
//! Linux reports lost pages to one flush of each open file description, and the next flush succeeds although they were
//! never written. Whose pages they were is not known. So the folder is opened before the first write, and a failed
//! flush is final: this process uses the store no more, and the next one repeats what this one had not committed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;

use super::file_ops::{file_error, run_blocking};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Flushes the file system of an open folder.
type FlushFileSystem = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// Shares flushes among callers: each returns when a flush that began after its call has succeeded.
pub(super) struct GroupFlush {
    folder: Arc<FlushedFolder>,
    /// The number of flushes begun so far.
    pub(super) begun: AtomicU64,
    /// The number of the latest flush that succeeded. Locked while a flush runs.
    pub(super) succeeded: Arc<Mutex<u64>>,
}

impl GroupFlush {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self::with_flush(folder, Box::new(flush_file_system))
    }

    pub(super) fn with_flush(folder: PathBuf, flush: FlushFileSystem) -> Self {
        let folder = FlushedFolder { path: folder, handle: OnceLock::new(), failed: OnceLock::new(), flush };
        Self { folder: Arc::new(folder), begun: AtomicU64::new(0), succeeded: Arc::default() }
    }

    /// The folder whose file system is flushed.
    pub(super) fn folder(&self) -> Arc<FlushedFolder> {
        Arc::clone(&self.folder)
    }

    /// Returns when everything written before the call is durable.
    pub(super) async fn flush(&self) -> Result<()> {
        // A flush that is running may have passed our files already: only the next one counts.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut succeeded = Arc::clone(&self.succeeded).lock_owned().await;
        self.folder.check()?;
        if *succeeded >= needed {
            return Ok(());
        }
        let current = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let folder = self.folder();
        // The lock is held, and the outcome kept, also when the caller is cancelled.
        let flush = move || folder.flush().map(|()| *succeeded = current);
        run_blocking("flush the object store", flush).await
    }
}

/// A folder, and whether a flush of its file system has failed.
pub(super) struct FlushedFolder {
    path: PathBuf,
    /// Kept open from the first write on.
    handle: OnceLock<File>,
    failed: OnceLock<FailedFlush>,
    flush: FlushFileSystem,
}

/// The first flush that failed.
struct FailedFlush {
    kind: ErrorKind,
    error: String,
}

impl FlushedFolder {
    /// Makes sure that lost pages of what is written from now on are reported to this process.
    ///
    /// # Errors
    /// As [`FlushedFolder::check`], and when the folder cannot be opened. One that does not exist is no error: nothing
    /// can be written to it.
    pub(super) fn watch(&self) -> Result<()> {
        self.check()?;
        match self.open() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(self.what(), error)),
            _ => Ok(()),
        }
    }

    /// Fails once a flush has failed: what this process has written may be lost, and what it reads may not be on the
    /// disk.
    pub(super) fn check(&self) -> Result<()> {
        let Some(FailedFlush { kind, error }) = self.failed.get() else { return Ok(()) };
        let what = "use the object store: what this process has stored may be lost";
        let hint = "look for errors of the disk in the kernel's log, then start mfctl again: it repeats what it had not \
                    finished";
        Err(Error::new(*kind, what).because(error.clone()).hint(hint))
    }

    fn flush(&self) -> Result<()> {
        let handle = self.open().map_err(|error| match error.kind() {
            // No fault of what was stored: the folder was removed.
            io::ErrorKind::NotFound => Error::new(ErrorKind::Unreachable, self.what()).because(error),
            _ => file_error(self.what(), error),
        })?;
        let Err(error) = (self.flush)(handle) else { return Ok(()) };
        let error = file_error(self.what(), error);
        self.failed.get_or_init(|| FailedFlush { kind: error.kind(), error: error.full() });
        self.check()
    }

    fn open(&self) -> io::Result<&File> {
        match self.handle.get() {
            Some(handle) => Ok(handle),
            None => File::open(&self.path).map(|opened| self.handle.get_or_init(|| opened)),
        }
    }

    fn what(&self) -> String {
        format!("flush the file system of {}", Path::new(&self.path).shown())
    }
}

/// On other systems than Linux each file and its folder are flushed as they are written: see `object_folder`.
fn flush_file_system(folder: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(folder)?;
    let _ = folder;
    Ok(())
}
