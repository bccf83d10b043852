//! The transaction: a finished batch as the log takes it, and what it comes to.

use std::collections::BTreeMap;

use super::finish::{DeadLetter, Decided, Items};
use mfctl_core::domain::dead_letter::{FailureContext, dead_letter};
use mfctl_core::domain::{GroupName, NewRecord};
use mfctl_core::ports::CommitRequest;

/// A batch as one transaction.
pub(super) fn of<E>(items: &mut Items<E>, group: &GroupName, worker: &str) -> CommitRequest {
    let mut settlement = CommitRequest { offsets: BTreeMap::new(), ..CommitRequest::default() };
    for (ticket, decided) in items {
        settlement.offsets.insert(ticket.at.clone(), ticket.offset + 1);
        match decided {
            Decided::Done { output, .. } => settlement.outputs.append(&mut output.records),
            Decided::Dead(dead) => settlement.dead_letters.push(give_up(dead, group, worker)),
            Decided::Skipped | Decided::Withheld => {}
        }
    }
    settlement
}

fn give_up(dead: &DeadLetter, group: &GroupName, worker: &str) -> NewRecord {
    let why = FailureContext {
        group: group.as_str(),
        kind: dead.kind,
        class: dead.class,
        message: &dead.message,
        attempts: dead.attempts,
        first_failed_at: dead.first_failed_at,
        last_failed_at: dead.last_failed_at,
        worker,
    };
    dead_letter(&dead.record, &why)
}

/// What a committed batch came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) records: u64,
    pub(super) emitted: u64,
    pub(super) skipped: u64,
    pub(super) dead: u64,
}

/// Counts a batch; `emitted` is what its settlement held.
pub(super) fn count<E>(items: &Items<E>, emitted: usize) -> Count {
    let of = |wanted: fn(&Decided<E>) -> bool| items.iter().filter(|(_, decided)| wanted(decided)).count() as u64;
    Count {
        records: items.len() as u64,
        emitted: emitted as u64,
        skipped: of(|decided| matches!(decided, Decided::Skipped)),
        dead: of(|decided| matches!(decided, Decided::Dead(_))),
    }
}
