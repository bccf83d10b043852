//! A worker's name in its group: the given one, or the host and the lowest free slot. A lock file holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::DaemonError;
use mfctl_core::domain::Stage;

/// Slots of one stage on one host.
pub(super) const MAX_SLOTS: u32 = 1024;

/// An instance name that this process holds until the value is dropped; the kernel releases the lock of a process that
/// dies.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    _lock: File,
}

impl Instance {
    /// Acquires the name `wanted`, or that of the lowest free slot.
    ///
    /// # Errors
    /// `InstanceTaken` when another process holds the name; `LockFolder` when the lock files cannot be created.
    pub(super) fn acquire(data_dir: &Path, stage: Stage, wanted: Option<&str>) -> Result<Self, DaemonError> {
        let folder = data_dir.join("locks").join("instances");
        let unusable = |source| DaemonError::LockFolder { folder: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        if let Some(name) = wanted {
            check_name(name)?;
            let lock = try_lock(&folder.join(format!("{stage}-{name}"))).map_err(unusable)?;
            let taken = || DaemonError::InstanceTaken { stage, name: name.to_owned() };
            return Ok(Self { name: name.to_owned(), _lock: lock.ok_or_else(taken)? });
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for slot in 0..MAX_SLOTS {
            if let Some(lock) = try_lock(&folder.join(format!("{stage}-{slot}"))).map_err(unusable)? {
                return Ok(Self { name: format!("{host}/{slot}"), _lock: lock });
            }
        }
        Err(DaemonError::NoFreeSlot { stage })
    }
}

fn check_name(name: &str) -> Result<(), DaemonError> {
    let valid = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if valid { Ok(()) } else { Err(DaemonError::InvalidInstance) }
}

/// Locks a file, which is created if needed; `None` when another process holds the lock.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    // Read as well: a FIFO that is only written to would be waited for.
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_slot_is_acquired() {
        let folder = tempfile::tempdir().unwrap();
        let slot = |instance: &Instance| instance.name.rsplit('/').next().unwrap().to_owned();
        let acquire = || Instance::acquire(folder.path(), Stage::Persist, None).unwrap();
        let first = acquire();
        let second = acquire();
        assert_eq!((slot(&first), slot(&second)), ("0".into(), "1".into()));
        drop(first);
        assert_eq!(slot(&acquire()), "0");
    }

    #[test]
    fn a_name_has_one_owner_per_stage() {
        let folder = tempfile::tempdir().unwrap();
        let acquire = |stage, name| Instance::acquire(folder.path(), stage, Some(name));
        let held = acquire(Stage::Persist, "a").unwrap();
        let taken = acquire(Stage::Persist, "a").unwrap_err();
        assert!(matches!(taken, DaemonError::InstanceTaken { .. }), "{taken}");
        assert!(acquire(Stage::Enrich, "a").is_ok());
        let invalid = acquire(Stage::Enrich, "../a").unwrap_err();
        assert!(matches!(invalid, DaemonError::InvalidInstance), "{invalid}");
        drop(held);
    }
}
