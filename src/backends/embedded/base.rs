//! What every part of the embedded profile stands on. Imports nothing of it.

use crate::ports::{Error, ErrorKind};

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
