//! One migrates at a time: an advisory lock of the database, which goes with its session.

use std::time::{Duration, Instant};

use super::connection::{Address, Session};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// "mfctl_mg"
const KEY: i64 = 0x6d66_6374_6c5f_6d67;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock for as long as the session lives.
pub(super) async fn take(address: &Address, session: &Session, patience: Duration) -> Result<()> {
    let what = "take the lock of migrations";
    let until = Instant::now() + patience;
    loop {
        let row = session
            .query_one("SELECT pg_try_advisory_lock($1)", &[&KEY])
            .await
            .map_err(|error| address.failed(&error, what))?;
        if row.get(0) {
            return Ok(());
        }
        if Instant::now() >= until {
            let who = holder(address, session).await?.unwrap_or_else(|| "another session".to_owned());
            return Err(Error::new(ErrorKind::Locked, format!("{who} is migrating the database"))
                .hint("wait for it; if it hangs, an administrator can end it with pg_terminate_backend"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who has the lock.
pub(super) async fn holder(address: &Address, session: &Session) -> Result<Option<String>> {
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
        .map_err(|error| address.failed(&error, "see who is migrating"))?;
    Ok(rows.first().map(|row| {
        let (pid, name): (i32, String) = (row.get(0), row.get(1));
        format!("{name} (pid {pid})")
    }))
}
