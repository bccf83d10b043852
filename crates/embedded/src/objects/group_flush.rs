//! Group flush: one flush of the file system makes the writes of every waiting caller durable.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::file_ops::{file_error, run_blocking};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Shares flushes among callers: each returns when a flush that began after its call has succeeded.
pub(super) struct GroupFlush {
    folder: PathBuf,
    /// The number of flushes begun so far.
    pub(super) begun: AtomicU64,
    /// Locked while a flush runs.
    pub(super) state: Mutex<FlushState>,
}

#[derive(Default)]
pub(super) struct FlushState {
    /// The number of the latest flush that succeeded.
    succeeded: u64,
    /// Kept open: Linux reports a failed writeback since the last flush once to each open file description.
    handle: Option<Arc<File>>,
}

impl GroupFlush {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, begun: AtomicU64::new(0), state: Mutex::new(FlushState::default()) }
    }

    /// Returns when everything written before the call is durable.
    pub(super) async fn flush(&self) -> Result<()> {
        // A flush that is running may have passed our files already: only the next one counts.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut state = self.state.lock().await;
        if state.succeeded >= needed {
            return Ok(());
        }
        let current = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let folder = self.folder.clone();
        let handle = state.handle.clone();
        let handle = run_blocking("flush the object store", move || sync_file_system(&folder, handle)).await?;
        *state = FlushState { succeeded: current, handle: Some(handle) };
        Ok(())
    }
}

fn sync_file_system(folder: &Path, handle: Option<Arc<File>>) -> Result<Arc<File>> {
    let what = || format!("flush the file system of {}", folder.shown());
    let handle = match handle {
        Some(handle) => handle,
        None => Arc::new(File::open(folder).map_err(|error| match error.kind() {
            // No fault of what was stored: the folder was removed.
            io::ErrorKind::NotFound => Error::new(ErrorKind::Unreachable, what()).because(error),
            _ => file_error(what(), error),
        })?),
    };
    // On other systems than Linux each file and its folder are flushed as they are written: see `object_folder`.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&*handle).map_err(|error| file_error(what(), error.into()))?;
    Ok(handle)
}
