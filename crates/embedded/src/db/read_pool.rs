//! The pool of read connections. Each has a thread of its own.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::connection::{self, FileStamp};
use super::error::SqlContext;
use crate::thread_pool::ThreadPool;
use mfctl_core::ports::Result;

/// Connections that cannot write, opened on demand.
pub(super) struct ReadPool(ThreadPool<LazyConnection>);

impl ReadPool {
    pub(super) fn new(path: &Path, max_connections: usize) -> Self {
        let path = path.to_owned();
        let connection = move || LazyConnection { path: path.clone(), pooled: None };
        Self(ThreadPool::new("mfctl-reader", max_connections, connection))
    }

    /// See [`super::Db::read`].
    pub(super) async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.0.run(what, move |connection| connection.read(what, work)).await
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
