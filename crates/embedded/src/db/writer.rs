//! The writer: one thread per process that runs queued requests in one transaction after another (group commit).

use std::os::unix::fs::MetadataExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

#[cfg(test)]
use super::commit_gate::CommitGate;
use super::connection::{self, BUSY_TIMEOUT};
use super::error::{SqlContext, copy_of};
use super::write_request::{ChangedPages, WriteReply, WriteRequest, WriteWork};
use crate::base::{capacity, io_error, panicked};
use crate::locks::{self, FileLock};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Requests that may be queued; further callers wait for room.
const QUEUE_CAPACITY: usize = 1024;
/// Requests in one transaction at most, and how long requests are added to it: other processes wait meanwhile.
const MAX_GROUP_REQUESTS: usize = 512;
const MAX_GROUP_TIME: Duration = Duration::from_millis(100);
/// In milliseconds; longer than SQLite waits for a lock, so that its own error is reported first.
const REPLY_TIMEOUT_MS: u64 = 120_000;
/// Pages in the WAL at which a commit checkpoints it (32 MiB), and the size at which the WAL is truncated.
const CHECKPOINT_PAGES: u32 = 4096;
const LARGE_WAL_BYTES: u64 = 64 << 20;
/// A WAL not worth truncating, however little free space there is.
const SMALL_WAL_BYTES: u64 = 1 << 20;

/// The queue of this process's writes. The thread starts with the first one.
pub(super) struct GroupCommitWriter {
    path: PathBuf,
    commits: watch::Sender<u64>,
    running: Mutex<Option<RunningWriter>>,
    /// How long a caller waits for its reply, in milliseconds.
    reply_timeout_ms: AtomicU64,
    #[cfg(test)]
    commit_gate: Arc<CommitGate>,
}

struct RunningWriter {
    queue: mpsc::Sender<WriteRequest>,
    thread: JoinHandle<()>,
}

impl GroupCommitWriter {
    pub(super) fn new(path: &Path, commits: watch::Sender<u64>) -> Self {
        Self {
            path: path.to_owned(),
            commits,
            running: Mutex::default(),
            reply_timeout_ms: AtomicU64::new(REPLY_TIMEOUT_MS),
            #[cfg(test)]
            commit_gate: Arc::default(),
        }
    }

