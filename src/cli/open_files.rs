//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::{Failure, Result};

/// The fewest open files that a worker needs: those of 64 records at a time, the data folder's and its connections.
const MIN_FOR_WORKER: u64 = 256;

/// Raises the soft limit to the hard limit, as far as the system allows.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // What counts is the limit that a worker finds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Checks that a worker may open enough files.
///
/// # Errors
/// `Invalid` (exit 6) below [`MIN_FOR_WORKER`].
pub(super) fn check_for_worker() -> Result<()> {
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < MIN_FOR_WORKER => {
            let message = format!("this process may open {files} files, and a worker needs at least {MIN_FOR_WORKER}");
            Err(Failure::invalid(message).hint(
                "raise the hard limit: `ulimit -Hn`, or LimitNOFILE= of the systemd unit; mfctl raises the soft limit",
            ))
        }
        _ => Ok(()),
    }
}
