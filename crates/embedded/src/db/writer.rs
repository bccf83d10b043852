//! The writer: one thread of this process that puts what is queued into one transaction after another.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{SqlContext, copy_of};
use crate::base::capacity;
use crate::locks::{self, FileLock};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Requests that may wait; more make their callers wait.
const QUEUE: usize = 1024;
/// Requests in one transaction at most, and for how long more are added to it: other processes wait meanwhile.
const GROUP: usize = 512;
const GROUP_TIME: Duration = Duration::from_millis(100);
/// Longer than SQLite waits for a lock, so that its own error comes first.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// Pages in the WAL that make a commit copy it into the file (32 MiB), and a WAL that is emptied when nobody reads it.
const CHECKPOINT_PAGES: u32 = 4096;
const LARGE_WAL_BYTES: u64 = 64 << 20;
/// A WAL that is not worth emptying, however little room there is.
const SMALL_WAL_BYTES: u64 = 1 << 20;

/// Tells the caller, once the transaction's end is known: `None` is committed.
type Answer = Box<dyn FnOnce(Option<&Error>) + Send>;
/// Does the work. `Err` is undone; either way the caller is answered later.
type Request = Box<dyn FnOnce(&Connection) -> Result<Answer, Answer> + Send>;

/// The queue of this process's writes. The thread starts with the first.
pub(super) struct Writer {
    path: PathBuf,
    commits: watch::Sender<u64>,
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: mpsc::Sender<Request>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(super) fn new(path: &Path, commits: watch::Sender<u64>) -> Self {
        Self { path: path.to_owned(), commits, running: Mutex::default() }
    }

    /// See [`super::Db::write`].
    pub(super) async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = request(what, work, move |result| drop(reply.send(result)));
        let queue = self.queue()?;
        let late = |_| {
            Error::new(ErrorKind::Timeout, format!("{what}: the data folder's writer does not answer"))
                .hint("another process may hold it: look for a stopped mfctl on this data folder")
        };
        let gone = || Error::new(ErrorKind::Internal, format!("{what}: the data folder's writer has stopped"));
        let answered = async move {
            queue.send(request).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(ANSWER_TIME, answered).await.map_err(late)?
    }

    /// See [`super::Db::write_later`].
    pub(super) fn write_later<F>(&self, what: &'static str, work: F)
    where
        F: FnOnce(&Connection) -> Result<()> + Send + 'static,
    {
        let log = move |result: Result<()>| {
            if let Err(error) = result {
                tracing::debug!(error = error.full(), "{what} failed");
            }
        };
        let sent = self.queue().map(|queue| queue.try_send(request(what, work, log)).is_ok());
        if !matches!(sent, Ok(true)) {
            tracing::debug!("{what} was not queued");
        }
    }

    fn queue(&self) -> Result<mpsc::Sender<Request>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_ref() {
            return Ok(running.queue.clone());
        }
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = WriterThread::open(&self.path, self.commits.clone())?;
        let spawned = std::thread::Builder::new().name("mfctl-writer".to_owned()).spawn(move || thread.run(requests));
        let thread = spawned.map_err(|error| Error::new(ErrorKind::Internal, "start the writer").because(error))?;
        *running = Some(Running { queue: queue.clone(), thread });
        Ok(queue)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { queue, thread }) = running {
            drop(queue);
            // What is queued is still done, and the connection closed, before the folder counts as closed.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Wraps work so that it cannot take the writer with it, and its result so that it waits for the commit.
fn request<T, F, R>(what: &'static str, work: F, reply: R) -> Request
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    R: FnOnce(Result<T>) + Send + 'static,
{
    Box::new(move |connection| {
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
        let result = done.unwrap_or_else(|panic| Err(panicked(what, panic.as_ref())));
        let succeeded = result.is_ok();
        let answer: Answer = Box::new(move |failed| {
            reply(match failed {
                Some(error) if result.is_ok() => Err(copy_of(error, what)),
                _ => result,
            });
        });
        if succeeded { Ok(answer) } else { Err(answer) }
    })
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(ErrorKind::Internal, format!("{what}: defect: {text}"))
}

struct WriterThread {
    connection: Connection,
    turn: Turn,
    wal: PathBuf,
    commits: watch::Sender<u64>,
}

impl WriterThread {
    fn open(path: &Path, commits: watch::Sender<u64>) -> Result<Self> {
        let connection = super::connect(path)?;
        connection
            .pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
            .during("configure the data folder's file")?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Self { connection, turn: Turn::new(path), wal: wal.into(), commits })
    }

    fn run(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            self.group(first, &mut requests);
        }
    }

    /// One transaction of what is queued.
    fn group(&self, first: Request, requests: &mut mpsc::Receiver<Request>) {
        let mut answers = Vec::new();
        let outcome = self.turn.take().and_then(|_turn| {
            let committed = self.transaction(first, requests, &mut answers);
            if committed.is_err() && !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            // After a failure too: SQLite empties the WAL at commits alone, and it may be what fills the disk.
            self.empty_large_wal();
            committed
        });
        let failed = outcome.err();
        if failed.is_none() {
            self.commits.send_modify(|count| *count += 1);
        }
        for answer in answers {
            answer(failed.as_ref());
        }
    }

    fn transaction(
        &self,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
        answers: &mut Vec<Answer>,
    ) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE").during("begin to write")?;
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(request) = next {
            self.one(request, answers)?;
            let more = answers.len() < GROUP && started.elapsed() < GROUP_TIME;
            next = if more { requests.try_recv().ok() } else { None };
        }
        self.connection.execute_batch("COMMIT").during("commit")
    }

