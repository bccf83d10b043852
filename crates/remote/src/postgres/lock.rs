//! The migration lock: a PostgreSQL session-level advisory lock, released when its session ends.

use std::time::{Duration, Instant};

use super::connection::{ConnectionTarget, DatabaseSession};
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::wait::{Attempts, Backoff};

/// The advisory lock's key: "mfctl_mg" in ASCII.
const KEY: i64 = 0x6d66_6374_6c5f_6d67;
const POLL: Backoff = Backoff::constant(Duration::from_millis(100));

/// Acquires the lock for the session's life; `Locked`, naming the holder, when it is not free within `timeout`.
pub(super) async fn acquire(target: &ConnectionTarget, session: &DatabaseSession, timeout: Duration) -> Result<()> {
    let mut attempts = Attempts::new(Instant::now() + timeout, POLL);
    while !try_acquire(target, session).await? {
        if !attempts.pause().await {
            let holder = holder(target, session).await?.unwrap_or_else(|| "another session".to_owned());
            return Err(Error::new(ErrorKind::Locked, format!("{holder} is migrating the database"))
                .hint("wait for it; if it hangs, an administrator can end it with pg_terminate_backend"));
        }
    }
    Ok(())
}

async fn try_acquire(target: &ConnectionTarget, session: &DatabaseSession) -> Result<bool> {
    let row = session
        .query_one("SELECT pg_try_advisory_lock($1)", &[&KEY])
        .await
        .map_err(|error| target.error(&error, "acquire the migration lock"))?;
    Ok(row.get(0))
}

/// The session that holds the lock, as `application_name (pid 7)`.
pub(super) async fn holder(target: &ConnectionTarget, session: &DatabaseSession) -> Result<Option<String>> {
    let rows = session
        .query(
            "SELECT lock.pid, coalesce(nullif(session.application_name, ''), 'a session')
             FROM pg_locks AS lock LEFT JOIN pg_stat_activity AS session USING (pid)
             WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
               AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND ((lock.classid::bigint << 32) | lock.objid::bigint) = $1",
            &[&KEY],
        )
        .await
        .map_err(|error| target.error(&error, "look up who is migrating"))?;
    Ok(rows.first().map(|row| {
        let pid: i32 = row.get(0);
        let name: String = row.get(1);
        format!("{name} (pid {pid})")
    }))
}
