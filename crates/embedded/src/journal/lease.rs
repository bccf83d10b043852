//! The lease of a job: a file lock on `<locks>/jobs/<job id>`, with the holder's process id as its note.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::io_error;
use crate::locks::{self, FileLock};
use mfctl_core::domain::JobId;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, JobLease, Result};
use mfctl_core::wait::{Attempts, Backoff};

/// How long to try for a lease before its holder counts as one: [`is_leased`] holds the lock for a moment too.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(200);
const ACQUIRE_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(10));

/// Releases the lock when dropped; the kernel does if the process dies.
struct LockFileLease {
    _lock: FileLock,
}

impl JobLease for LockFileLease {}

/// Acquires the lease of a job. `Locked`, with the holder's process id, if another process works on it.
pub(super) async fn acquire(dir: &Path, job: JobId) -> Result<Box<dyn JobLease>> {
    std::fs::create_dir_all(dir).map_err(|error| io_error(error, format!("create {}", dir.shown())))?;
    let path = lock_path(dir, job);
    let mut attempts = Attempts::new(Instant::now() + ACQUIRE_TIMEOUT, ACQUIRE_BACKOFF);
    let mut lock = loop {
        if let Some(lock) = locks::try_lock_exclusive(&path)? {
            break lock;
        }
        if !attempts.pause().await {
            return Err(leased_by_another(job, &path));
        }
    };
    lock.write_note(&std::process::id().to_string());
    Ok(Box::new(LockFileLease { _lock: lock }))
}

/// Whether a process holds the lease. Creates no file.
pub(super) fn is_leased(dir: &Path, job: JobId) -> Result<bool> {
    locks::is_locked(&lock_path(dir, job))
}

fn lock_path(dir: &Path, job: JobId) -> PathBuf {
    dir.join(job.to_string())
}

fn leased_by_another(job: JobId, path: &Path) -> Error {
    let holder = match locks::read_note(path).trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    };
    Error::new(ErrorKind::Locked, format!("{holder} is working on job {job}"))
        .hint(format!("follow it with `mfctl jobs show {job} --watch`, or stop it first"))
}
