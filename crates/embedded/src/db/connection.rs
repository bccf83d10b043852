//! How a connection to the data folder's file is opened and configured.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use super::error::SqlContext;
use crate::base::open_at_once;
use mfctl_core::domain::path::ShownPath as _;
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
/// In a folder in which this process may create no file, SQLite cannot make the files beside it that WAL needs. The file is then
/// read as one that never changes (`immutable=1`), which ignores the write-ahead log and takes no locks: so only while the log
/// is empty or absent, and no other process has the file open.
///
/// # Errors
/// `Denied` with the reason where the file can be read in neither way.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    let connection = match may_not_write_beside(path).filter(|_| !may_share_log(path)) {
        Some(errno) => {
            refuse_changing(path, errno)?;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            open_with(path, Path::new(&constant_uri(path)), flags).map_err(|error| explain_denied(path, error))?
        }
        // Not SQLITE_OPEN_READ_ONLY: such a connection cannot recover the WAL of a process that was killed.
        None => open(path)?,
    };
    // Reads are short pages by key. Each connection has its own cache, and all of them fill up in a long run.
    connection.pragma_update(None, "cache_size", -1024).during("configure the data folder's file")?;
    connection.pragma_update(None, "query_only", true).during("configure the data folder's file")?;
    Ok(connection)
}

/// Moves what the write-ahead log holds into the file, and empties the log. Nothing happens where another process reads or
/// writes at this moment, or this one may not write: the next process to open the file does it then.
pub(super) fn complete(path: &Path) {
    let has_log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
    if !has_log || denied_write(path).is_some() {
        return;
    }
    let completed = open(path).and_then(|connection| {
        let what = "complete the data folder's file";
        connection.busy_timeout(Duration::ZERO).during(what)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).during(what)
    });
    if let Err(error) = completed {
        tracing::debug!(error = error.full(), "the write-ahead log was not emptied");
    }
}

/// What shows that a file read as one that never changes was changed by another process after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileStamp {
    /// The stamp of a file that [`open_read_only`] reads as one that never changes; `None` for any other.
    pub(super) fn of_constant(path: &Path) -> Option<Self> {
        may_not_write_beside(path).filter(|_| !may_share_log(path))?;
        let metadata = std::fs::metadata(path).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), size: metadata.len(), modified })
    }

    /// Checks that the file is as it was.
    ///
    /// # Errors
    /// `Conflict` when it is not: what was read may be of neither state.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        if Self::of_constant(path).as_ref() == Some(self) {
            return Ok(());
        }
        let message = format!("{} was changed by another process while it was read without locks", path.shown());
        Err(Error::new(ErrorKind::Conflict, message).hint("run the command again, where the folder can be written"))
    }
}

/// Whether the files of WAL exist and this process may write them: no file has to be created.
fn may_share_log(path: &Path) -> bool {
    let may_write = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
    may_write(path) && may_write(&beside(path, "-wal")) && may_write(&beside(path, "-shm"))
}

/// Refuses a file that is not all there is, or that another process may change while it is read.
fn refuse_changing(path: &Path, errno: Errno) -> Result<()> {
    let wal = beside(path, "-wal");
    let unwritten = std::fs::metadata(&wal).map_or(0, |metadata| metadata.len());
    let shown = path.shown();
    let (why, hint) = if let Some(holder) = lock_holder(path) {
        let hint = "run the command where the folder can be written, or once that process has ended";
        (format!("{holder} has {shown} open and may change it"), hint)
    } else if unwritten > 0 {
        let hint = "run one command where the folder can be written, which completes the file; or copy the folder with all its \
                    files (`cp -a`) and name the copy with --data-dir";
        (
            format!(
                "{} has {unwritten} bytes that are not in {shown} yet: the last process on it was killed",
                wal.shown()
            ),
            hint,
        )
    } else {
        return Ok(());
    };
    let folder = path.parent().unwrap_or(path).shown();
    let what = format!("read the data folder {folder}, which cannot be written ({errno}): {why}");
    Err(Error::new(ErrorKind::Denied, what).hint(hint))
}

/// The process that holds a lock of SQLite on the file or on its shared memory; every connection in WAL mode holds both for
/// as long as it is open.
fn lock_holder(path: &Path) -> Option<String> {
    // The bytes that SQLite locks: PENDING_BYTE in its src/os.h, and UNIX_SHM_BASE in its src/os_unix.c.
    const FILE_LOCKS: (u64, u64) = (0x4000_0000, 512);
    const SHM_LOCKS: (u64, u64) = (120, 9);
    let holder = |path: &Path, (start, length)| {
        let file = open_at_once(path).ok()?;
        let wanted = Flock { start, length, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
        let held = fcntl_getlk(&file, &wanted).ok()??;
        // The id of a process in another container is not known here.
        Some(held.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {}", pid.as_raw_pid())))
    };
    holder(path, FILE_LOCKS).or_else(|| holder(&beside(path, "-shm"), SHM_LOCKS))
}

/// The path of one of SQLite's files beside this one.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_with(path: &Path, name: &Path, flags: OpenFlags) -> Result<Connection> {
    let what = format!("open {}", path.shown());
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
        return denied(format!("read {}", path.shown()), errno, AS_OWNER);
    }
    denied_write(path).unwrap_or(error)
}

/// What to do with a file that another user owns.
const AS_OWNER: &str = "run mfctl as the user who owns the data folder, or correct the mode of the file";

/// Why this process may not write the file or beside it; `None` if it may.
fn denied_write(path: &Path) -> Option<Error> {
    if let Some(errno) = may_not_write_beside(path) {
        let folder = path.parent().unwrap_or(path).shown();
        let hint = "make the folder writable; to read it as it is, copy it (`cp -a`) and name the copy with --data-dir";
        return Some(denied(format!("write to the data folder {folder}"), errno, hint));
    }
    let errno = access(path, Access::WRITE_OK).err()?;
    Some(denied(format!("write {}", path.shown()), errno, AS_OWNER))
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
