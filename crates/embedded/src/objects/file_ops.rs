//! File operations that the parts of the object store share, and what their errors mean to callers of the port.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::thread_pool::ThreadPool;
use mfctl_core::domain::host_errors::{HOST_EXHAUSTED_HINT, is_host_exhausted};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Threads for file operations of this process. More would only wait for the same disk.
const MAX_THREADS: usize = 16;

static THREADS: LazyLock<ThreadPool<()>> = LazyLock::new(|| ThreadPool::new("mfctl-files", MAX_THREADS, || ()));

/// Runs work on a thread for file operations. Work that has begun runs to its end, even if the caller no longer waits for it.
pub(super) async fn run_blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    THREADS.run(what, |()| work()).await
}

/// Creates a folder and its ancestors with mode 0700. Existing ones stay as they are.
pub(super) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens an object's file to read it. Never follows a link, whose target is not the store's, and never waits for the writer
/// of a FIFO.
pub(super) fn open_object(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// When a file was stored, in milliseconds as in every other backend.
pub(super) fn modified_at(metadata: &Metadata) -> Timestamp {
    let milliseconds = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The port's error for a failed file operation; `what` names the operation.
pub(super) fn file_error(what: impl Into<String>, error: io::Error) -> Error {
    let (kind, hint) = classify(&error);
    let mapped = Error::new(kind, what).because(error);
    match hint {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    }
}

fn classify(error: &io::Error) -> (ErrorKind, Option<&'static str>) {
    if is_host_exhausted(error) {
        return (ErrorKind::Full, Some(HOST_EXHAUSTED_HINT));
    }
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => (ErrorKind::Full, Some("free space on the disk of the data folder, or move the folder")),
        Some(Errno::DQUOT) => (ErrorKind::Full, Some("your disk quota is used up: free space or ask for more")),
        Some(Errno::ACCESS | Errno::PERM) => (
            ErrorKind::Denied,
            Some("run mfctl as the user who owns the data folder, or correct the owner or mode of this entry"),
        ),
        Some(Errno::ROFS) => (ErrorKind::Denied, Some("the disk of the data folder is mounted read-only")),
        Some(Errno::NOENT) => (ErrorKind::NotFound, None),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::FBIG | Errno::LOOP) => {
            (ErrorKind::Invalid, None)
        }
        Some(Errno::BUSY) => (ErrorKind::Throttled, None),
        Some(Errno::IO) => (ErrorKind::Unreachable, Some("the disk reports errors: see the kernel's log (dmesg)")),
        _ => (ErrorKind::Internal, None),
    }
}
