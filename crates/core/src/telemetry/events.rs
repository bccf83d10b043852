//! Events of a worker: each emits its log line and updates its metric in one call, so that neither is forgotten.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Metrics;
use crate::domain::{RecordAddress, Stage, TopicPartition};

/// An event with a log line and, where there is one, a metric.
pub trait WorkerEvent {
    /// Writes the log line and updates the metric.
    fn emit(&self, metrics: &Metrics);
}

/// Partitions were assigned to this worker.
#[derive(Debug)]
pub struct PartitionsAssigned<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Partitions concerned.
    pub partitions: &'a [TopicPartition],
}

impl WorkerEvent for PartitionsAssigned<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, partitions = %names(self.partitions), "assigned");
    }
}

/// Partitions were taken from this worker.
#[derive(Debug)]
pub struct PartitionsUnassigned<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Partitions concerned.
    pub partitions: &'a [TopicPartition],
    /// `released` on a rebalance, `lost` after an eviction; it is the log message.
    pub how: &'static str,
}

impl WorkerEvent for PartitionsUnassigned<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, partitions = %names(self.partitions), "{}", self.how);
    }
}

/// A batch was committed.
#[derive(Debug)]
pub struct BatchCommitted {
    /// Stage of the worker.
    pub stage: Stage,
    /// Input records of the batch.
    pub records: u64,
    /// Output events committed with it.
    pub emitted: u64,
    /// Duplicates skipped.
    pub skipped: u64,
    /// Time from the end of the last step to the commit.
    pub took: Duration,
}

impl WorkerEvent for BatchCommitted {
    fn emit(&self, metrics: &Metrics) {
        metrics.committed(self.stage, self.emitted, self.skipped);
        metrics.settle_took(self.stage, self.took.as_secs_f64());
        debug!(
            stage = %self.stage, records = self.records, emitted = self.emitted, skipped_duplicates = self.skipped,
            took_ms = self.took.as_millis() as u64, "settled"
        );
    }
}

/// A record was committed to the dead-letter topic.
#[derive(Debug)]
pub struct DeadLettered<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Address of the input record.
    pub record: &'a RecordAddress,
    /// Failure kind, the metric's `error_type`.
    pub kind: &'a str,
    /// Error with its causes.
    pub message: &'a str,
    /// Attempts made, the first included.
    pub attempts: u32,
}

impl WorkerEvent for DeadLettered<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.dead_lettered(self.stage, self.kind);
        warn!(
            stage = %self.stage, record = %self.record, kind = self.kind, attempts = self.attempts,
            error = self.message, "dead-lettered"
        );
    }
}

/// A record failed and will be retried.
#[derive(Debug)]
pub struct RecordRetried<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Address of the record.
    pub record: &'a RecordAddress,
    /// Failure kind, the metric's `error_type`.
    pub kind: &'a str,
    /// Error with its causes.
    pub message: &'a str,
    /// The attempt that failed, counted from 1.
    pub attempt: u32,
    /// Delay before the next attempt.
    pub wait: Duration,
}

impl WorkerEvent for RecordRetried<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.retried(self.stage, self.kind);
        info!(
            stage = %self.stage, record = %self.record, kind = self.kind, attempt = self.attempt,
            wait_ms = self.wait.as_millis() as u64, error = self.message, "retrying"
        );
    }
}

/// A call to a dependency failed and will be retried.
#[derive(Debug)]
pub struct DependencyFailed<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Operation that failed: `poll`, `claim`, `step`, …
    pub doing: &'a str,
    /// Error with its causes.
    pub error: &'a str,
}

impl WorkerEvent for DependencyFailed<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.retried(self.stage, "dependency");
        debug!(stage = %self.stage, doing = self.doing, error = self.error, "call to a dependency failed");
    }
}

