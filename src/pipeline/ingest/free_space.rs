//! The share of a disk that stays free.

use std::fs::File;
use std::io;

use mfctl_core::humane;
use mfctl_core::ports::{self, Capacity, ErrorKind, ObjectStore};

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
    pub(super) fn writable_bytes(self, capacity: Capacity) -> u64 {
        let kept = (capacity.total_bytes as f64 * self.min_free_percent / 100.0) as u64;
        capacity.free_bytes.saturating_sub(kept)
    }

    /// Checks that this many bytes fit on the disk of a file.
    ///
    /// # Errors
    /// `StorageFull` if they do not; errors of `fstatvfs(3)`.
    pub(super) fn check_file(self, file: &File, bytes: u64) -> io::Result<()> {
        if self.writable_bytes(rustix::fs::fstatvfs(file)?.into()) >= bytes {
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
