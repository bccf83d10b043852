//! Errors of the operating system that are this host's fault, whatever it worked on.

use std::io;

use rustix::io::Errno;

/// What to do about [`is_host_exhausted`].
pub const HOST_EXHAUSTED_HINT: &str =
    "this host has run out of open files (`ulimit -n`), memory or processes: make room, and the work goes on";

/// Whether this host has run out of open files, memory or processes. Never the fault of a record or file.
#[must_use]
pub fn is_host_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_host_lacks_is_its_fault() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
            assert!(is_host_exhausted(&errno.into()), "{errno}");
        }
        assert!(!is_host_exhausted(&Errno::NOENT.into()) && !is_host_exhausted(&io::Error::other("x")));
    }
}