    /// How long later writes wait for their reply.
    #[cfg(test)]
    pub(super) fn set_reply_timeout(&self, timeout: Duration) {
        self.reply_timeout_ms.store(u64::try_from(timeout.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Holds each transaction before its commit, for as long as the gate is closed.
    #[cfg(test)]
    pub(super) fn commit_gate(&self) -> Arc<CommitGate> {
        Arc::clone(&self.commit_gate)
    }

    /// See [`super::Db::write`].
    pub(super) async fn write<T, F>(&self, what: &'static str, pages: ChangedPages, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (sender, reply) = oneshot::channel();
        let request = WriteRequest::new(pages, replying(what, work, sender));
        let caller = request.caller();
        let queue = self.queue()?;
        let stopped = || Error::new(ErrorKind::Internal, format!("{what}: the data folder's writer has stopped"));
        let exchange = async move {
            queue.send(request).await.map_err(|_| stopped())?;
            reply.await.map_err(|_| stopped())?
        };
        let reply_timeout = Duration::from_millis(self.reply_timeout_ms.load(Ordering::Relaxed));
        match tokio::time::timeout(reply_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out(what, caller.cancel())),
        }
    }

    fn queue(&self) -> Result<mpsc::Sender<WriteRequest>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_ref() {
            return Ok(running.queue.clone());
        }
        let (queue, requests) = mpsc::channel(QUEUE_CAPACITY);
        let thread = WriterThread::open(&self.path, self.commits.clone())?;
        #[cfg(test)]
        let thread = WriterThread { commit_gate: Arc::clone(&self.commit_gate), ..thread };
        let spawned = std::thread::Builder::new().name("mfctl-writer".to_owned()).spawn(move || thread.run(requests));
        let thread = spawned.map_err(|error| io_error(error, "start the writer"))?;
        *running = Some(RunningWriter { queue: queue.clone(), thread });
        Ok(queue)
    }
}

impl Drop for GroupCommitWriter {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(RunningWriter { queue, thread }) = running {
            drop(queue);
            // Requests that are not cancelled are still written, and the connection is closed, before the folder counts
            // as closed.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// The error of a caller that has waited for too long. `cancelled`: its work had not begun, and never will.
fn timed_out(what: &str, cancelled: bool) -> Error {
    let state = match cancelled {
        true => "did not begin in time; nothing was written",
        false => "does not answer; it may have been written",
    };
    Error::new(ErrorKind::Timeout, format!("{what}: the data folder's writer {state}"))
        .hint("another process may hold it: look for a stopped mfctl on this data folder")
}

/// Wraps work so that a panic does not end the writer, and so that its result is sent after the commit.
fn replying<T, F>(what: &'static str, work: F, sender: oneshot::Sender<Result<T>>) -> WriteWork
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send + 'static,
{
    Box::new(move |connection| {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                // A caller that was cancelled has dropped its receiver.
                let _ = sender.send(Err(copy_of(error, what)));
                return Err(Box::new(|_| ()));
            }
        };
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
        let result = done.unwrap_or_else(|panic| Err(panicked(what, panic.as_ref())));
        let succeeded = result.is_ok();
        let reply: WriteReply = Box::new(move |transaction_error| {
            // A caller that was cancelled has dropped its receiver.
            let _ = sender.send(match transaction_error {
                Some(error) if result.is_ok() => Err(copy_of(error, what)),
                _ => result,
            });
        });
        if succeeded { Ok(reply) } else { Err(reply) }
    })
}

/// Device and inode of the file at a path.
fn file_id(path: &Path) -> Result<(u64, u64)> {
    let metadata = std::fs::metadata(path).map_err(|error| io_error(error, format!("look at {}", path.shown())))?;
    Ok((metadata.dev(), metadata.ino()))
}

struct WriterThread {
    connection: Connection,
    lock: WriterLock,
    path: PathBuf,
    /// Device and inode of the file that the connection has open.
    file: (u64, u64),
    wal: PathBuf,
    commits: watch::Sender<u64>,
    #[cfg(test)]
    commit_gate: Arc<CommitGate>,
}

impl WriterThread {
    fn open(path: &Path, commits: watch::Sender<u64>) -> Result<Self> {
        let connection = connection::open_to_write(path)?;
        connection
            .pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
            .during("configure the data folder's file")?;
        let wal = connection::beside(path, "-wal");
        let file = file_id(path)?;
        Ok(Self {
            connection,
            lock: WriterLock::new(path),
            path: path.to_owned(),
            file,
            wal,
            commits,
            #[cfg(test)]
            commit_gate: Arc::default(),
        })
    }

