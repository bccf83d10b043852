//! The one SQLite file of a data folder.
//!
//! WAL, `synchronous=FULL`. One thread per process writes ([`Db::write`]): it groups what is queued into one
//! transaction, each request in its own savepoint, and answers after the commit. Processes queue for that on a lock of
//! the kernel's. Reads ([`Db::read`]) go to a pool of connections that cannot write, and are to be short: an open read
//! keeps the WAL from being emptied.

mod changes;
mod error;
mod migrate;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use changes::Seen;
pub use error::{SqlContext, from_sql};

use super::base::OpenMode;
use changes::Changes;
use mfctl_core::ports::Result;
use reader::Readers;
use writer::Writer;

/// How long SQLite itself waits for a lock, e.g. for another process's recovery.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The open file. Cloning shares it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    identity: String,
    // Before the readers, so that the last connection to close is one that may empty the WAL.
    readers: Readers,
    changes: Changes,
    writer: Writer,
}

impl Db {
    /// Opens the file, in [`OpenMode::MayCreate`] making or migrating it. The folder's `locks/` is beside it.
    ///
    /// # Errors
    /// `NotFound` when it is not there, `TooNew` when a later mfctl wrote it, `Invalid` when it is not mfctl's or needs
    /// a migration that this mode may not do, `Corrupt` when it is damaged. None of these writes anything.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self> {
        let identity = migrate::prepare(path, mode)?;
        let changes = Changes::new(path);
        let writer = Writer::new(path, changes.sender());
        let inner = Inner { path: path.to_owned(), identity, readers: Readers::new(path), changes, writer };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The folder's identity, made with it.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `work` inside a write transaction and returns after its commit is on the disk.
    ///
    /// `what` says what it is for, e.g. `publish records`. An error of `work` undoes what it did and nothing else. `work`
    /// runs on the writer's thread, so it must not block. When the caller gives up waiting, `work` may still be done.
    ///
    /// # Errors
    /// `work`'s own; `Timeout` when the writer is not reached within two minutes; whatever the commit gives.
    pub async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.writer.write(what, work).await
    }

    /// Asks for a write without waiting, for use where nothing can be awaited (a destructor). Lost if the queue is full
    /// or the process ends: only for what another process would do later anyway.
    pub fn write_later<F>(&self, what: &'static str, work: F)
    where
        F: FnOnce(&Connection) -> Result<()> + Send + 'static,
    {
        self.inner.writer.write_later(what, work);
    }

    /// Runs `work` inside a read transaction (one snapshot) on a blocking thread. It is to be short: page by key.
    ///
    /// # Errors
    /// `work`'s own, and whatever opening a connection gives.
    pub async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.inner.readers.read(what, work).await
    }

    /// What has been committed so far, to be given to [`Db::changed`] later.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.inner.changes.seen()
    }

    /// Waits until anything was committed since `seen`, by this process or another, at most `wait`. Whether it was.
    pub async fn changed(&self, seen: &mut Seen, wait: Duration) -> bool {
        self.inner.changes.changed(seen, wait).await
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// Opens a connection to the file that is there.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).during("open the data folder's file")?;
    configure(&connection).during("configure the data folder's file")?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(256);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Negative is KiB. The default of 2 MiB is less than one batch of records with its index pages.
    connection.pragma_update(None, "cache_size", -8192)
}

/// Opens a connection that cannot write.
fn connect_reading(path: &Path) -> Result<Connection> {
    // Not SQLITE_OPEN_READ_ONLY: such a connection cannot recover the WAL of a process that was killed.
    let connection = connect(path)?;
    // Reads are short pages by key. There is a cache to each connection, and all of them fill up in a long run.
    connection.pragma_update(None, "cache_size", -1024).during("configure the data folder's file")?;
    connection.pragma_update(None, "query_only", true).during("configure the data folder's file")?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
