//! What the parts of the log share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::topics::TopicRowCache;
use crate::db::Db;
use crate::folder::DataFolder;
use mfctl_core::ports::Clock;

/// The database, the clock and the caches of one open log. Cloning shares them.
#[derive(Clone)]
pub(super) struct LogContext {
    pub(super) db: Db,
    /// Where members keep their lock files.
    pub(super) members_dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) topics: Arc<TopicRowCache>,
    keyless_records: Arc<AtomicU32>,
}

impl LogContext {
    pub(super) fn new(folder: &DataFolder, clock: Arc<dyn Clock>) -> Self {
        Self {
            db: folder.db().clone(),
            members_dir: folder.locks_dir().join("members"),
            clock,
            topics: Arc::default(),
            keyless_records: Arc::new(AtomicU32::new(fastrand::u32(..))),
        }
    }

    /// A number for the next record without a key, to spread such records over partitions: round robin from a random
    /// start.
    pub(super) fn next_keyless(&self) -> u32 {
        self.keyless_records.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for LogContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogContext").field("db", &self.db).finish_non_exhaustive()
    }
}
