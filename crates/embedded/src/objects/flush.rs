//! Durability in groups: one flush of the file system for everybody who waits.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::blocking;
use super::fault::fault;
use mfctl_core::ports::Result;

/// Shares flushes among callers: each returns when a flush that began after its call has ended well.
pub(super) struct Flush {
    folder: PathBuf,
    /// How many flushes have begun.
    pub(super) begun: AtomicU64,
    /// Held while one runs.
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    /// The number of the latest flush that ended well.
    ended: u64,
    /// Kept open: Linux tells each open file once of a write that failed in the background since the last flush.
    handle: Option<Arc<File>>,
}

impl Flush {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, begun: AtomicU64::new(0), gate: Mutex::new(Gate::default()) }
    }

    pub(super) async fn everything_so_far(&self) -> Result<()> {
        // One that is running now may have passed our files already: only the next one counts.
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut gate = self.gate.lock().await;
        if gate.ended >= needed {
            return Ok(());
        }
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let (folder, handle) = (self.folder.clone(), gate.handle.clone());
        let handle = blocking("flush the object store", move || flush(&folder, handle)).await?;
        *gate = Gate { ended: this, handle: Some(handle) };
        Ok(())
    }
}

fn flush(folder: &Path, handle: Option<Arc<File>>) -> Result<Arc<File>> {
    let what = || format!("flush the file system of {}", folder.display());
    let handle = match handle {
        Some(handle) => handle,
        None => Arc::new(File::open(folder).map_err(|error| fault(what(), error))?),
    };
    // Elsewhere than on Linux each file and its folder are flushed when they are written: see `publish`.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&*handle).map_err(|error| fault(what(), error.into()))?;
    Ok(handle)
}
