//! Gathers what is found into batches, each small enough to be held in memory.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tokio::sync::mpsc::Sender;

use super::read::SMALL;
use super::walk::Candidate;

/// Files of a batch at most.
pub(super) const BATCH_FILES: usize = 512;
/// Bytes of small files of a batch at most: they are in memory together.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes that stream to staging before a batch is closed, so that what is staged is recorded soon.
const BATCH_STREAMED: u64 = 256 * 1024 * 1024;

/// Gathers candidates; sends a batch when it is full. Blocks while the receiver is behind.
pub(super) struct Gatherer {
    batch: Vec<Candidate>,
    bytes: u64,
    streamed: u64,
    out: Sender<Vec<Candidate>>,
}

impl Gatherer {
    pub(super) fn new(out: Sender<Vec<Candidate>>) -> Self {
        Self { batch: Vec::new(), bytes: 0, streamed: 0, out }
    }

    /// Takes a candidate. Breaks when nobody receives any more.
    pub(super) fn take(&mut self, candidate: Candidate) -> ControlFlow<()> {
        let counter = if candidate.size_hint <= SMALL { &mut self.bytes } else { &mut self.streamed };
        *counter = counter.saturating_add(candidate.size_hint);
        self.batch.push(candidate);
        let full = self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES || self.streamed >= BATCH_STREAMED;
        if full { self.send() } else { ControlFlow::Continue(()) }
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> ControlFlow<()> {
        self.send()
    }

    fn send(&mut self) -> ControlFlow<()> {
        (self.bytes, self.streamed) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() || self.out.blocking_send(batch).is_ok() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }
}

/// The folders that are never looked into.
pub(super) fn skipped(data_dir: &std::path::Path) -> Vec<PathBuf> {
    let real = data_dir.canonicalize().ok();
    [Some(data_dir.to_owned()), real].into_iter().flatten().collect()
}
