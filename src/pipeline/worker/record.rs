//! A record on its way through the worker: claimed, then processed, skipped or dead-lettered.

use std::sync::Arc;

use super::step::StepOutput;
use super::tracker::RecordTicket;
use mfctl_core::domain::dead_letter::{FailureClass, FailureOrigin};
use mfctl_core::domain::{Asset, ClaimOwner, NewRecord, Record, Tenant, Timestamp};
use mfctl_core::ports::ClaimRequest;

/// A record whose claim this worker holds, ready for the step.
#[derive(Debug)]
pub(super) struct ClaimedRecord<I> {
    pub(super) record: Arc<Record>,
    pub(super) input: I,
    pub(super) asset: Arc<Asset>,
    pub(super) claim: ClaimRequest,
}

/// The result for one record, to be committed.
#[derive(Debug)]
pub(super) enum RecordOutcome<E> {
    /// The step succeeded.
    Processed { record: Arc<Record>, claim: ClaimRequest, tenant: Tenant, output: StepOutput<E> },
    /// Another record holds the claim on the same asset and revision: nothing is emitted.
    Duplicate,
    /// The asset is revoked: nothing is emitted.
    Revoked,
    /// The record goes to the dead-letter topic.
    DeadLetter(FailedRecord),
}

/// A record for the dead-letter topic, and why.
#[derive(Debug)]
pub(super) struct FailedRecord {
    pub(super) record: Arc<Record>,
    /// The claim it holds; `None` when it could not be decoded.
    pub(super) claim: Option<ClaimRequest>,
    /// The tenant of its asset; `None` when it could not be decoded.
    pub(super) tenant: Option<Tenant>,
    pub(super) kind: &'static str,
    pub(super) class: FailureClass,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) first_failed_at: Timestamp,
    pub(super) last_failed_at: Timestamp,
    /// The record that holds the claim on its asset, if it is not known what came of that one.
    pub(super) claim_holder: Option<Box<ClaimOwner>>,
    /// The dead letter, from the finish of its batch on.
    pub(super) letter: Option<Box<NewRecord>>,
}

impl<E> RecordOutcome<E> {
    /// Bytes it holds in memory beside the record.
    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Self::Processed { output, .. } => {
                output.weight_bytes + output.records.iter().map(NewRecord::size_bytes).sum::<usize>()
            }
            Self::DeadLetter(failed) => failed.message.len(),
            Self::Duplicate | Self::Revoked => 0,
        }
    }

    /// The tenant of its asset, where the record says anything about the worker.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Processed { tenant, .. } => Some(tenant),
            Self::DeadLetter(failed) => failed.tenant.as_ref(),
            Self::Duplicate | Self::Revoked => None,
        }
    }

    /// The error kind of a dead letter that counts against the worker.
    pub(super) fn workers_failure(&self) -> Option<&'static str> {
        match self {
            Self::DeadLetter(failed) if FailureOrigin::of_kind(failed.kind) == FailureOrigin::Worker => {
                Some(failed.kind)
            }
            _ => None,
        }
    }

    /// What the step left for its bulk operations.
    pub(super) fn effect(&self) -> Option<&E> {
        match self {
            Self::Processed { output, .. } => Some(&output.effect),
            _ => None,
        }
    }

    /// As [`RecordOutcome::effect`], without the rest.
    pub(super) fn into_effect(self) -> Option<E> {
        match self {
            Self::Processed { output, .. } => Some(output.effect),
            _ => None,
        }
    }
}

/// The records of one commit: contiguous finished prefixes, in the order of each partition.
pub(super) type CommitBatch<E> = Vec<(RecordTicket, RecordOutcome<E>)>;
