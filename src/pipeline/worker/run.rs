//! One record's tries.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::FutureExt;

use super::finish::{DeadLetter, Decided};
use super::intake::Work;
use super::{Halt, RecordContext, Station, Step, StepError, StepOutput};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::Timestamp;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::ports::ErrorKind;
use mfctl_core::retry::FailureAction;
use mfctl_core::telemetry::events::{RecordRetried, WorkerEvent};

impl<S: Step> Station<S> {
    /// Runs the step until it succeeds, fails for good, or must not go on. Waits for dependencies as long as it takes.
    pub(super) async fn run(self: Arc<Self>, work: Box<Work<S::Input>>) -> Result<Decided<S::Effect>, Halt> {
        let began = Instant::now();
        let mut first_failed_at: Option<Timestamp> = None;
        let mut attempts = 0;
        let decided = loop {
            attempts += 1;
            let error = match self.try_once(&work).await {
                Ok(output) => break Decided::Done { record: work.record, claim: work.claim, output },
                Err(error) => error,
            };
            let now = self.ports.clock.now();
            let first = *first_failed_at.get_or_insert(now);
            let class = match error.action() {
                FailureAction::Stop => return Err(halt(&error)),
                // Dependencies are waited for inside the try.
                FailureAction::RetryRecord | FailureAction::RetryDependency => FailureClass::Transient,
                FailureAction::DeadLetter => FailureClass::Permanent,
            };
            if class == FailureClass::Permanent || attempts >= self.options.retry.attempts {
                break Decided::Dead(DeadLetter {
                    record: work.record,
                    claim: Some(work.claim),
                    kind: error.kind(),
                    class,
                    message: error.to_string(),
                    attempts,
                    first_failed_at: first,
                    last_failed_at: now,
                });
            }
            self.wait_to_retry(&work, &error, attempts).await;
        };
        self.ports.metrics.step_took(self.step.stage(), began.elapsed().as_secs_f64());
        Ok(decided)
    }

    async fn try_once(&self, work: &Work<S::Input>) -> Result<StepOutput<S::Effect>, StepError> {
        let cx = RecordContext { record: &work.record, asset: &work.asset };
        let tried = self.breaker.call(
            CallSite::Step,
            || self.step.run(cx, &work.input),
            |error: &StepError| self.down("step", &error.to_string()),
        );
        // A defect met by one record is that record's fault as far as the others are concerned.
        AssertUnwindSafe(tried).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    async fn wait_to_retry(&self, work: &Work<S::Input>, error: &StepError, attempt: u32) {
        self.retried.fetch_add(1, Ordering::Relaxed);
        let wait = self.options.retry.backoff.delay(attempt);
        let (stage, record, message) = (self.step.stage(), &work.record.address, error.to_string());
        RecordRetried { stage, record, kind: error.kind(), message: &message, attempt, wait }.emit(&self.ports.metrics);
        tokio::time::sleep(wait).await;
    }
}

fn halt(error: &StepError) -> Halt {
    match error {
        StepError::Port(error) => Halt::from(error),
        StepError::Record { message, .. } => Halt { kind: ErrorKind::Internal, reason: message.clone(), hint: None },
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> StepError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    StepError::permanent("panic", format!("a defect of mfctl: {}", text.unwrap_or("no message")))
}
