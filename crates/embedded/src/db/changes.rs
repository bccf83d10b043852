//! Noticing commits: at once those of this process, within some milliseconds those of others.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::watch;

/// How often other processes' commits are looked for: soon after something happened, seldom when nothing does.
const SOONEST: Duration = Duration::from_millis(5);
const LATEST: Duration = Duration::from_millis(50);

/// A point in the stream of commits.
#[derive(Debug, Clone)]
pub struct Seen {
    own: watch::Receiver<u64>,
    version: Option<i64>,
}

/// Counts this process's commits and asks SQLite about the others'.
pub(super) struct Changes {
    path: PathBuf,
    own: watch::Sender<u64>,
    // Opened when it is first needed: most verbs never wait for a change.
    probe: Mutex<Option<Connection>>,
}

impl Changes {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), own: watch::Sender::new(0), probe: Mutex::default() }
    }

    pub(super) fn sender(&self) -> watch::Sender<u64> {
        self.own.clone()
    }

    /// See [`super::Db::seen`].
    pub(super) fn seen(&self) -> Seen {
        Seen { own: self.own.subscribe(), version: self.version() }
    }

    /// See [`super::Db::changed`].
    pub(super) async fn changed(&self, seen: &mut Seen, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        let mut pause = SOONEST;
        loop {
            let version = self.version();
            let own = seen.own.has_changed().unwrap_or(false);
            if own || version != seen.version {
                seen.own.mark_unchanged();
                seen.version = version;
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // Either way the loop looks again.
            let _ = tokio::time::timeout(pause.min(left), seen.own.changed()).await.map(|_| seen.own.mark_changed());
            pause = (pause * 2).min(LATEST);
        }
    }

    /// SQLite's counter of commits by other connections than the probe, which never writes. Microseconds: it reads one
    /// word of shared memory. `None` when it cannot tell, e.g. while another process recovers the file.
    fn version(&self) -> Option<i64> {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if probe.is_none() {
            *probe = super::connect_reading(&self.path).ok();
            if let Some(connection) = probe.as_ref() {
                // It runs on async threads.
                let _ = connection.busy_timeout(Duration::from_millis(1));
            }
        }
        let connection = probe.as_ref()?;
        let mut statement = connection.prepare_cached("PRAGMA data_version").ok()?;
        statement.query_row([], |row| row.get(0)).ok()
    }
}
