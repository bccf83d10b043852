//! The one SQLite file of a data folder.
//!
//! WAL, `synchronous=FULL`. One thread per process writes ([`Db::write`]), with group commit: it runs the queued
//! requests in one transaction, each but the first in a savepoint, and replies after the commit. Processes queue for the
//! write lock with `flock(2)`. Reads ([`Db::read`], [`Db::read_records`]) use pools of connections that cannot write. A
//! read must be short: an open read snapshot keeps the WAL from being truncated.

#[cfg(test)]
mod commit_gate;
mod commit_watch;
mod connection;
mod error;
mod folder_format;
mod migrate;
mod read_pool;
#[cfg(test)]
mod tests;
mod write_request;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

#[cfg(test)]
pub(crate) use commit_gate::ClosedGate;
pub use commit_watch::CommitCursor;
pub use error::{SqlContext, from_sql};
pub use folder_format::{FolderFormat, folder_format};
pub use migrate::missing_schema;

use super::base::OpenMode;
use commit_watch::CommitWatcher;
use mfctl_core::ports::Result;
use read_pool::ReadPool;
use write_request::ChangedPages;
use writer::GroupCommitWriter;

/// Connections that read. More would only wait for the same disk.
const MAX_READERS: usize = 8;
/// Connections that read records of the log.
const MAX_RECORD_READERS: usize = 2;

/// The open database file. Cloning shares it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<DbInner>,
}

struct DbInner {
    path: PathBuf,
    identity: String,
    // Before the writer: fields are dropped in order, and the last connection to close must be able to checkpoint the
    // WAL.
    readers: ReadPool,
    record_readers: ReadPool,
    commits: CommitWatcher,
    writer: GroupCommitWriter,
}

impl Db {
    /// Opens the file; with [`OpenMode::MayCreate`], creates or migrates it. The folder's `locks/` is a sibling of it.
    ///
    /// # Errors
    /// `NotFound` if it does not exist, `TooNew` if a later mfctl wrote it, `Invalid` if it is not mfctl's or needs a
    /// migration that this mode does not allow, `Corrupt` if it is damaged. None of these writes anything.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self> {
        let identity = migrate::prepare(path, mode)?;
        let commits = CommitWatcher::new(path);
        let writer = GroupCommitWriter::new(path, commits.own_commits());
        let readers = ReadPool::new(path, MAX_READERS);
        let record_readers = ReadPool::new(path, MAX_RECORD_READERS);
        let inner = DbInner { path: path.to_owned(), identity, readers, record_readers, commits, writer };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Moves what the write-ahead log of a file holds into it, for a process that ends while parts of it still have the file
    /// open: the file alone is complete then, and can be read where it cannot be written. Best effort.
    pub fn complete(path: &Path) {
        connection::complete(path);
    }

    /// The folder's identity, a UUID generated when it was created.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `work` in a write transaction and returns once its commit is durable.
    ///
    /// `what` names the purpose for error messages, e.g. `publish records`. An error of `work` rolls back its own
    /// changes and no others. `work` runs on the writer's thread, so it must not block. If the caller is cancelled
    /// before `work` has begun, it never runs; after that, it may still be committed.
    ///
    /// # Errors
    /// Errors of `work`; `Timeout` if the writer does not reply within two minutes, which says whether nothing was
    /// written or the outcome is unknown; errors of the commit.
    pub async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.writer.write(what, ChangedPages::Few, work).await
    }

    /// As [`Db::write`], for work that changes many pages. It always begins a transaction, so that it needs no savepoint, whose
    /// memory grows with the pages that are changed. Concurrent calls share no flush: one that many tasks make at once, as
    /// ingest does, is a [`Db::write`].
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_many<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.writer.write(what, ChangedPages::Many, work).await
    }

    /// How long later writes wait for their reply.
    #[cfg(test)]
    pub(crate) fn set_reply_timeout(&self, timeout: Duration) {
        self.inner.writer.set_reply_timeout(timeout);
    }

    /// Holds each transaction of this process before its commit, for as long as the gate is closed.
    #[cfg(test)]
    pub(crate) fn commit_gate(&self) -> Arc<commit_gate::CommitGate> {
        self.inner.writer.commit_gate()
    }

    /// Runs `work` in a read transaction (one snapshot) on a blocking thread. Keep it short: page by key.
    ///
    /// # Errors
    /// Errors of `work`, and errors of opening a connection.
    pub async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.readers.read(what, work).await
    }

    /// As [`Db::read`], for records of the log. They are kept while they are processed, and memory that was freed stays with the
    /// thread that allocated it: so only a few threads read them.
    ///
    /// # Errors
    /// As [`Db::read`].
    pub async fn read_records<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.record_readers.read(what, work).await
    }

    /// The present position in the sequence of commits, for [`Db::wait_for_commit`].
    #[must_use]
    pub fn commit_cursor(&self) -> CommitCursor {
        self.inner.commits.cursor()
    }

    /// Waits at most `timeout` for a commit after `cursor`, by this process or another, and moves the cursor past it.
    /// Returns whether there was one.
    pub async fn wait_for_commit(&self, cursor: &mut CommitCursor, timeout: Duration) -> bool {
        self.inner.commits.wait_for_commit(cursor, timeout).await
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
