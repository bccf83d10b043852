//! How far a run has come: its counters, and who is notified of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::estimate::SourceEstimate;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestProgress {
    /// Files with an outcome, those of earlier runs of the job included.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files not ingested.
    pub refused: u64,
    /// The estimate from before the run, where it covers all of the source.
    pub total: Option<SourceEstimate>,
}

/// Receives the progress of a run.
pub trait ProgressObserver: Send + Sync {
    /// Called after each batch.
    fn update(&self, progress: IngestProgress);
}

/// The counters of one run.
pub(super) struct ProgressCounters {
    observer: Arc<dyn ProgressObserver>,
    total: Option<SourceEstimate>,
    /// Files with an outcome, those of earlier runs of the job included.
    pub(super) files: AtomicU64,
    /// Files whose outcome was recorded in this run.
    pub(super) settled: AtomicU64,
    /// Files not ingested.
    pub(super) refused: AtomicU64,
    /// Bytes read; shared with the uploads that count them as they read.
    pub(super) bytes: Arc<AtomicU64>,
    /// Events published again for assets that another file had staged.
    pub(super) republished: AtomicU64,
}

impl ProgressCounters {
    pub(super) fn new(observer: Arc<dyn ProgressObserver>, total: Option<SourceEstimate>) -> Self {
        Self {
            observer,
            total,
            files: AtomicU64::default(),
            settled: AtomicU64::default(),
            refused: AtomicU64::default(),
            bytes: Arc::default(),
            republished: AtomicU64::default(),
        }
    }

    /// Notifies the observer.
    pub(super) fn report(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.observer.update(IngestProgress {
            files: read(&self.files),
            bytes: read(&self.bytes),
            refused: read(&self.refused),
            total: self.total,
        });
    }
}
