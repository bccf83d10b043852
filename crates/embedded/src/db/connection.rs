//! How a connection to the data folder's file is opened and configured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::error::SqlContext;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// How long SQLite itself waits for a lock, e.g. for another process's recovery.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a connection to an existing file.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open_with(path, path, flags).map_err(|error| explain_denied(path, error))
}

/// Opens a connection to an existing file, which this process may write.
pub(super) fn open_to_write(path: &Path) -> Result<Connection> {
    if let Some(error) = denied_write(path) {
        return Err(error);
    }
    open(path)
}

/// Opens a connection to an existing file that cannot write.
///
/// In a folder in which this process may create no file, SQLite cannot make the files beside it that WAL needs. While no
/// other process has it open, which the write-ahead log would show, the file is read as one that never changes.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    let is_constant = may_not_write_beside(path).is_some() && !beside(path, "-wal").exists();
    let connection = match is_constant {
        true => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            open_with(path, Path::new(&constant_uri(path)), flags).map_err(|error| explain_denied(path, error))?
        }
        // Not SQLITE_OPEN_READ_ONLY: such a connection cannot recover the WAL of a process that was killed.
        false => open(path)?,
    };
    // Reads are short pages by key. Each connection has its own cache, and all of them fill up in a long run.
    connection.pragma_update(None, "cache_size", -1024).during("configure the data folder's file")?;
    connection.pragma_update(None, "query_only", true).during("configure the data folder's file")?;
    Ok(connection)
}

/// The path of one of SQLite's files beside this one.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_with(path: &Path, name: &Path, flags: OpenFlags) -> Result<Connection> {
    let what = format!("open {}", path.display());
    let connection = Connection::open_with_flags(name, flags).during(&what)?;
    configure(&connection).during(&what)?;
    Ok(connection)
}

/// The name by which SQLite opens a file that nothing changes: without locks, and without files beside it.
fn constant_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Why this process may not create files in the folder of the file; `None` if it may.
fn may_not_write_beside(path: &Path) -> Option<Errno> {
    let denied = access(path.parent()?, Access::WRITE_OK | Access::EXEC_OK).err()?;
    matches!(denied, Errno::ACCESS | Errno::PERM | Errno::ROFS).then_some(denied)
}

/// SQLite says only that it cannot open a file: this says which, why, and what to do.
fn explain_denied(path: &Path, error: Error) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    if let Err(errno) = access(path, Access::READ_OK) {
        return denied(format!("read {}", path.display()), errno, AS_OWNER);
    }
    denied_write(path).unwrap_or(error)
}

/// What to do with a file that another user owns.
const AS_OWNER: &str = "run mfctl as the user who owns the data folder, or correct the mode of the file";

/// Why this process may not write the file or beside it; `None` if it may.
fn denied_write(path: &Path) -> Option<Error> {
    if let Some(errno) = may_not_write_beside(path) {
        let folder = path.parent().unwrap_or(path).display();
        let hint = "make the folder writable; to read it as it is, copy it (`cp -a`) and name the copy with --data-dir";
        return Some(denied(format!("write to the data folder {folder}"), errno, hint));
    }
    let errno = access(path, Access::WRITE_OK).err()?;
    Some(denied(format!("write {}", path.display()), errno, AS_OWNER))
}

fn denied(what: String, errno: Errno, hint: &str) -> Error {
    Error::new(ErrorKind::Denied, what).because(std::io::Error::from(errno)).hint(hint)
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
