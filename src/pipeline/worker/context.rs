//! What the consume loop and its tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::dead_letter_ratio::{DeadLetterRatio, RatioExceeded, RecordVerdict};
use super::dependencies::WorkerDependencies;
use super::options::{Tuning, WorkerOptions, WorkerPorts};
use super::record::{CommitBatch, RecordOutcome};
use super::refused_records::RefusedRecords;
use super::slots::StepSlots;
use super::step::PipelineStep;
use mfctl_core::breaker::{Breaker, CallSite};
use mfctl_core::domain::{AssetId, GroupName, Stage};
use mfctl_core::ports::{self, Dependency};
use mfctl_core::telemetry::events::{DependencyFailed, WorkerEvent as _};

/// The step, the ports and the breaker of one worker.
pub(super) struct WorkerContext<S> {
    pub(super) step: Arc<S>,
    pub(super) ports: WorkerPorts,
    pub(super) options: WorkerOptions,
    pub(super) group: GroupName,
    pub(super) breaker: Breaker,
    pub(super) slots: Arc<StepSlots>,
    dead_letter_ratio: Mutex<DeadLetterRatio>,
    /// Records of which the log refused the outputs or the dead letter.
    pub(super) refused: RefusedRecords,
    /// Tells the objects that this worker keeps from those of others.
    pub(super) writer: u32,
    retries: AtomicU64,
}

impl<S: PipelineStep> WorkerContext<S> {
    pub(super) fn new(step: Arc<S>, ports: WorkerPorts, options: WorkerOptions, group: GroupName) -> Self {
        let dependencies = WorkerDependencies { step: Arc::clone(&step), ports: ports.clone() };
        let breaker = Breaker::new(options.retry, options.record_limit, Arc::new(dependencies));
        Self {
            step,
            ports,
            options,
            group,
            breaker,
            slots: Arc::default(),
            dead_letter_ratio: Mutex::default(),
            refused: RefusedRecords::default(),
            // The random end of the id, which begins with the time.
            writer: uuid::Uuid::now_v7().as_u128() as u32,
            retries: AtomicU64::new(0),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.step.stage()
    }

    /// The settings in force now.
    pub(super) fn tuning(&self) -> Tuning {
        *self.options.tuning.borrow()
    }

    /// Calls a port for several records, or for none, behind the breaker: retries until the failure, if any, is not an
    /// outage.
    pub(super) async fn call<T, F>(
        &self,
        uses: &[Dependency],
        doing: &'static str,
        call: impl FnMut() -> F,
    ) -> ports::Result<T>
    where
        F: Future<Output = ports::Result<T>>,
    {
        let site = CallSite { uses, record: None };
        self.breaker.call(site, call, |error: &ports::Error| self.dependency_failed(doing, &error.full())).await
    }

    /// Removes what this stage stored of assets that were taken down. Waits out outages.
    pub(super) async fn withdraw(&self, revoked: &[AssetId]) -> ports::Result<()> {
        const USES: &[Dependency] = &[Dependency::Catalog, Dependency::Search, Dependency::Objects];
        match revoked {
            [] => Ok(()),
            revoked => self.call(USES, "withdraw", || self.step.withdraw(revoked)).await,
        }
    }

    /// Adds the records of a batch to the dead-letter ratio; `Some` when that exceeds its limit.
    pub(super) fn dead_letter_ratio_exceeded(&self, batch: &CommitBatch<S::Effect>) -> Option<RatioExceeded> {
        let limit = self.tuning().dead_letter_ratio;
        let verdict = |outcome: &RecordOutcome<S::Effect>| RecordVerdict {
            tenant: outcome.tenant().cloned(),
            failure: outcome.workers_failure(),
        };
        let mut ratio = self.dead_letter_ratio.lock().unwrap_or_else(PoisonError::into_inner);
        ratio.add_all(batch.iter().map(|(_, outcome)| verdict(outcome)), limit)
    }

    /// Whether the group has consumed every partition of the input to its end, transaction markers included. A member without
    /// partitions waits for the others this way. `false` when the log does not answer.
    pub(super) async fn is_group_drained(&self) -> bool {
        let topics = [self.stage().input()];
        match self.ports.log.progress(&self.group, &topics).await {
            Ok(progress) => progress.iter().all(|partition| partition.at_end),
            Err(error) => {
                self.dependency_failed("look whether anything is left", &error.full());
                self.breaker.failure(Dependency::Log, &error.full());
                false
            }
        }
    }

    /// Counts the failure of a dependency as a retry, and logs it.
    pub(super) fn dependency_failed(&self, doing: &'static str, error: &str) {
        self.count_retry();
        DependencyFailed { stage: self.stage(), doing, error }.emit(&self.ports.metrics);
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Retries so far, of records and of calls to dependencies.
    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
