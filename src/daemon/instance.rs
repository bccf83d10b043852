//! A worker's name in its group: the given one, or `<host>-<id of the data folder>/<slot>` with the lowest free slot. A lock
//! file holds it. Hosts may share a name, as containers do, and a host may have several data folders: the id tells them apart,
//! and is kept in the data folder, so that a worker has the same name after a restart.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use super::DaemonError;
use mfctl_core::domain::Stage;

/// Slots of one stage in one data folder.
pub(super) const MAX_SLOTS: u32 = 1024;

/// Length of a data folder's id.
const ID_DIGITS: usize = 8;

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
        fs::create_dir_all(&folder).map_err(unusable)?;
        if let Some(name) = wanted {
            check_name(name)?;
            let lock = try_lock(&folder.join(format!("{stage}-{name}"))).map_err(unusable)?;
            let taken = || DaemonError::InstanceTaken { stage, name: name.to_owned() };
            return Ok(Self { name: name.to_owned(), _lock: lock.ok_or_else(taken)? });
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = folder_id(&folder).map_err(unusable)?;
        for slot in 0..MAX_SLOTS {
            if let Some(lock) = try_lock(&folder.join(format!("{stage}-{slot}"))).map_err(unusable)? {
                return Ok(Self { name: format!("{host}-{id}/{slot}"), _lock: lock });
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

/// The id of the data folder with these lock files, which is made once: 8 hexadecimal digits.
fn folder_id(folder: &Path) -> io::Result<String> {
    let path = folder.join("id");
    if !path.try_exists()? {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let draft = folder.join(format!("id-{unique}"));
        let mut file = File::create_new(&draft)?;
        file.write_all(&unique.as_bytes()[..ID_DIGITS])?;
        file.sync_all()?;
        // The complete file gets its name, unless another process was first.
        let linked = fs::hard_link(&draft, &path);
        fs::remove_file(&draft)?;
        linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
        File::open(folder)?.sync_all()?;
    }
    let id = fs::read_to_string(&path)?;
    let is_valid = id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the file `id` in it is damaged: remove it");
    if is_valid { Ok(id) } else { Err(invalid()) }
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

    /// The name without its slot.
    fn acquired_prefix(folder: &Path) -> String {
        let instance = Instance::acquire(folder, Stage::Persist, None).unwrap();
        instance.name.rsplit_once('/').unwrap().0.to_owned()
    }

    #[test]
    fn the_name_differs_between_data_folders_and_stays_after_a_restart() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = [&folders[0], &folders[1]].map(|folder| acquired_prefix(folder.path()));
        assert_ne!(one, other);
        assert_eq!(one, acquired_prefix(folders[0].path()));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert_eq!(one.len(), format!("{host}-").len() + ID_DIGITS, "{one}");
        assert!(one.starts_with(&host), "{one}");
    }

    #[test]
    fn workers_that_start_together_have_the_same_folder_id() {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let workers = std::iter::repeat_with(|| {
                scope.spawn(|| {
                    start.wait();
                    folder_id(folder.path()).unwrap()
                })
            });
            let workers: Vec<_> = workers.take(8).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_folder_id_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("id"), "").unwrap();
        assert_eq!(folder_id(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
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
