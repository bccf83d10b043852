//! Runs the step for one record, with its retries.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::context::WorkerContext;
use super::outcome::FatalFailure;
use super::record::{ClaimedRecord, FailedRecord, RecordOutcome};
use super::step::{PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::Timestamp;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::ports::ErrorKind;
use mfctl_core::retry::{self, FailureAction};
use mfctl_core::telemetry::events::{RecordRetried, WorkerEvent as _};

/// Runs the step for one record.
pub(super) struct StepRunner<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
}

impl<S: PipelineStep> StepRunner<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>) -> Self {
        Self { context }
    }

    /// Runs the step until it succeeds, or fails for good. Waits out outages of its dependencies.
    pub(super) async fn run(
        self,
        work: Box<ClaimedRecord<S::Input>>,
    ) -> Result<RecordOutcome<S::Effect>, FatalFailure> {
        let began = Instant::now();
        let mut first_failed_at: Option<Timestamp> = None;
        let may_retry = |error: &StepError| {
            first_failed_at.get_or_insert_with(|| self.context.ports.clock.now());
            // An outage was waited for inside the attempt.
            matches!(error.action(), FailureAction::RetryRecord | FailureAction::RetryDependency)
        };
        let retrying = |error: &StepError, attempt, wait| self.report_retry(&work, error, attempt, wait);
        let policy = &self.context.options.retry;
        let (attempts, result) = retry::retry_attempts(policy, may_retry, retrying, || self.attempt(&work)).await;
        let ClaimedRecord { record, claim, .. } = *work;
        let outcome = match result {
            Ok(output) => RecordOutcome::Processed { record, claim, output },
            Err(error) if error.action() == FailureAction::Stop => return Err(fatal(&error)),
            Err(error) => {
                let now = self.context.ports.clock.now();
                RecordOutcome::DeadLetter(FailedRecord {
                    record,
                    claim: Some(claim),
                    kind: error.kind(),
                    class: class_of(&error),
                    message: error.to_string(),
                    attempts,
                    first_failed_at: first_failed_at.unwrap_or(now),
                    last_failed_at: now,
                })
            }
        };
        self.context.ports.metrics.step_took(self.context.stage(), began.elapsed().as_secs_f64());
        Ok(outcome)
    }

    async fn attempt(&self, work: &ClaimedRecord<S::Input>) -> Result<StepOutput<S::Effect>, StepError> {
        let record = RecordContext { record: &work.record, asset: &work.asset };
        let call = self.context.breaker.call(
            CallSite::Step,
            || self.context.step.run(record, &work.input),
            |error: &StepError| self.context.dependency_failed("step", &error.to_string()),
        );
        // A panic fails the record and not the worker: other records may not meet the bug.
        AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    fn report_retry(&self, work: &ClaimedRecord<S::Input>, error: &StepError, attempt: u32, wait: Duration) {
        self.context.count_retry();
        let stage = self.context.stage();
        let record = &work.record.address;
        let message = error.to_string();
        let retried = RecordRetried { stage, record, kind: error.kind(), message: &message, attempt, wait };
        retried.emit(&self.context.ports.metrics);
    }
}

fn class_of(error: &StepError) -> FailureClass {
    match error.action() {
        FailureAction::RetryRecord | FailureAction::RetryDependency => FailureClass::Transient,
        FailureAction::DeadLetter | FailureAction::Stop => FailureClass::Permanent,
    }
}

fn fatal(error: &StepError) -> FatalFailure {
    match error {
        StepError::Port(error) => FatalFailure::from(error),
        StepError::Record { message, .. } => {
            FatalFailure { kind: ErrorKind::Internal, reason: message.clone(), hint: None }
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> StepError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    StepError::permanent("panic", format!("a bug in mfctl: {}", text.unwrap_or("no message")))
}
