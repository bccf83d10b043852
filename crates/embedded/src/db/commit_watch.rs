//! Notices commits: those of this process at once, those of other processes within 50 ms.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::watch;

use super::connection;
use mfctl_core::wait::{Attempts, Backoff};

/// How often to look for other processes' commits: soon after the last one, seldom when nothing is written.
const POLL_BACKOFF: Backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_millis(50));

/// A position in the sequence of commits, from [`super::Db::commit_cursor`].
#[derive(Debug, Clone)]
pub struct CommitCursor {
    own_commits: watch::Receiver<u64>,
    data_version: Option<i64>,
}

/// Counts this process's commits and asks SQLite about those of other processes.
pub(super) struct CommitWatcher {
    path: PathBuf,
    own_commits: watch::Sender<u64>,
    // Opened on first use: most verbs never wait for a commit.
    probe: Mutex<Option<Connection>>,
}

impl CommitWatcher {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), own_commits: watch::Sender::new(0), probe: Mutex::default() }
    }

    /// Where the writer counts its commits.
    pub(super) fn own_commits(&self) -> watch::Sender<u64> {
        self.own_commits.clone()
    }

    /// See [`super::Db::commit_cursor`].
    pub(super) fn cursor(&self) -> CommitCursor {
        CommitCursor { own_commits: self.own_commits.subscribe(), data_version: self.data_version() }
    }

    /// See [`super::Db::wait_for_commit`].
    pub(super) async fn wait_for_commit(&self, cursor: &mut CommitCursor, timeout: Duration) -> bool {
        let known = cursor.data_version;
        let foreign_commit = async {
            let mut attempts = Attempts::new(Instant::now() + timeout, POLL_BACKOFF);
            while self.data_version() == known {
                if !attempts.pause().await {
                    return false;
                }
            }
            true
        };
        let committed = tokio::select! {
            biased;
            // 1. A commit of this process. The sender is this watcher's, so nothing else ends it.
            _ = cursor.own_commits.changed() => true,
            // 2. A commit of another process, or the timeout.
            committed = foreign_commit => committed,
        };
        if committed {
            // In this order: a commit in between changes the version again and ends the next wait.
            cursor.data_version = self.data_version();
            cursor.own_commits.mark_unchanged();
        }
        committed
    }

    /// SQLite's counter of commits by connections other than the probe, which never writes. Takes microseconds: it
    /// reads one word of shared memory. `None` when it cannot be read, e.g. while another process recovers the file.
    fn data_version(&self) -> Option<i64> {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if probe.is_none() {
            *probe = connection::open_read_only(&self.path).ok();
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
