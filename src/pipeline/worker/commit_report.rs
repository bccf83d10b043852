//! The totals, log lines and metrics of a commit.

use std::time::Duration;

use super::commit_request::count_batch;
use super::context::WorkerContext;
use super::outcome::WorkerSummary;
use super::record::{CommitBatch, RecordOutcome};
use super::step::PipelineStep;
use mfctl_core::telemetry::events::{BatchCommitted, DeadLettered, WorkerEvent as _};

/// Adds a committed batch to the totals, and emits its events. `emitted` is the number of outputs in its request; `took`
/// the time from the start of its finish to the end of its transaction.
pub(super) fn report_commit<S: PipelineStep>(
    batch: &CommitBatch<S::Effect>,
    emitted: usize,
    took: Duration,
    context: &WorkerContext<S>,
    summary: &mut WorkerSummary,
) {
    let counts = count_batch(batch, emitted);
    summary.processed += counts.records;
    summary.emitted += counts.emitted;
    summary.skipped_duplicates += counts.duplicates;
    summary.dead_lettered += counts.dead_letters;
    let stage = context.stage();
    let metrics = &context.ports.metrics;
    let committed =
        BatchCommitted { stage, records: counts.records, emitted: counts.emitted, skipped: counts.duplicates, took };
    committed.emit(metrics);
    for (_, outcome) in batch {
        if let RecordOutcome::DeadLetter(failed) = outcome {
            let record = &failed.record.address;
            let message = failed.message.as_str();
            DeadLettered { stage, record, kind: failed.kind, message, attempts: failed.attempts }.emit(metrics);
        }
    }
}
