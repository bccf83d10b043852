//! The pool of read connections.
//!
//! Each has a thread of its own, and the one that was used last is used next. What reads return lives long, and each thread
//! allocates in an arena of its own: on the runtime's many blocking threads, every arena would grow to the most that was ever
//! read in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use super::connection::{self, FileStamp};
use super::error::SqlContext;
use crate::base::io_error;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// More connections would only wait for the same disk.
const MAX_CONNECTIONS: usize = 8;

/// Connections that cannot write, opened on demand.
pub(super) struct ReadPool {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Reader>>>,
    permits: Arc<Semaphore>,
}

impl ReadPool {
    pub(super) fn new(path: &Path) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self { path: path.to_owned(), idle: Arc::default(), permits }
    }

    /// See [`super::Db::read`].
    pub(super) async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let closed = |_| Error::new(ErrorKind::Internal, what);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let reader = lock(&self.idle).pop();
        let reader = reader.map_or_else(|| Reader::spawn(&self.path), Ok)?;
        let (sender, reply) = oneshot::channel();
        let idle = Arc::clone(&self.idle);
        let jobs = reader.jobs.clone();
        let job = move |connection: &mut LazyConnection| {
            let result = connection.read(what, work);
            lock(&idle).push(reader);
            // Released only when the work is done, even if the caller no longer waits for it.
            drop(permit);
            // A caller that was cancelled has dropped its receiver.
            let _ = sender.send(result);
        };
        // A panic ends the thread and its connection; the pool opens another.
        let ended = || Error::new(ErrorKind::Internal, what).because("the thread that reads has ended");
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        reply.await.map_err(|_| ended())?
    }
}

impl Drop for ReadPool {
    /// Idle connections are closed before the data folder counts as closed.
    fn drop(&mut self) {
        let readers = std::mem::take(&mut *lock(&self.idle));
        for Reader { jobs, thread } in readers {
            drop(jobs);
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn lock(idle: &Mutex<Vec<Reader>>) -> MutexGuard<'_, Vec<Reader>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work of a reader, which it returns to the pool.
type ReadJob = Box<dyn FnOnce(&mut LazyConnection) + Send>;

/// A thread with a connection. It ends when the sender is dropped.
struct Reader {
    jobs: mpsc::Sender<ReadJob>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn spawn(path: &Path) -> Result<Self> {
        let (jobs, received) = mpsc::channel::<ReadJob>();
        let mut connection = LazyConnection { path: path.to_owned(), pooled: None };
        let run = move || received.into_iter().for_each(|job| job(&mut connection));
        let spawned = thread::Builder::new().name("mfctl-reader".to_owned()).spawn(run);
        let thread = spawned.map_err(|error| io_error(error, "start a reader"))?;
        Ok(Self { jobs, thread })
    }
}

/// A connection that is opened by the first read.
struct LazyConnection {
    path: PathBuf,
    pooled: Option<PooledConnection>,
}

impl LazyConnection {
    fn read<T>(&mut self, what: &str, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let pooled = match &mut self.pooled {
            Some(pooled) => pooled,
            None => self.pooled.insert(PooledConnection::open(&self.path)?),
        };
        let result = in_snapshot(&mut pooled.connection, what, work);
        // What is read without locks is opened again after a change.
        if let Some(stamp) = &pooled.constant
            && let Err(changed) = stamp.check(&self.path)
        {
            self.pooled = None;
            return Err(changed);
        }
        result
    }
}

/// A connection of the pool.
struct PooledConnection {
    connection: Connection,
    /// The stamp of a file that is read as one that never changes.
    constant: Option<FileStamp>,
}

impl PooledConnection {
    fn open(path: &Path) -> Result<Self> {
        let constant = FileStamp::of_constant(path);
        Ok(Self { connection: connection::open_read_only(path)?, constant })
    }
}

fn in_snapshot<T>(connection: &mut Connection, what: &str, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred).during(what)?;
    let result = work(&snapshot);
    // Nothing was written: rolling back only ends the snapshot.
    drop(snapshot);
    result
}
