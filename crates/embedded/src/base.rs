//! What every part of the embedded profile stands on. Imports nothing of it.

use std::path::Path;

use mfctl_core::ports::{Capacity, Error, ErrorKind, Result};

/// Whether opening may make what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// `init`, `demo`, `ingest` and the workers: make the folder, migrate an older one.
    MayCreate,
    /// Every other verb: a missing folder is an error, an older format is left as it is.
    MustExist,
}

/// A port's error of the file system's.
#[must_use]
pub fn io_error(error: std::io::Error, what: impl Into<String>) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, hint) = match error.kind() {
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

/// Room on the disk that holds `path`, which need not be a data folder.
///
/// # Errors
/// When the file system does not say.
pub fn capacity(path: &Path) -> Result<Capacity> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| io_error(errno.into(), format!("ask the file system of {} for its room", path.display())))?;
    let block = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    // As df reckons: what is reserved for others is neither used nor free.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(Capacity { total_bytes: (used + stat.f_bavail) * block, free_bytes: stat.f_bavail * block })
}
