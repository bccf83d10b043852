//! What all parts of the embedded profile share: the open mode, file errors, free space. Imports none of them.

use std::any::Any;
use std::fs::{File, FileType, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use mfctl_core::domain::host_errors::{HOST_EXHAUSTED_HINT, is_host_exhausted};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Capacity, Error, ErrorKind, Result};

/// Whether opening a data folder may create or migrate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For `init`, `demo`, `ingest` and the workers: creates a missing folder and migrates an older one.
    MayCreate,
    /// For every other verb: a missing folder or an older format is an error.
    MustExist,
}

/// The port's error for an error of the file system; `what` names the operation.
#[must_use]
pub fn io_error(error: std::io::Error, what: impl Into<String>) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, hint) = match error.kind() {
        _ if is_host_exhausted(&error) => (ErrorKind::Full, Some(HOST_EXHAUSTED_HINT)),
        Io::NotFound => (ErrorKind::NotFound, None),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            (ErrorKind::Denied, Some("check who owns the data folder, and its permissions"))
        }
        Io::StorageFull | Io::QuotaExceeded => {
            (ErrorKind::Full, Some("free space on the data folder's disk, then try again: nothing was lost"))
        }
        Io::NotADirectory | Io::IsADirectory => (ErrorKind::Invalid, None),
        _ => (ErrorKind::Internal, None),
    };
    let mapped = Error::new(kind, what);
    let mapped = match hint {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    };
    mapped.because(error)
}

/// The port's error for a panic, which is a defect of mfctl; `what` names the operation.
pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(ErrorKind::Internal, format!("{what}: defect: {text}"))
}

/// Opens a file to read it. A FIFO in its place is not waited for.
///
/// # Errors
/// Those of `open(2)`.
pub fn open_at_once(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// What an entry is that is neither a file, nor a folder, nor a link; `None` for these.
#[must_use]
pub fn special_file(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_fifo() => Some("a FIFO"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        _ => None,
    }
}

/// Total and free bytes of the file system that holds `path`, which need not be a data folder.
///
/// # Errors
/// When `statvfs(3)` fails.
pub fn capacity(path: &Path) -> Result<Capacity> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| io_error(errno.into(), format!("read the free space of {}", path.shown())))?;
    Ok(stat.into())
}
