//! SQLite's errors as the ports': the kind decides what happens next, the words say what was being done.

use rusqlite::ErrorCode;

use mfctl_core::ports::{Error, ErrorKind, Result};

/// Says what a statement was for when it fails.
pub trait SqlContext<T> {
    /// Turns SQLite's error into a port's; `what` says what was being done, e.g. `insert asset row`.
    ///
    /// # Errors
    /// The same error, with its kind and `what`.
    fn during(self, what: &str) -> Result<T>;
}

impl<T> SqlContext<T> for rusqlite::Result<T> {
    fn during(self, what: &str) -> Result<T> {
        self.map_err(|error| from_sql(error, what))
    }
}

/// A port's error of SQLite's.
#[must_use]
pub fn from_sql(error: rusqlite::Error, what: &str) -> Error {
    let kind = kind_of(&error);
    let mapped = Error::new(kind, what);
    let mapped = match hint_of(kind, error.sqlite_error_code()) {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    };
    mapped.because(error)
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
        // The index of the WAL cannot grow: nothing else makes it fail.
        ErrorCode::SystemIoFailure if error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => ErrorKind::Full,
        // The disk's fault, and no record's.
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
        ErrorKind::Corrupt if code.is_some() => {
            Some("the data folder's file is damaged: stop every mfctl on it and restore it from a backup")
        }
        ErrorKind::Unreachable => {
            Some("the disk of the data folder fails: look at its free space, and for its errors in the kernel's log")
        }
        ErrorKind::Denied => Some("check who owns the data folder, and its permissions"),
        ErrorKind::Timeout => Some("another process holds the data folder: look for a stopped mfctl, then try again"),
        _ => None,
    }
}

/// The same failure for another request of a group that failed together.
#[must_use]
pub(super) fn copy_of(error: &Error, what: &str) -> Error {
    let copy = Error::new(error.kind(), what.to_owned()).because(error.full());
    match error.hint_text() {
        Some(hint) => copy.hint(hint.to_owned()),
        None => copy,
    }
}