    /// Refuses to write to a file that was deleted or replaced since it was opened: what is written would be lost.
    fn require_file(&self) -> Result<()> {
        match file_id(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} was deleted or replaced while this process had it open", self.path.shown()),
            )
            .hint("stop every mfctl on the data folder, restore the file, then start again")),
        }
    }

    fn run(self, mut requests: mpsc::Receiver<WriteRequest>) {
        let mut left = None;
        while let Some(first) = left.take().or_else(|| requests.blocking_recv()) {
            left = self.commit_group(first, &mut requests);
        }
    }

    /// Runs the queued requests in one transaction and sends the replies. Returns a request that was not run, for the next one.
    fn commit_group(&self, first: WriteRequest, requests: &mut mpsc::Receiver<WriteRequest>) -> Option<WriteRequest> {
        let mut replies = Vec::new();
        let mut next = Some(first);
        let outcome = self.lock.acquire().and_then(|_lock| {
            self.require_file()?;
            let committed = self.transaction(&mut next, requests, &mut replies);
            if committed.is_err() && !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            // After a failure too: SQLite checkpoints at commits alone, and the WAL may be what fills the disk.
            self.truncate_large_wal();
            committed
        });
        let error = outcome.err();
        if error.is_none() {
            self.commits.send_modify(|count| *count += 1);
        }
        if let Some(error) = error.as_ref().filter(|_| replies.is_empty())
            && let Some(work) = next.take().and_then(WriteRequest::start)
        {
            let _ = work(Err(error));
        }
        for reply in replies {
            reply(error.as_ref());
        }
        next
    }

    /// Runs `next` and the queued requests. A request that was not run is in `next`.
    fn transaction(
        &self,
        next: &mut Option<WriteRequest>,
        requests: &mut mpsc::Receiver<WriteRequest>,
        replies: &mut Vec<WriteReply>,
    ) -> Result<()> {
        self.begin()?;
        let started = Instant::now();
        let mut is_empty = true;
        while next.as_ref().is_some_and(|request| is_empty || !request.changes_many_pages()) {
            is_empty = self.run_one(next, is_empty, replies)?;
            let more = replies.len() < MAX_GROUP_REQUESTS && started.elapsed() < MAX_GROUP_TIME;
            let mut queued = std::iter::from_fn(|| requests.try_recv().ok());
            *next = if more { queued.find(|request| !request.is_cancelled()) } else { None };
        }
        #[cfg(test)]
        self.commit_gate.wait();
        self.connection.execute_batch("COMMIT").during("commit")
    }

    fn begin(&self) -> Result<()> {
        self.control("BEGIN IMMEDIATE", "begin to write")
    }

    /// Runs one request; if it fails, its changes are rolled back. Returns whether the transaction is still empty. An error
    /// returned here fails the whole transaction.
    ///
    /// A savepoint makes SQLite keep the earlier content of every page that is changed after it, in memory. So the first
    /// request has none, and one that changes many pages is always the first.
    fn run_one(&self, next: &mut Option<WriteRequest>, is_empty: bool, replies: &mut Vec<WriteReply>) -> Result<bool> {
        let what = "group writes";
        if !is_empty {
            self.control("SAVEPOINT request", what)?;
        }
        let Some(work) = next.take().and_then(WriteRequest::start) else {
            // It was cancelled.
            if !is_empty {
                self.control("RELEASE request", what)?;
            }
            return Ok(is_empty);
        };
        let done = work(Ok(&self.connection));
        let succeeded = done.is_ok();
        replies.push(done.unwrap_or_else(|reply| reply));
        if self.connection.is_autocommit() {
            // SQLite rolled back the whole transaction (disk full, out of memory, or an I/O error).
            return Err(Error::new(
                ErrorKind::Full,
                "the transaction was rolled back: the disk is full, or an I/O error occurred",
            )
            .hint("free space on the data folder's disk, then try again: nothing was lost"));
        }
        match (succeeded, is_empty) {
            (true, true) => return Ok(false),
            (true, false) => {}
            (false, true) => {
                self.control("ROLLBACK", what)?;
                self.begin()?;
                return Ok(true);
            }
            (false, false) => self.control("ROLLBACK TO request", what)?,
        }
        self.control("RELEASE request", what)?;
        Ok(false)
    }

    /// Begins, ends or divides a transaction.
    fn control(&self, sql: &str, what: &str) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).during(what)?;
        statement.execute([]).during(what).map(drop)
    }

    /// An open read snapshot keeps a checkpoint from restarting the WAL; this truncates it once there is none. With
    /// little free space it does so early: a checkpoint needs space in the file before the WAL releases its own, so a
    /// WAL that has filled the disk could no longer be truncated.
    fn truncate_large_wal(&self) {
        let wal_bytes = std::fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        let free = || capacity(&self.wal).map_or(u64::MAX, |disk| disk.free_bytes);
        let is_large =
            wal_bytes >= LARGE_WAL_BYTES || wal_bytes >= SMALL_WAL_BYTES && free() < wal_bytes.saturating_mul(2);
        if !is_large {
            return;
        }
        let checkpoint = || -> rusqlite::Result<()> {
            self.connection.busy_timeout(Duration::from_millis(100))?;
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        // A failure is harmless: the next commit tries again.
        let _ = checkpoint();
        let _ = self.connection.busy_timeout(BUSY_TIMEOUT);
    }
}

/// The lock under which one process at a time writes.
///
/// Two file locks, as in a turnstile: a process that waits for `writer.lock` holds `queue.lock`, so that a process
/// which has just written cannot acquire `writer.lock` again before the one that waits.
struct WriterLock {
    queue: PathBuf,
    writer: PathBuf,
}

impl WriterLock {
    fn new(path: &Path) -> Self {
        let locks = path.with_file_name("locks");
        Self { queue: locks.join("queue.lock"), writer: locks.join("writer.lock") }
    }

    fn acquire(&self) -> Result<FileLock> {
        let _queue = locks::lock_exclusive(&self.queue).map_err(lost_folder)?;
        locks::lock_exclusive(&self.writer).map_err(lost_folder)
    }
}

/// The folder of locks was there when the data folder was opened: without it nothing is the fault of what is written.
fn lost_folder(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Unreachable, "the data folder's locks are missing").because(error),
        _ => error,
    }
}
