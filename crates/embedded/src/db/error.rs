//! Maps SQLite's errors to the ports': the kind decides how a caller reacts, the message names the operation.

use rusqlite::ErrorCode;

use mfctl_core::domain::host_errors::{HOST_EXHAUSTED_HINT, is_host_exhausted};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Adds the operation to the error of a statement.
pub trait SqlContext<T> {
    /// Maps SQLite's error to a port's; `what` names the operation, e.g. `stage assets`.
    ///
    /// # Errors
    /// The mapped error.
    fn during(self, what: &str) -> Result<T>;
}

impl<T> SqlContext<T> for rusqlite::Result<T> {
    fn during(self, what: &str) -> Result<T> {
        self.map_err(|error| from_sql(error, what))
    }
}

/// The port's error for an error of SQLite; `what` names the operation.
#[must_use]
pub fn from_sql(error: rusqlite::Error, what: &str) -> Error {
    if is_for_want_of_resources(&error) {
        return Error::new(ErrorKind::Full, what).hint(HOST_EXHAUSTED_HINT).because(error);
    }
    let kind = kind_of(&error);
    let mapped = Error::new(kind, what);
    let mapped = match hint_of(kind, error.sqlite_error_code()) {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    };
    mapped.because(error)
}

/// Whether SQLite failed because this host has run out of memory or open files. SQLite does not tell why it could not open a
/// file, so another is opened.
fn is_for_want_of_resources(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::OutOfMemory) => true,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
            std::fs::File::open("/dev/null").is_err_and(|error| is_host_exhausted(&error))
        }
        _ => false,
    }
}

fn kind_of(error: &rusqlite::Error) -> ErrorKind {
    match error {
        rusqlite::Error::QueryReturnedNoRows => ErrorKind::NotFound,
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::InvalidColumnType(..) => ErrorKind::Corrupt,
        other => other.sqlite_error().map_or(ErrorKind::Internal, kind_of_code),
    }
}

fn kind_of_code(error: &rusqlite::ffi::Error) -> ErrorKind {
    match error.code {
        ErrorCode::DiskFull => ErrorKind::Full,
        // The shared-memory file of the WAL cannot grow: the disk is full.
        ErrorCode::SystemIoFailure if error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => ErrorKind::Full,
        // The file is shorter than its own header says.
        ErrorCode::SystemIoFailure if error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ => {
            ErrorKind::Corrupt
        }
        // The disk failed: a dependency, not the record.
        ErrorCode::SystemIoFailure => ErrorKind::Unreachable,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorKind::Corrupt,
        ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::CannotOpen
        | ErrorCode::AuthorizationForStatementDenied => ErrorKind::Denied,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Timeout,
        ErrorCode::TooBig => ErrorKind::Invalid,
        ErrorCode::ConstraintViolation
            if matches!(
                error.extended_code,
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            ) =>
        {
            ErrorKind::Conflict
        }
        _ => ErrorKind::Internal,
    }
}

fn hint_of(kind: ErrorKind, code: Option<ErrorCode>) -> Option<&'static str> {
    match kind {
        ErrorKind::Full => Some("free space on the data folder's disk, then try again: nothing was lost"),
        ErrorKind::Corrupt if code.is_some() => Some(
            "the data folder's file is damaged: stop every mfctl on it and restore it from a backup; \
                 `mfctl audit` lists what is damaged",
        ),
        ErrorKind::Unreachable => {
            Some("the disk of the data folder fails: look at its free space, and for its errors in the kernel's log")
        }
        ErrorKind::Denied => Some("check who owns the data folder, and its permissions"),
        ErrorKind::Timeout => Some("another process holds the data folder: look for a stopped mfctl, then try again"),
        _ => None,
    }
}

/// The error of a transaction, for one of the requests that failed with it.
#[must_use]
pub(super) fn copy_of(error: &Error, what: &str) -> Error {
    let copy = Error::new(error.kind(), what.to_owned()).because(error.full());
    match error.hint_text() {
        Some(hint) => copy.hint(hint.to_owned()),
        None => copy,
    }
}
