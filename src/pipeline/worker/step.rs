//! A step: what the consume loop runs for each record, and what it hands back.

use std::fmt;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use mfctl_core::breaker::DependencyFault;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::event::EventEnvelope;
use mfctl_core::domain::{Asset, NewRecord, Record, Stage};
use mfctl_core::ports;
use mfctl_core::retry::{self, FailureAction};

/// What a step is told beside its input.
#[derive(Debug, Clone, Copy)]
pub struct RecordContext<'a> {
    /// The record as it was read.
    pub record: &'a Record,
    /// The asset as the catalog had it when the record was claimed.
    pub asset: &'a Asset,
}

/// What came of one record.
#[derive(Debug)]
pub struct StepOutput<E> {
    /// What it emits.
    pub records: Vec<NewRecord>,
    /// What is still to be done for it, in bulk, before the commit ([`Step::finish`]) and after it.
    pub effect: E,
    /// What the effect holds in memory, in bytes.
    pub weight_bytes: usize,
}

/// Why a step failed.
#[derive(Debug)]
pub enum StepError {
    /// A port failed; what that means depends on the error's kind.
    Port(ports::Error),
    /// The record is at fault.
    Record {
        /// A short stable word.
        kind: &'static str,
        /// Whether another try could help.
        class: FailureClass,
        /// What is wrong, in a sentence.
        message: String,
    },
}

impl StepError {
    /// A fault that no try can mend.
    #[must_use]
    pub fn permanent(kind: &'static str, message: impl Into<String>) -> Self {
        Self::Record { kind, class: FailureClass::Permanent, message: message.into() }
    }

    /// What the failure means.
    #[must_use]
    pub fn action(&self) -> FailureAction {
        match self {
            Self::Port(error) => retry::action_for(error.kind()),
            Self::Record { class: FailureClass::Transient, .. } => FailureAction::RetryRecord,
            Self::Record { class: FailureClass::Permanent, .. } => FailureAction::DeadLetter,
        }
    }

    /// The short stable word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Port(error) => error.kind().as_str(),
            Self::Record { kind, .. } => kind,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(error) => f.write_str(&error.full()),
            Self::Record { message, .. } => f.write_str(message),
        }
    }
}

impl DependencyFault for StepError {
    fn is_dependency(&self) -> bool {
        self.action() == FailureAction::RetryDependency
    }
}

impl From<ports::Error> for StepError {
    fn from(error: ports::Error) -> Self {
        Self::Port(error)
    }
}

/// A stage's work on one record.
///
/// Contract: idempotent. A step may run again for a record whose earlier run was lost, cut off half-way, or done by
/// another worker that has been fenced since. It never undoes what a later revision did.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// The event it takes.
    type Input: DeserializeOwned + Send + Sync + 'static;
    /// What it leaves for [`Step::finish`] and [`Step::after_commit`].
    type Effect: Send + Sync + 'static;

    /// The stage it is.
    fn stage(&self) -> Stage;

    /// What the input has in common with every event.
    fn envelope(input: &Self::Input) -> &EventEnvelope;

    /// Does the work of one record, as far as it can be done alone.
    async fn run(&self, cx: RecordContext<'_>, input: &Self::Input) -> Result<StepOutput<Self::Effect>, StepError>;

    /// Does for a batch, in bulk, what has to be durable before the commit.
    async fn finish(&self, effects: &[&Self::Effect]) -> ports::Result<()>;

    /// Does, best effort, what may only be done after the commit. Answers how many objects are left and why.
    async fn after_commit(&self, effects: &[&Self::Effect]) -> Result<(), Leftover>;
}

/// What could not be tidied up after a commit.
#[derive(Debug)]
pub struct Leftover {
    /// Objects that stay.
    pub objects: u64,
    /// Why.
    pub error: ports::Error,
}
