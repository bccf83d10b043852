//! The pool of read connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;

use super::connection::{self, FileStamp};
use super::error::SqlContext;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// More connections would only wait for the same disk.
const MAX_CONNECTIONS: usize = 8;

/// Connections that cannot write, opened on demand.
pub(super) struct ReadPool {
    path: PathBuf,
    idle: Arc<Mutex<Vec<PooledConnection>>>,
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
        let path = self.path.clone();
        let idle = Arc::clone(&self.idle);
        let task = move || {
            // Released only when the work is done, even if the caller no longer waits for it.
            let _permit = permit;
            let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut pooled = pooled.map_or_else(|| PooledConnection::open(&path), Ok)?;
            let result = in_snapshot(&mut pooled.connection, what, work);
            if let Some(stamp) = &pooled.constant {
                stamp.check(&path)?;
            }
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(pooled);
            result
        };
        // A panic drops its connection; the pool opens another.
        tokio::task::spawn_blocking(task).await.map_err(|error| Error::new(ErrorKind::Internal, what).because(error))?
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
