//! How a connection to the data folder's file is opened and configured.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::SqlContext;
use mfctl_core::ports::Result;

/// How long SQLite itself waits for a lock, e.g. for another process's recovery.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a connection to an existing file.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).during("open the data folder's file")?;
    configure(&connection).during("configure the data folder's file")?;
    Ok(connection)
}

/// Opens a connection to an existing file that cannot write.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    // Not SQLITE_OPEN_READ_ONLY: such a connection cannot recover the WAL of a process that was killed.
    let connection = open(path)?;
    // Reads are short pages by key. Each connection has its own cache, and all of them fill up in a long run.
    connection.pragma_update(None, "cache_size", -1024).during("configure the data folder's file")?;
    connection.pragma_update(None, "query_only", true).during("configure the data folder's file")?;
    Ok(connection)
}

/// Sets what every connection needs, whatever it is for.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(256);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Negative is KiB. The default of 2 MiB is less than one batch of records with its index pages.
    connection.pragma_update(None, "cache_size", -8192)
}
