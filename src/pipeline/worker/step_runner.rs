//! Runs the step for one record, with its retries.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::context::WorkerContext;
use super::outcome::FatalFailure;
use super::record::{ClaimedRecord, FailedRecord, RecordOutcome};
use super::slots::StepSlot;
use super::step::{PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::record_limits;
use mfctl_core::domain::{AssetId, AssetState, Timestamp};
use mfctl_core::ports::{self, Dependency, ErrorKind};
use mfctl_core::retry::{self, FailureAction};
use mfctl_core::telemetry::events::{RecordRetried, WorkerEvent as _};

/// The dependencies of a step while it runs. The object store is taken for the one that failed where an error names none.
const USES: &[Dependency] = &[Dependency::Objects, Dependency::Registry, Dependency::Parser, Dependency::Scratch];

const CATALOG: &[Dependency] = &[Dependency::Catalog];

/// Runs the step for one record.
pub(super) struct StepRunner<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
    /// The slot for the first attempt.
    slot: Mutex<Option<StepSlot>>,
}

/// The failures of dependencies that one record has met.
#[derive(Default)]
struct DependencyFailures {
    count: AtomicU32,
    first_at: OnceLock<Timestamp>,
}

impl<S: PipelineStep> StepRunner<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>, slot: StepSlot) -> Self {
        Self { context, slot: Mutex::new(Some(slot)) }
    }

    /// Runs the step until it succeeds, or fails for good. Waits out outages of its dependencies.
    pub(super) async fn run(
        self,
        work: Box<ClaimedRecord<S::Input>>,
    ) -> Result<RecordOutcome<S::Effect>, FatalFailure> {
        let began = Instant::now();
        let mut first_failed_at: Option<Timestamp> = None;
        let dependency_failures = DependencyFailures::default();
        let may_retry = |error: &StepError| {
            first_failed_at.get_or_insert_with(|| self.context.ports.clock.now());
            // An outage, or a failure of this record's calls alone, was waited for inside the attempt.
            error.action() == FailureAction::RetryRecord
        };
        let retrying = |error: &StepError, attempt, wait| self.report_retry(&work, error, attempt, wait);
        let policy = &self.context.options.retry;
        let attempt = || self.attempt(&work, &dependency_failures);
        let (attempts, result) = retry::retry_attempts(policy, may_retry, retrying, attempt).await;
        let tenant = S::envelope(&work.input).tenant.clone();
        let result = result.and_then(check_outputs);
        let ClaimedRecord { record, claim, .. } = *work;
        let outcome = match result {
            Ok(output) => RecordOutcome::Processed { record, claim, tenant, output },
            Err(error) if error.action() == FailureAction::Stop => return Err(fatal(&error)),
            // Its objects are gone, and what the step stored before goes too.
            Err(_) if self.withdraw_revoked(claim.asset_id).await.map_err(|error| FatalFailure::from(&error))? => {
                RecordOutcome::Revoked
            }
            Err(error) => {
                let now = self.context.ports.clock.now();
                let (attempts, first_failed_at) = match error.action() {
                    FailureAction::RetryDependency => {
                        (dependency_failures.count.load(Ordering::Relaxed), dependency_failures.first_at.get().copied())
                    }
                    _ => (attempts, first_failed_at),
                };
                RecordOutcome::DeadLetter(FailedRecord {
                    record,
                    claim: Some(claim),
                    tenant: Some(tenant),
                    kind: error.kind(),
                    class: class_of(&error),
                    message: error.to_string(),
                    attempts,
                    first_failed_at: first_failed_at.unwrap_or(now),
                    last_failed_at: now,
                    letter: None,
                    claim_holder: None,
                })
            }
        };
        self.context.ports.metrics.step_took(self.context.stage(), began.elapsed().as_secs_f64());
        Ok(outcome)
    }

    /// Withdraws an asset that was taken down; whether it was.
    async fn withdraw_revoked(&self, asset: AssetId) -> ports::Result<bool> {
        let context = &self.context;
        let assets = [asset];
        let found = context.call(CATALOG, "look at assets", || context.ports.catalog.assets(&assets)).await?;
        let is_revoked = found.iter().any(|asset| asset.state == AssetState::Revoked);
        if is_revoked {
            context.withdraw(&assets).await?;
        }
        Ok(is_revoked)
    }

    async fn attempt(
        &self,
        work: &ClaimedRecord<S::Input>,
        failures: &DependencyFailures,
    ) -> Result<StepOutput<S::Effect>, StepError> {
        let context = &self.context;
        let record = RecordContext { record: &work.record, asset: &work.asset };
        let run = || async move {
            // Held while the step runs, not while the record waits for its next attempt.
            let _slot = self.slot().await;
            let ran = context.step.run(record, &work.input).await;
            if ran.is_err() {
                context.slots.give_up();
            }
            ran
        };
        let failed = |error: &StepError| {
            failures.count.fetch_add(1, Ordering::Relaxed);
            failures.first_at.get_or_init(|| context.ports.clock.now());
            context.dependency_failed("step", &error.to_string());
        };
        let site = CallSite { uses: USES, record: Some(&work.record.address) };
        // A record that waits for the end of an outage holds no slot: that which probes needs one.
        let release = || drop(self.take_first_slot());
        let call = context.breaker.call_and_release(site, run, failed, release);
        // A panic fails the record and not the worker: other records may not meet the bug.
        AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    /// The slot that the record was started with, else another.
    async fn slot(&self) -> StepSlot {
        match self.take_first_slot() {
            Some(slot) => slot,
            None => self.context.slots.acquire(|| self.context.tuning().concurrency).await,
        }
    }

    fn take_first_slot(&self) -> Option<StepSlot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
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

/// An output beyond the log's limits is a failure of its record: its metadata is too large, for instance.
fn check_outputs<E>(output: StepOutput<E>) -> Result<StepOutput<E>, StepError> {
    let too_large = output.records.iter().find_map(|record| record_limits::check(record).err());
    too_large.map_or(Ok(output), |too_large| Err(StepError::permanent("output_too_large", too_large.to_string())))
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
        StepError::Dependency { message, .. } | StepError::Record { message, .. } => {
            FatalFailure { kind: ErrorKind::Internal, reason: message.clone(), hint: None }
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> StepError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    StepError::permanent("panic", format!("a bug in mfctl: {}", text.unwrap_or("no message")))
}
