//! Free space on the disk: checked against an estimate before a run, and before each write.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidate::IngestCandidate;
use super::error::Error;
use super::input::JobInputs;
use super::rules::FileRules;
use super::walk;
use mfctl_core::domain::job::InputKind;
use mfctl_core::humane;
use mfctl_core::ports::{self, Capacity, ErrorKind, ObjectStore};
use mfctl_core::stop::Stop;

/// An estimate ends after this long, with what it has counted by then.
const MAX_DURATION: Duration = Duration::from_millis(700);
/// An estimate ends after this many files, with what it has counted by then.
const MAX_FILES: u64 = 500_000;

/// How much a source holds, as far as it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceEstimate {
    /// Files counted.
    pub files: u64,
    /// Bytes of those that are not refused.
    pub bytes: u64,
    /// Whether the whole source was counted.
    pub complete: bool,
}

/// Counts the files that a run would take, within [`MAX_DURATION`]. `inputs` are those that were read: others count as
/// empty.
///
/// # Errors
/// A list or manifest that is invalid as a whole.
pub(super) fn estimate(rules: &FileRules, inputs: &JobInputs, stop: &Stop) -> Result<SourceEstimate, Error> {
    let mut estimate = SourceEstimate::default();
    let started = Instant::now();
    let mut count = |candidate: IngestCandidate| {
        estimate.files += 1;
        if candidate.refused.is_none() && candidate.size_hint <= rules.spec.max_size_bytes {
            estimate.bytes = estimate.bytes.saturating_add(candidate.size_hint);
        }
        if estimate.files.is_multiple_of(256) && started.elapsed() > MAX_DURATION || estimate.files >= MAX_FILES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let walked = walk::walk(rules, inputs, &Arc::default(), stop, &mut count)?;
    let read = |kind| !rules.spec.has_input(kind) || inputs.ended(kind);
    estimate.complete = walked.is_continue() && read(InputKind::List) && read(InputKind::Manifest);
    Ok(estimate)
}

/// Keeps a share of the disk free.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreeSpaceGuard {
    /// The share of the disk, in percent, that has to stay free.
    pub(super) min_free_percent: f64,
}

impl FreeSpaceGuard {
    /// Bytes that may still be written.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    fn writable_bytes(self, capacity: Capacity) -> u64 {
        let kept = (capacity.total_bytes as f64 * self.min_free_percent / 100.0) as u64;
        capacity.free_bytes.saturating_sub(kept)
    }

    /// Checks that this many bytes fit on the disk of a file.
    ///
    /// # Errors
    /// `StorageFull` if they do not; errors of `fstatvfs(3)`.
    pub(super) fn check_file(self, file: &File, bytes: u64) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(file)?;
        // As df(1) computes it: blocks reserved for root are neither used nor free.
        let blocks = disk.f_blocks.saturating_sub(disk.f_bfree) + disk.f_bavail;
        let capacity =
            Capacity { total_bytes: blocks * disk.f_frsize, free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize) };
        if self.writable_bytes(capacity) >= bytes {
            return Ok(());
        }
        let error = format!("less than {} % of the disk would stay free", self.min_free_percent);
        Err(io::Error::new(io::ErrorKind::StorageFull, error))
    }

    /// Checks that this many bytes fit.
    ///
    /// # Errors
    /// `Full` if they do not; errors of the store.
    pub(super) async fn check(self, objects: &dyn ObjectStore, bytes: u64) -> ports::Result<()> {
        match objects.capacity().await? {
            Some(capacity) if self.writable_bytes(capacity) < bytes => {
                let what = format!(
                    "writing {} would leave less than {} % of the disk free",
                    humane::bytes(bytes),
                    self.min_free_percent
                );
                Err(ports::Error::new(ErrorKind::Full, what).hint("free some space on the disk of the data folder"))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a run that would leave too little free space.
///
/// # Errors
/// [`Error::NoRoom`], or those of the store.
pub(super) async fn require(
    objects: &dyn ObjectStore,
    guard: FreeSpaceGuard,
    estimate: SourceEstimate,
) -> Result<(), Error> {
    let Some(capacity) = objects.capacity().await? else { return Ok(()) };
    if guard.writable_bytes(capacity) >= estimate.bytes.max(1) {
        return Ok(());
    }
    let more = if estimate.complete { "" } else { " or more" };
    Err(Error::NoRoom(format!(
        "{} in {}{more} would leave less than {} % of the disk free: it has {} of {} left",
        humane::bytes(estimate.bytes),
        humane::counted(estimate.files, "file", "files"),
        guard.min_free_percent,
        humane::bytes(capacity.free_bytes),
        humane::bytes(capacity.total_bytes),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_free_percent_of_the_disk_stays_free() {
        let guard = FreeSpaceGuard { min_free_percent: 10.0 };
        assert_eq!(guard.writable_bytes(Capacity { total_bytes: 1000, free_bytes: 150 }), 50);
        assert_eq!(guard.writable_bytes(Capacity { total_bytes: 1000, free_bytes: 90 }), 0);
    }
}
