//! Notable events of a worker: each emits its log line and moves its metric, so that neither is forgotten.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Metrics;
use crate::domain::{RecordAddress, Stage, TopicPartition};

/// Something worth a line and a number.
pub trait Event {
    /// Writes the line and moves the metric.
    fn emit(&self, metrics: &Metrics);
}

/// Partitions are this worker's now.
#[derive(Debug)]
pub struct Assigned<'a> {
    /// The stage.
    pub stage: Stage,
    /// The partitions.
    pub partitions: &'a [TopicPartition],
}

impl Event for Assigned<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, partitions = %names(self.partitions), "assigned");
    }
}

/// Partitions are this worker's no longer.
#[derive(Debug)]
pub struct Unassigned<'a> {
    /// The stage.
    pub stage: Stage,
    /// The partitions.
    pub partitions: &'a [TopicPartition],
    /// Why: `released` or `lost`.
    pub how: &'static str,
}

impl Event for Unassigned<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, partitions = %names(self.partitions), "{}", self.how);
    }
}

/// A batch is committed.
#[derive(Debug)]
pub struct Settled {
    /// The stage.
    pub stage: Stage,
    /// Records in it.
    pub records: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Duplicates passed over.
    pub skipped: u64,
    /// From the last step to the commit.
    pub took: Duration,
}

impl Event for Settled {
    fn emit(&self, metrics: &Metrics) {
        metrics.settled(self.stage, self.emitted, self.skipped);
        metrics.settle_took(self.stage, self.took.as_secs_f64());
        debug!(
            stage = %self.stage, records = self.records, emitted = self.emitted, skipped_duplicates = self.skipped,
            took_ms = self.took.as_millis() as u64, "settled"
        );
    }
}

/// A record is in the dead-letter topic.
#[derive(Debug)]
pub struct DeadLettered<'a> {
    /// The stage.
    pub stage: Stage,
    /// Where it stood.
    pub record: &'a RecordAddress,
    /// The kind of failure.
    pub kind: &'a str,
    /// The error.
    pub message: &'a str,
    /// How often it was tried.
    pub attempts: u32,
}

impl Event for DeadLettered<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.dead_lettered(self.stage, self.kind);
        warn!(
            stage = %self.stage, record = %self.record, kind = self.kind, attempts = self.attempts,
            error = self.message, "dead-lettered"
        );
    }
}

/// A record failed and is tried again.
#[derive(Debug)]
pub struct RecordRetried<'a> {
    /// The stage.
    pub stage: Stage,
    /// Where it stands.
    pub record: &'a RecordAddress,
    /// The kind of failure.
    pub kind: &'a str,
    /// The error.
    pub message: &'a str,
    /// The try that failed, from 1.
    pub attempt: u32,
    /// How long until the next.
    pub wait: Duration,
}

impl Event for RecordRetried<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.retried(self.stage, self.kind);
        info!(
            stage = %self.stage, record = %self.record, kind = self.kind, attempt = self.attempt,
            wait_ms = self.wait.as_millis() as u64, error = self.message, "retrying"
        );
    }
}

/// A dependency failed and is tried again.
#[derive(Debug)]
pub struct DependencyFailed<'a> {
    /// The stage.
    pub stage: Stage,
    /// What was being done: `poll`, `claim`, `step`, …
    pub doing: &'a str,
    /// The error.
    pub error: &'a str,
    /// Whether it is the first failure of this outage; later ones are not lines of their own.
    pub first: bool,
}

impl Event for DependencyFailed<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.retried(self.stage, "dependency");
        if self.first {
            warn!(stage = %self.stage, doing = self.doing, error = self.error, "dependency down, intake stands still");
        } else {
            debug!(stage = %self.stage, doing = self.doing, error = self.error, "dependency still down");
        }
    }
}

/// The dependencies answer again.
#[derive(Debug)]
pub struct Recovered {
    /// The stage.
    pub stage: Stage,
}

impl Event for Recovered {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, "dependencies answer again");
    }
}

/// The log refused a settlement: the work is void and done again.
#[derive(Debug)]
pub struct Fenced<'a> {
    /// The stage.
    pub stage: Stage,
    /// The error.
    pub error: &'a str,
}

impl Event for Fenced<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.fenced(self.stage);
        warn!(stage = %self.stage, error = self.error, "work is void, reading again from the committed offsets");
    }
}

/// A staged object of a settled event could not be deleted.
#[derive(Debug)]
pub struct StagingLeft<'a> {
    /// The stage.
    pub stage: Stage,
    /// How many objects.
    pub objects: u64,
    /// The error.
    pub error: &'a str,
}

impl Event for StagingLeft<'_> {
    fn emit(&self, metrics: &Metrics) {
        metrics.staged_left(self.stage, self.objects);
        warn!(stage = %self.stage, objects = self.objects, error = self.error, "staged objects are left as garbage");
    }
}

/// The worker takes in no more.
#[derive(Debug)]
pub struct Stopping<'a> {
    /// The stage.
    pub stage: Stage,
    /// Why.
    pub reason: &'a str,
    /// Records not settled yet.
    pub in_flight: u64,
}

impl Event for Stopping<'_> {
    fn emit(&self, _: &Metrics) {
        info!(stage = %self.stage, reason = self.reason, in_flight = self.in_flight, "stopping");
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
