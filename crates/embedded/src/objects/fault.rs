//! What the operating system's refusals mean to the callers of the port.

use std::io;

use rustix::io::Errno;

use mfctl_core::ports::{Error, ErrorKind};

/// The port's error for a failed file operation; `what` says which.
pub(super) fn fault(what: impl Into<String>, error: io::Error) -> Error {
    let (kind, hint) = classify(&error);
    let fault = Error::new(kind, what).because(error);
    match hint {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

fn classify(error: &io::Error) -> (ErrorKind, Option<&'static str>) {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => (ErrorKind::Full, Some("free space on the disk of the data folder, or move the folder")),
        Some(Errno::DQUOT) => (ErrorKind::Full, Some("your disk quota is used up: free space or ask for more")),
        Some(Errno::ACCESS | Errno::PERM) => {
            (ErrorKind::Denied, Some("the data folder belongs to another user: run as that user, or choose another"))
        }
        Some(Errno::ROFS) => (ErrorKind::Denied, Some("the disk of the data folder is mounted read-only")),
        Some(Errno::NOENT) => (ErrorKind::NotFound, None),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::FBIG) => (ErrorKind::Invalid, None),
        Some(Errno::MFILE | Errno::NFILE) => (ErrorKind::Throttled, Some("raise the limit of open files (ulimit -n)")),
        Some(Errno::NOMEM | Errno::AGAIN | Errno::BUSY) => (ErrorKind::Throttled, None),
        Some(Errno::IO) => (ErrorKind::Unreachable, Some("the disk reports errors: see the kernel's log (dmesg)")),
        _ => (ErrorKind::Internal, None),
    }
}