    /// One request in its savepoint. An error here is one of the whole transaction.
    fn one(&self, request: Request, answers: &mut Vec<Answer>) -> Result<()> {
        self.savepoint("SAVEPOINT request")?;
        match request(&self.connection) {
            Ok(answer) => {
                answers.push(answer);
                self.savepoint("RELEASE request")
            }
            Err(answer) => {
                answers.push(answer);
                if self.connection.is_autocommit() {
                    // SQLite undid the whole transaction (no room, no memory, an I/O error).
                    return Err(Error::new(ErrorKind::Full, "the transaction was undone: no room, or an I/O error")
                        .hint("free space on the data folder's disk, then try again: nothing was lost"));
                }
                self.savepoint("ROLLBACK TO request")?;
                self.savepoint("RELEASE request")
            }
        }
    }

    fn savepoint(&self, sql: &str) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).during("group writes")?;
        statement.execute([]).during("group writes").map(drop)
    }

    /// A reader in the middle keeps a checkpoint from starting the WAL anew; this does it once none is there. On a disk with
    /// little room it does so early: what a WAL holds takes room in the file before the WAL gives its own back, so that one
    /// which has filled the disk could not be emptied any more.
    fn empty_large_wal(&self) {
        let held = std::fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        let free = || capacity(&self.wal).map_or(u64::MAX, |disk| disk.free_bytes);
        let is_large = held >= LARGE_WAL_BYTES || held >= SMALL_WAL_BYTES && free() < held.saturating_mul(2);
        if !is_large {
            return;
        }
        let checkpoint = || -> rusqlite::Result<()> {
            self.connection.busy_timeout(Duration::from_millis(100))?;
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        // Not emptied this time is emptied another time.
        let _ = checkpoint();
        let _ = self.connection.busy_timeout(super::BUSY_TIMEOUT);
    }
}

/// The right to write, for which processes queue in the kernel.
///
/// Two locks, as in a turnstile: who waits for `writer.lock` holds `queue.lock`, so that a process which has just
/// written cannot take the lock again before the one that waits.
struct Turn {
    queue: PathBuf,
    writer: PathBuf,
}

impl Turn {
    fn new(path: &Path) -> Self {
        let locks = path.with_file_name("locks");
        Self { queue: locks.join("queue.lock"), writer: locks.join("writer.lock") }
    }

    fn take(&self) -> Result<FileLock> {
        let _queue = locks::wait(&self.queue)?;
        locks::wait(&self.writer)
    }
}
