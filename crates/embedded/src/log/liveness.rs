//! Whether a group's member lives: a lock file that the kernel frees with its process, and a heartbeat that a stopped
//! process does not send.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use rustix::fs::FlockOperation;
use rustix::time::ClockId;

use crate::db::SqlContext;
use crate::locks::{self, FileLock};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// A lock file without a member is removed after this: its member may be about to join.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Milliseconds since the machine started, time asleep included; the same in every process of the host.
pub(super) fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(CLOCK);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// This process's claim that its member lives. Dropping it removes the file, as dying frees the lock.
#[derive(Debug)]
pub(super) struct Sign {
    path: PathBuf,
    _lock: FileLock,
}

impl Sign {
    /// Takes the lock of a new member.
    pub(super) fn of(dir: &Path, member_id: &str) -> Result<Self> {
        let path = dir.join(member_id);
        let lock = locks::try_lock_exclusive(&path)?;
        let lock = lock.ok_or_else(|| Error::new(ErrorKind::Conflict, format!("lock {}", path.display())))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        // Before the lock is freed, so that nobody finds a free lock file and then none.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A member as the others see it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) member_id: String,
    pub(super) heartbeat_ms: i64,
    session_ms: i64,
}

impl Seen {
    /// Whether it is gone: its process ended, it has not polled for its session, or the machine was started since.
    pub(super) fn is_dead(&self, dir: &Path, now_ms: i64) -> bool {
        let silent = now_ms.saturating_sub(self.heartbeat_ms);
        silent > self.session_ms || silent < 0 || !is_held(&dir.join(&self.member_id))
    }
}

/// The members of a group, or of all.
pub(super) fn members(c: &Connection, group_id: Option<i64>) -> Result<Vec<Seen>> {
    let what = "read a group's members";
    let sql = "SELECT member_id, heartbeat_ms, session_ms FROM members WHERE ?1 IS NULL OR group_id = ?1";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let seen = |row: &rusqlite::Row<'_>| {
        Ok(Seen { member_id: row.get(0)?, heartbeat_ms: row.get(1)?, session_ms: row.get(2)? })
    };
    statement.query_map([group_id], seen).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// The members of a group that are gone.
pub(super) fn dead(c: &Connection, group_id: i64, dir: &Path) -> Result<Vec<Seen>> {
    // Read before the heartbeats, so that none looks as if it came from the future.
    let mut members = members(c, Some(group_id))?;
    let now_ms = boot_ms();
    members.retain(|member| member.is_dead(dir, now_ms));
    Ok(members)
}

fn is_held(path: &Path) -> bool {
    // A shared lock, so that two who look do not take each other for the member.
    let Ok(file) = File::open(path) else { return false };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        locks::unlock(&file);
        return false;
    }
    true
}

/// Removes lock files that a killed process left.
pub(super) fn remove_leftovers(dir: &Path, members: &[Seen]) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let named = |member: &Seen| entry.file_name().to_str() == Some(member.member_id.as_str());
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
        let old = matches!(age, Ok(Ok(age)) if age > LEFTOVER_AGE);
        if old && !members.iter().any(named) && !is_held(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
