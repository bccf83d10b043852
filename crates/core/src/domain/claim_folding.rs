//! Folding: old claims are removed, and their assets keep the highest revision that a group has processed.
//!
//! A claim is kept while a redrive may still name the record that holds it, or the log may deliver that record again.
//! After that only one thing of it matters: that its (asset, revision) was processed.

use std::collections::BTreeMap;

use super::claim::{ClaimState, StoredClaim};
use super::ids::Revision;
use super::names::{TopicId, TopicName};
use jiff::Timestamp;

/// Which claims of a group are old enough to be folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldLimits {
    /// The group's input.
    pub topic: TopicName,
    /// Its id; `None` where the log has none.
    pub topic_id: Option<TopicId>,
    /// The first offset that each partition still has.
    pub retained_from: BTreeMap<u32, i64>,
    /// Claims that were taken before this time are old as well, wherever their records are: twice the topic's retention
    /// ago. `None` for a topic that keeps its records for ever.
    pub claimed_before: Option<Timestamp>,
}

impl FoldLimits {
    /// Whether a claim may be folded. It must be of an asset that is known, not taken down, and not dead-lettered, and
    /// no claim of an earlier revision of the asset may be left.
    #[must_use]
    pub fn allow(&self, claim: &StoredClaim, claimed_at: Option<Timestamp>) -> bool {
        let record = &claim.owner.record;
        let ids_differ =
            claim.owner.topic_id.is_some() && self.topic_id.is_some() && claim.owner.topic_id != self.topic_id;
        let retained_from =
            self.retained_from.get(&record.partition).filter(|_| record.topic == self.topic && !ids_differ);
        let is_removed = retained_from.is_some_and(|retained_from| record.offset < *retained_from);
        let is_old = claimed_at.zip(self.claimed_before).is_some_and(|(claimed_at, before)| claimed_at < before);
        claim.state == ClaimState::Processed && (is_removed || is_old)
    }
}

/// Whether a claim that is not stored was folded: the highest folded revision of its asset is this one or a later one.
/// A record of an earlier revision that never claimed is superseded.
#[must_use]
pub fn is_folded(revision: Revision, highest: Option<Revision>) -> bool {
    highest.is_some_and(|highest| revision <= highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ClaimOwner, RecordAddress};

    const INPUT: TopicName = TopicName::known("ingest.raw");

    fn id(text: &str) -> Option<TopicId> {
        TopicId::new(text).ok()
    }

    fn claim(partition: u32, offset: i64, topic_id: Option<&str>, state: ClaimState) -> StoredClaim {
        let record = RecordAddress { topic: INPUT, partition, offset };
        StoredClaim { owner: ClaimOwner { record, topic_id: topic_id.and_then(id) }, epoch: None, state }
    }

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn limits(claimed_before: Option<Timestamp>) -> FoldLimits {
        FoldLimits { topic: INPUT, topic_id: id("a"), retained_from: BTreeMap::from([(0, 10)]), claimed_before }
    }

    #[test]
    fn only_processed_claims_are_folded() {
        use ClaimState::{DeadLetterPending, DeadLettered, Open, Processed};
        let allowed = [Open, DeadLetterPending, DeadLettered, Processed]
            .map(|state| limits(at(1000)).allow(&claim(0, 9, Some("a"), state), at(0)));
        assert_eq!(allowed, [false, false, false, true]);
    }

    #[test]
    fn a_claim_is_old_when_the_log_has_removed_its_record_or_by_its_age() {
        let of_record = |partition, offset, topic_id| {
            limits(None).allow(&claim(partition, offset, topic_id, ClaimState::Processed), at(0))
        };
        assert!(of_record(0, 9, Some("a")) && of_record(0, 9, None));
        assert!(!of_record(0, 10, Some("a")), "the log still has it");
        assert!(!of_record(1, 9, Some("a")), "a partition that was not looked at");
        assert!(!of_record(0, 9, Some("b")), "the start of another topic says nothing");
        let other_topic = FoldLimits { topic: TopicName::known("media.ingested"), ..limits(None) };
        assert!(!other_topic.allow(&claim(0, 9, Some("a"), ClaimState::Processed), at(0)));
        let retained = claim(0, 10, Some("b"), ClaimState::Processed);
        let by_age = |claimed_at| limits(at(1000)).allow(&retained, claimed_at);
        assert_eq!([by_age(at(999)), by_age(at(1000)), by_age(None)], [true, false, false]);
    }

    #[test]
    fn a_folded_revision_is_the_highest_one_or_an_earlier_one() {
        let folded = |revision| is_folded(Revision(revision), Some(Revision(2)));
        assert_eq!([folded(1), folded(2), folded(3)], [true, true, false]);
        assert!(!is_folded(Revision(1), None));
    }
}
