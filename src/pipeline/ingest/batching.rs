//! Groups candidates into batches, each small enough to be held in memory.

use std::ops::ControlFlow;

use tokio::sync::mpsc::Sender;

use super::candidate::IngestCandidate;
use super::read::SMALL;

/// Files of a batch at most.
const BATCH_FILES: usize = 512;
/// Bytes of a batch's small files at most: they are in memory together.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of large files after which a batch is closed, so that what was streamed to staging is recorded soon.
const BATCH_STREAMED: u64 = 256 * 1024 * 1024;

/// Collects candidates and sends a batch whenever one is full. Blocks while the channel is full.
pub(super) struct BatchBuilder {
    batch: Vec<IngestCandidate>,
    bytes: u64,
    streamed: u64,
    sender: Sender<Vec<IngestCandidate>>,
}

impl BatchBuilder {
    pub(super) fn new(sender: Sender<Vec<IngestCandidate>>) -> Self {
        Self { batch: Vec::new(), bytes: 0, streamed: 0, sender }
    }

    /// Adds a candidate. Breaks when the receiver is closed.
    pub(super) fn push(&mut self, candidate: IngestCandidate) -> ControlFlow<()> {
        let counter = if candidate.size_hint <= SMALL { &mut self.bytes } else { &mut self.streamed };
        *counter = counter.saturating_add(candidate.size_hint);
        self.batch.push(candidate);
        let full = self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES || self.streamed >= BATCH_STREAMED;
        if full { self.send() } else { ControlFlow::Continue(()) }
    }

    /// Sends the remainder. Breaks when the receiver is closed.
    pub(super) fn finish(mut self) -> ControlFlow<()> {
        self.send()
    }

    fn send(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        self.streamed = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() || self.sender.blocking_send(batch).is_ok() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }
}
