//! The right to work on a job: a lock of the kernel's on `<locks>/jobs/<job id>`, with the holder's process id in it.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::base::io_error;
use crate::locks;
use mfctl_core::domain::JobId;
use mfctl_core::ports::{Error, ErrorKind, JobLease, Result};

/// How long a lease is tried for: whoever only asks whether it is taken holds it for a moment too.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(10);

/// Frees the lock when dropped; the kernel does if the process dies.
struct Lease(std::fs::File);

impl JobLease for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing would free it too, but not while a child that inherited the descriptor lives.
        locks::unlock(&self.0);
    }
}

pub(super) async fn take(folder: &Path, job: JobId) -> Result<Box<dyn JobLease>> {
    std::fs::create_dir_all(folder).map_err(|error| io_error(error, format!("make {}", folder.display())))?;
    let path = path(folder, job);
    let mut file = locks::open(&path)?;
    for turn in 0..TRIES {
        if turn > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        if try_lock(&file, FlockOperation::NonBlockingLockExclusive, &path)? {
            // For people only: the lock is what counts.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            return Ok(Box::new(Lease(file)));
        }
    }
    Err(taken(job, &mut file))
}

/// Whether somebody holds it. Makes no file.
pub(super) fn is_taken(folder: &Path, job: JobId) -> Result<bool> {
    let path = path(folder, job);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(error, format!("open lock file {}", path.display()))),
    };
    // Shared, so that two that ask do not meet each other's.
    Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared, &path)?)
}

fn path(folder: &Path, job: JobId) -> PathBuf {
    folder.join(job.to_string())
}

fn try_lock(file: &std::fs::File, how: FlockOperation, path: &Path) -> Result<bool> {
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno.into(), format!("lock {}", path.display()))),
        }
    }
}

fn taken(job: JobId, file: &mut std::fs::File) -> Error {
    let mut holder = String::new();
    let read = file.rewind().and_then(|()| file.take(20).read_to_string(&mut holder));
    let holder = match read.ok().and_then(|_| holder.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    };
    Error::new(ErrorKind::Locked, format!("{holder} is working on job {job}"))
        .hint(format!("follow it with `mfctl jobs show {job} --watch`, or stop it first"))
}
