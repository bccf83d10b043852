//! The tasks of the loop: whatever waits for a dependency runs in one, so that the loop goes on polling.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::{JoinError, JoinSet};

use super::context::WorkerContext;
use super::finisher::{BatchFinisher, FinishFailure};
use super::intake::{IntakeBatch, IntakeResult, RecordIntake};
use super::outcome::FatalFailure;
use super::record::{ClaimedRecord, CommitBatch, RecordOutcome};
use super::step::PipelineStep;
use super::step_runner::StepRunner;
use super::tracker::RecordTicket;
use mfctl_core::ports::{ErrorKind, PartitionFence};

/// The result of a task.
pub(super) enum TaskResult<S: PipelineStep> {
    /// Intake decoded and claimed a batch.
    TakenIn(IntakeResult<S>),
    /// The step ran for a record.
    Ran(RecordTicket, Result<RecordOutcome<S::Effect>, FatalFailure>),
    /// A batch that was taken at this time is ready to be committed.
    Finished(Instant, Result<CommitBatch<S::Effect>, FinishFailure>),
    /// The task panicked.
    Panicked(FatalFailure),
}

/// The tasks that run.
pub(super) struct WorkerTasks<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
    running: JoinSet<TaskResult<S>>,
}

impl<S: PipelineStep> WorkerTasks<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>) -> Self {
        Self { context, running: JoinSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn start_step(&mut self, ticket: RecordTicket, work: Box<ClaimedRecord<S::Input>>) {
        let runner = StepRunner::new(Arc::clone(&self.context), self.context.slots.take());
        self.running.spawn(async move { TaskResult::Ran(ticket, runner.run(work).await) });
    }

    pub(super) fn start_intake(&mut self, batch: IntakeBatch) {
        let intake = RecordIntake::new(Arc::clone(&self.context));
        self.running.spawn(async move { TaskResult::TakenIn(intake.admit(batch).await) });
    }

    pub(super) fn start_finish(
        &mut self,
        batch: CommitBatch<S::Effect>,
        fences: Vec<PartitionFence>,
        taken_at: Instant,
    ) {
        let finisher = BatchFinisher::new(Arc::clone(&self.context));
        self.running.spawn(async move { TaskResult::Finished(taken_at, finisher.finish(batch, fences).await) });
    }

    /// The next result; `None` without a task. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<TaskResult<S>> {
        loop {
            if let Some(result) = task_result(self.running.join_next().await?) {
                return Some(result);
            }
        }
    }

    /// The next result that is there already.
    pub(super) fn try_next(&mut self) -> Option<TaskResult<S>> {
        loop {
            if let Some(result) = task_result(self.running.try_join_next()?) {
                return Some(result);
            }
        }
    }

    /// Aborts all tasks; none of their results is seen.
    pub(super) fn abort_all(&mut self) {
        self.running = JoinSet::new();
    }
}

fn task_result<S: PipelineStep>(joined: Result<TaskResult<S>, JoinError>) -> Option<TaskResult<S>> {
    match joined {
        Ok(result) => Some(result),
        Err(error) if error.is_cancelled() => None,
        Err(error) => Some(TaskResult::Panicked(FatalFailure {
            kind: ErrorKind::Internal,
            reason: format!("a bug in mfctl: {error}"),
            hint: Some("please report it with this line; nothing uncommitted is lost".into()),
        })),
    }
}
