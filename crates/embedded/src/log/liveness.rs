//! Whether a group's member is alive: a lock file, whose lock the kernel releases when the process ends, and a
//! heartbeat, which a stopped process does not send.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use rustix::fs::FlockOperation;
use rustix::time::ClockId;

use crate::base::open_at_once;
use crate::db::SqlContext;
use crate::locks::{self, FileLock};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The age at which a lock file without a member is removed; a younger one may belong to a member that is joining.
const STALE_LOCK_FILE_AGE: Duration = Duration::from_secs(60);

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Milliseconds since the machine booted, suspend included; the same in every process of the host.
pub(super) fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(CLOCK);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// The lock file that shows this process's member as alive. Dropping it removes the file; the kernel releases the lock
/// if the process dies.
#[derive(Debug)]
pub(super) struct LivenessLock {
    path: PathBuf,
    _lock: FileLock,
}

impl LivenessLock {
    /// Creates and locks the lock file of a new member.
    pub(super) fn acquire(dir: &Path, member_id: &str) -> Result<Self> {
        let path = dir.join(member_id);
        let lock = locks::try_lock_exclusive(&path)?;
        let lock = lock.ok_or_else(|| Error::new(ErrorKind::Conflict, format!("lock {}", path.shown())))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // Before the lock is released, so that no process finds the file unlocked and a moment later missing.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What other members see of a member's liveness.
#[derive(Debug, Clone)]
pub(super) struct MemberHeartbeat {
    pub(super) member_id: String,
    /// On the clock of [`boot_ms`].
    pub(super) heartbeat_ms: i64,
    session_ms: i64,
}

impl MemberHeartbeat {
    /// Whether the member is dead: its process ended, its session timed out, or the machine was rebooted since.
    pub(super) fn is_dead(&self, dir: &Path, now_ms: i64) -> bool {
        let silent_ms = now_ms.saturating_sub(self.heartbeat_ms);
        silent_ms > self.session_ms || silent_ms < 0 || !is_locked(&dir.join(&self.member_id))
    }
}

/// The members of a group, or of all groups.
pub(super) fn members(c: &Connection, group_id: Option<i64>) -> Result<Vec<MemberHeartbeat>> {
    let what = "read a group's members";
    let sql = "SELECT member_id, heartbeat_ms, session_ms FROM members WHERE ?1 IS NULL OR group_id = ?1";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let member = |row: &rusqlite::Row<'_>| {
        Ok(MemberHeartbeat { member_id: row.get(0)?, heartbeat_ms: row.get(1)?, session_ms: row.get(2)? })
    };
    statement.query_map([group_id], member).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// The members of a group that are dead.
pub(super) fn dead_members(c: &Connection, group_id: i64, dir: &Path) -> Result<Vec<MemberHeartbeat>> {
    // The clock is read after the heartbeats, so that none of them is later than now.
    let mut members = members(c, Some(group_id))?;
    let now_ms = boot_ms();
    members.retain(|member| member.is_dead(dir, now_ms));
    Ok(members)
}

fn is_locked(path: &Path) -> bool {
    // A shared lock, so that two processes that check at once do not take each other for the member.
    let Ok(file) = open_at_once(path) else { return false };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        locks::unlock(&file);
        return false;
    }
    true
}

/// Removes the lock files of processes that were killed.
pub(super) fn remove_stale_lock_files(dir: &Path, members: &[MemberHeartbeat]) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_of = |member: &MemberHeartbeat| entry.file_name().to_str() == Some(member.member_id.as_str());
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
        let is_old = matches!(age, Ok(Ok(age)) if age > STALE_LOCK_FILE_AGE);
        if is_old && !members.iter().any(is_of) && !is_locked(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
