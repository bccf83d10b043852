//! Records of which the log refused what was to be committed, although it seemed to be within its limits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tracker::RecordTicket;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::Error;

/// How often the commit of one record may be refused: its outputs, its whole dead letter, a stub, the smallest stub.
const MAX_REFUSALS: u32 = 4;

/// What the log refused of one record.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    /// How often.
    pub(super) count: u32,
    /// The log's latest error.
    pub(super) error: String,
}

/// Refusals by record, until it is committed. A record is in it only while it is committed alone, so that there are few.
#[derive(Debug, Default)]
pub(super) struct RefusedRecords(Mutex<BTreeMap<(TopicPartition, i64), Refusals>>);

impl RefusedRecords {
    /// Notes that the log refused the commit of this record alone. Returns whether there is a smaller form left to try.
    pub(super) fn refuse(&self, ticket: &RecordTicket, error: &Error) -> bool {
        let mut refused = self.lock();
        let key = (ticket.at.clone(), ticket.offset);
        let refusals = refused.entry(key).or_insert(Refusals { count: 0, error: String::new() });
        refusals.count += 1;
        refusals.error = error.full();
        refusals.count < MAX_REFUSALS
    }

    /// The refusals of a record.
    pub(super) fn get(&self, ticket: &RecordTicket) -> Option<Refusals> {
        self.lock().get(&(ticket.at.clone(), ticket.offset)).cloned()
    }

    /// Forgets records below the committed offsets.
    pub(super) fn committed(&self, offsets: &BTreeMap<TopicPartition, i64>) {
        self.lock().retain(|(at, offset), _| offsets.get(at).is_none_or(|committed| offset >= committed));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TopicPartition, i64), Refusals>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
