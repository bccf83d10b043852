//! A finished batch as one transaction of the log, and its counts.

use mfctl_core::domain::dead_letter::{FailureContext, dead_letter};
use mfctl_core::domain::{GroupName, TopicId};
use mfctl_core::ports::CommitRequest;

use super::fences::ClaimFences;
use super::record::{CommitBatch, FailedRecord, RecordOutcome};

/// Moves the outputs out of a batch into one transaction, with its dead letters and offsets.
pub(super) fn build_commit_request<E>(
    batch: &mut CommitBatch<E>,
    fences: &ClaimFences,
    group: &GroupName,
    worker: &str,
) -> CommitRequest {
    let mut request = CommitRequest::default();
    for (ticket, outcome) in batch {
        request.offsets.insert(ticket.at.clone(), ticket.offset + 1);
        if let Some(epoch) = fences.epoch(&ticket.at) {
            request.epochs.insert(ticket.at.clone(), epoch);
        }
        match outcome {
            RecordOutcome::Processed { output, .. } => request.outputs.append(&mut output.records),
            RecordOutcome::DeadLetter(failed) => {
                let letter = match failed.letter.take() {
                    Some(letter) => *letter,
                    None => dead_letter(
                        &failed.record,
                        &failure_context(failed, fences.topic_id(&ticket.at), group, worker),
                    ),
                };
                request.dead_letters.push(letter);
            }
            RecordOutcome::Duplicate | RecordOutcome::Revoked => {}
        }
    }
    request
}

/// Why a record is a dead letter, for its headers.
pub(super) fn failure_context<'a>(
    failed: &'a FailedRecord,
    topic_id: Option<&'a TopicId>,
    group: &'a GroupName,
    worker: &'a str,
) -> FailureContext<'a> {
    FailureContext {
        claim_holder: failed.claim_holder.as_deref(),
        topic_id,
        group: group.as_str(),
        kind: failed.kind,
        class: failed.class,
        message: &failed.message,
        attempts: failed.attempts,
        first_failed_at: failed.first_failed_at,
        last_failed_at: failed.last_failed_at,
        worker,
    }
}

/// The counts of a committed batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommitCounts {
    pub(super) records: u64,
    pub(super) emitted: u64,
    pub(super) duplicates: u64,
    pub(super) dead_letters: u64,
}

/// Counts a batch; `emitted` is the number of outputs in its request.
pub(super) fn count_batch<E>(batch: &CommitBatch<E>, emitted: usize) -> CommitCounts {
    let count = |is: fn(&RecordOutcome<E>) -> bool| batch.iter().filter(|(_, outcome)| is(outcome)).count() as u64;
    CommitCounts {
        records: batch.len() as u64,
        emitted: emitted as u64,
        duplicates: count(|outcome| matches!(outcome, RecordOutcome::Duplicate)),
        dead_letters: count(|outcome| matches!(outcome, RecordOutcome::DeadLetter(_))),
    }
}
