//! A worker's name in its group: given, or this host and the lowest slot that no living worker holds.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::cli::failure::{Failure, FailureKind, Result};
use mfctl_core::domain::Stage;

/// Slots looked at before giving up.
const MOST_SLOTS: u32 = 1024;

/// A name that is this process's as long as this lives; the kernel frees it when the process dies.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    _lock: File,
}

/// Takes the wanted name, or the first free one.
///
/// # Errors
/// `Conflict` when a living worker has it; `Invalid` when the folder of locks cannot be used.
pub(super) fn take(data_dir: &Path, stage: Stage, wanted: Option<&str>) -> Result<Instance> {
    let folder = data_dir.join("locks").join("instances");
    let unusable = |error: std::io::Error| Failure::invalid(format!("cannot use {}", folder.display())).because(&error);
    std::fs::create_dir_all(&folder).map_err(unusable)?;
    if let Some(name) = wanted {
        check(name)?;
        let lock = try_lock(&folder.join(format!("{stage}-{name}"))).map_err(unusable)?;
        let taken = || {
            Failure::new(FailureKind::Conflict, format!("a {stage} worker named {name} runs already"))
                .hint("give each worker of a stage its own --instance, or none")
        };
        return Ok(Instance { name: name.to_owned(), _lock: lock.ok_or_else(taken)? });
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for slot in 0..MOST_SLOTS {
        if let Some(lock) = try_lock(&folder.join(format!("{stage}-{slot}"))).map_err(unusable)? {
            return Ok(Instance { name: format!("{host}/{slot}"), _lock: lock });
        }
    }
    Err(Failure::new(FailureKind::Conflict, format!("{MOST_SLOTS} {stage} workers run on this host already")))
}

fn check(name: &str) -> Result<()> {
    let valid = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if valid {
        return Ok(());
    }
    Err(Failure::usage("--instance takes 1 to 100 of the characters a-z A-Z 0-9 . _ -, not beginning with a dot"))
}

fn try_lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
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
    fn the_lowest_slot_that_nobody_holds_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let slot = |instance: &Instance| instance.name.rsplit('/').next().unwrap().to_owned();
        let take = || take(folder.path(), Stage::Persist, None).unwrap();
        let (first, second) = (take(), take());
        assert_eq!((slot(&first), slot(&second)), ("0".into(), "1".into()));
        drop(first);
        assert_eq!(slot(&take()), "0");
    }

    #[test]
    fn a_name_has_one_living_owner_per_stage() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path(), Stage::Persist, Some("a")).unwrap();
        assert_eq!(take(folder.path(), Stage::Persist, Some("a")).unwrap_err().exit_code(), 7);
        assert!(take(folder.path(), Stage::Enrich, Some("a")).is_ok());
        assert_eq!(take(folder.path(), Stage::Enrich, Some("../a")).unwrap_err().exit_code(), 2);
        drop(held);
    }
}
