//! What the consume loop and its tasks share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::{Tuning, WorkerOptions, WorkerPorts};
use super::step::PipelineStep;
use mfctl_core::breaker::{Breaker, CallSite};
use mfctl_core::domain::{GroupName, Stage};
use mfctl_core::ports;
use mfctl_core::telemetry::events::{DependencyFailed, WorkerEvent as _};

/// The step, the ports and the breaker of one worker.
pub(super) struct WorkerContext<S> {
    pub(super) step: Arc<S>,
    pub(super) ports: WorkerPorts,
    pub(super) options: WorkerOptions,
    pub(super) group: GroupName,
    pub(super) breaker: Breaker,
    retries: AtomicU64,
}

impl<S: PipelineStep> WorkerContext<S> {
    pub(super) fn new(step: Arc<S>, ports: WorkerPorts, options: WorkerOptions, group: GroupName) -> Self {
        let breaker = Breaker::new(options.retry);
        Self { step, ports, options, group, breaker, retries: AtomicU64::new(0) }
    }

    pub(super) fn stage(&self) -> Stage {
        self.step.stage()
    }

    /// The settings in force now.
    pub(super) fn tuning(&self) -> Tuning {
        *self.options.tuning.borrow()
    }

    /// Calls a port behind the breaker: retries until the failure, if any, is not an outage.
    pub(super) async fn call<T, F>(
        &self,
        site: CallSite,
        doing: &'static str,
        call: impl FnMut() -> F,
    ) -> ports::Result<T>
    where
        F: Future<Output = ports::Result<T>>,
    {
        self.breaker.call(site, call, |error: &ports::Error| self.dependency_failed(doing, &error.full())).await
    }

    /// Whether the group has consumed every partition of the input to its end, transaction markers included. A member without
    /// partitions waits for the others this way. `false` when the log does not answer.
    pub(super) async fn is_group_drained(&self) -> bool {
        let topics = [self.stage().input()];
        match self.ports.log.progress(&self.group, &topics).await {
            Ok(progress) => progress.iter().all(|partition| partition.at_end),
            Err(error) => {
                self.dependency_failed("look whether anything is left", &error.full());
                self.breaker.failure(CallSite::Log, &error);
                false
            }
        }
    }

    /// Counts the failure of a dependency as a retry, and logs it; at `warn` only when the outage begins.
    pub(super) fn dependency_failed(&self, doing: &'static str, error: &str) {
        self.count_retry();
        let first = !self.breaker.is_open();
        DependencyFailed { stage: self.stage(), doing, error, first }.emit(&self.ports.metrics);
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Retries so far, of records and of calls to dependencies.
    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
