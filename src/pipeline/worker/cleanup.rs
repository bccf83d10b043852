//! The step's cleanup after a commit, which runs in tasks of its own.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::context::WorkerContext;
use super::record::CommitBatch;
use super::step::{CleanupFailure, PipelineStep};
use mfctl_core::telemetry::events::{StagingDeleteFailed, WorkerEvent as _};

/// The cleanups that run.
#[derive(Debug, Default)]
pub(super) struct CleanupTasks(JoinSet<()>);

impl CleanupTasks {
    /// Starts the cleanup of a committed batch. Best effort: a failure is logged.
    pub(super) fn spawn<S: PipelineStep>(&mut self, context: Arc<WorkerContext<S>>, batch: CommitBatch<S::Effect>) {
        self.0.spawn(async move {
            let effects: Vec<&S::Effect> = batch.iter().filter_map(|(_, outcome)| outcome.effect()).collect();
            if effects.is_empty() {
                return;
            }
            if let Err(CleanupFailure { objects, error }) = context.step.after_commit(&effects).await {
                let stage = context.stage();
                StagingDeleteFailed { stage, objects, error: &error.full() }.emit(&context.ports.metrics);
            }
        });
    }

    /// Forgets the tasks that have ended.
    pub(super) fn reap(&mut self) {
        while self.0.try_join_next().is_some() {}
    }

    /// Waits for all of them.
    pub(super) async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
