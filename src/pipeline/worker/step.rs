//! The step of a stage: what the consume loop runs for each record, and what the step returns.

use std::fmt;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use mfctl_core::breaker::DependencyFault;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::event::EventEnvelope;
use mfctl_core::domain::{Asset, AssetId, NewRecord, ObjectRef, Record, Stage};
use mfctl_core::ports::{self, Dependency};
use mfctl_core::retry::{self, FailureAction};

/// The context that a step receives with its decoded input.
#[derive(Debug, Clone, Copy)]
pub struct RecordContext<'a> {
    /// The record as polled, with key and headers.
    pub record: &'a Record,
    /// The catalog's row of the asset when the record was claimed.
    pub asset: &'a Asset,
}

/// The result of a step for one record.
#[derive(Debug)]
pub struct StepOutput<E> {
    /// Records to emit, committed together with the input's offset.
    pub records: Vec<NewRecord>,
    /// Input of the bulk operations before the commit ([`PipelineStep::finish`]) and after it
    /// ([`PipelineStep::staged_object`]).
    pub effect: E,
    /// Bytes that the effect holds in memory.
    pub weight_bytes: usize,
}

/// Why a step failed.
#[derive(Debug)]
pub enum StepError {
    /// A port failed; the error's kind decides what follows.
    Port(ports::Error),
    /// A dependency failed that is not a port, such as the parser; or one whose failure has a name of its own.
    Dependency {
        /// The dependency.
        dependency: Dependency,
        /// The dead letter's error kind, should this record alone keep failing.
        kind: &'static str,
        /// The error, in a sentence.
        message: String,
    },
    /// The record is at fault.
    Record {
        /// A short stable word, e.g. `malformed`: the dead letter's error kind.
        kind: &'static str,
        /// Whether a retry may succeed.
        class: FailureClass,
        /// The error, in a sentence.
        message: String,
    },
}

impl StepError {
    /// A failure of the record that no retry resolves.
    #[must_use]
    pub fn permanent(kind: &'static str, message: impl Into<String>) -> Self {
        Self::Record { kind, class: FailureClass::Permanent, message: message.into() }
    }

    /// Whether to retry, to dead-letter the record, or to stop the worker.
    #[must_use]
    pub fn action(&self) -> FailureAction {
        match self {
            Self::Port(error) => retry::action_for(error.kind()),
            Self::Dependency { .. } => FailureAction::RetryDependency,
            Self::Record { class: FailureClass::Transient, .. } => FailureAction::RetryRecord,
            Self::Record { class: FailureClass::Permanent, .. } => FailureAction::DeadLetter,
        }
    }

    /// The short stable word for logs, metrics and dead-letter headers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Port(error) => error.kind().as_str(),
            Self::Dependency { kind, .. } | Self::Record { kind, .. } => kind,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(error) => f.write_str(&error.full()),
            Self::Dependency { message, .. } | Self::Record { message, .. } => f.write_str(message),
        }
    }
}

impl DependencyFault for StepError {
    fn is_dependency(&self) -> bool {
        self.action() == FailureAction::RetryDependency
    }

    fn dependency(&self) -> Option<Dependency> {
        match self {
            Self::Port(error) => error.dependency(),
            Self::Dependency { dependency, .. } => Some(*dependency),
            Self::Record { .. } => None,
        }
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Port(error) if error.is_full())
    }

    fn is_throttled(&self) -> bool {
        matches!(self, Self::Port(error) if error.is_throttled())
    }
}

impl From<ports::Error> for StepError {
    fn from(error: ports::Error) -> Self {
        Self::Port(error)
    }
}

/// A stage's work on one record.
///
/// Contract: idempotent. A step may run again for a record whose earlier run was lost, was interrupted, or was done by a
/// worker that has been fenced since. It never overwrites the result of a later revision.
#[async_trait]
pub trait PipelineStep: Send + Sync + 'static {
    /// The event it consumes.
    type Input: DeserializeOwned + Send + Sync + 'static;
    /// What [`PipelineStep::finish`] and [`PipelineStep::staged_object`] need of each record.
    type Effect: Send + Sync + 'static;

    /// The stage, which names topics, group and metrics.
    fn stage(&self) -> Stage;

    /// The fields of the input that every event has.
    fn envelope(input: &Self::Input) -> &EventEnvelope;

    /// Processes one record, as far as that needs no other record.
    async fn run(&self, cx: RecordContext<'_>, input: &Self::Input) -> Result<StepOutput<Self::Effect>, StepError>;

    /// A cheap call that succeeds exactly while a dependency of this step works for records in general: the breaker's canary.
    /// `None` for a dependency that the step does not use or cannot check.
    async fn check(&self, _: Dependency) -> Option<ports::Result<()>> {
        None
    }

    /// Removes what this stage stored of assets that were taken down. Of one that is not down any more, nothing is removed.
    async fn withdraw(&self, _: &[AssetId]) -> ports::Result<()> {
        Ok(())
    }

    /// Writes in bulk what must be durable before the commit. What it wrote of an asset that was taken down meanwhile is
    /// withdrawn.
    async fn finish(&self, effects: &[&Self::Effect]) -> ports::Result<()>;

    /// The staged object of a record with this effect: it is deleted after the record's commit, best effort.
    fn staged_object(&self, _: Self::Effect) -> Option<ObjectRef> {
        None
    }
}