/// An outage of a dependency began.
#[derive(Debug)]
pub struct DependencyDown<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Name of the dependency: `log`, `objects`, `parser`, …
    pub dependency: &'static str,
    /// Error with its causes.
    pub error: &'a str,
    /// Whether intake pauses. It does not when the dependency works but for many records in a row: new ones are tried then,
    /// one at a time.
    pub pauses_intake: bool,
}

impl WorkerEvent for DependencyDown<'_> {
    fn emit(&self, metrics: &Metrics) {
        let Self { stage, dependency, error, .. } = self;
        metrics.dependency_down(*stage, dependency, true);
        if self.pauses_intake {
            warn!(%stage, dependency, error, "dependency unavailable, intake paused");
        } else {
            warn!(%stage, dependency, error, "dependency fails for many records, new ones are tried one at a time");
        }
    }
}

/// An outage of a dependency is over.
#[derive(Debug)]
pub struct DependencyRecovered {
    /// Stage of the worker.
    pub stage: Stage,
    /// Name of the dependency.
    pub dependency: &'static str,
    /// Whether no other dependency is down.
    pub last: bool,
}

impl WorkerEvent for DependencyRecovered {
    fn emit(&self, metrics: &Metrics) {
        let Self { stage, dependency, .. } = self;
        metrics.dependency_down(*stage, dependency, false);
        if self.last {
            info!(%stage, dependency, "dependencies recovered, intake resumed");
        } else {
            info!(%stage, dependency, "dependency recovered; another is still unavailable");
        }
    }
}

/// The log fenced a commit: the records of the batch are redelivered.
#[derive(Debug)]
pub struct CommitFenced<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Error with its causes.
    pub error: &'a str,
}

impl WorkerEvent for CommitFenced<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.fenced(self.stage);
        warn!(stage = %self.stage, error = self.error, "commit fenced; reading again from the committed offsets");
    }
}

/// Staged objects of committed events could not be deleted.
#[derive(Debug)]
pub struct StagingDeleteFailed<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Objects left in the staging bucket.
    pub objects: u64,
    /// Error with its causes.
    pub error: &'a str,
}

impl WorkerEvent for StagingDeleteFailed<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.staging_deletes_failed(self.stage, self.objects);
        warn!(stage = %self.stage, objects = self.objects, error = self.error, "staged objects could not be deleted and are left as garbage");
    }
}

/// More staged objects were to be deleted than a worker remembers.
#[derive(Debug)]
pub struct StagingDeletesSkipped {
    /// Stage of the worker.
    pub stage: Stage,
    /// Objects left in the staging bucket.
    pub objects: u64,
    /// Whether these are the first since all that were remembered had been deleted. Only then this is logged.
    pub is_first: bool,
}

impl WorkerEvent for StagingDeletesSkipped {
    fn emit(&self, metrics: &Metrics) {
        metrics.staging_deletes_failed(self.stage, self.objects);
        if self.is_first {
            warn!(stage = %self.stage, "the object store deletes staged objects more slowly than they are settled; those that \
                do not fit the queue are left as garbage");
        }
    }
}

/// The worker stopped its intake and drains what is in flight.
#[derive(Debug)]
pub struct WorkerStopping<'a> {
    /// Stage of the worker.
    pub stage: Stage,
    /// Stop reason.
    pub reason: &'a str,
    /// Records read and not yet committed.
    pub in_flight: u64,
}

impl WorkerEvent for WorkerStopping<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, reason = self.reason, in_flight = self.in_flight, "stopping");
    }
}

/// The values of settings that this worker does not use have changed.
#[derive(Debug)]
pub struct SettingsNotUsed<'a> {
    /// One line for each: the value, where it comes from, why it is not used, and the value in use; none when every value is
    /// used again.
    pub lines: &'a [String],
}

impl WorkerEvent for SettingsNotUsed<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.settings_not_used(self.lines.len() as u64);
        if self.lines.is_empty() {
            info!("every value of the settings is used");
        }
        for setting in self.lines {
            warn!(setting, "refused the value of a setting");
        }
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
