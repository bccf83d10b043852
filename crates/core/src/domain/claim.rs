//! Claims: which input record may produce the output of an (asset, revision) in a group.
//!
//! A record that a step is to process claims its (asset, revision) first. The rules here say what becomes of a claim; every
//! catalog applies them, the embedded one by calling them.
//!
//! Requests are fenced. The catalog mints an epoch for each partition when a member is assigned it ([`mint`]), and refuses
//! what a request says about a partition under any other epoch. So a request that arrives after its member was evicted, or
//! after the member started over, changes nothing.

use std::fmt;
use std::str::FromStr;

use super::names::TopicId;
use super::record::RecordAddress;

/// A number that the catalog mints for a partition of a group at each assignment. Grows by at least 1 each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimEpoch(pub i64);

/// What the commit's metadata says of the epoch, so that a commit of a member can be told from one of another tool:
/// `mfctl claim-epoch=7`.
const METADATA_PREFIX: &str = "mfctl claim-epoch=";

impl ClaimEpoch {
    /// The metadata of a commit that is made under this epoch.
    #[must_use]
    pub fn to_metadata(self) -> String {
        format!("{METADATA_PREFIX}{}", self.0)
    }

    /// The epoch in a commit's metadata; `None` for a commit of another tool or of a release without epochs.
    #[must_use]
    pub fn from_metadata(metadata: &str) -> Option<Self> {
        metadata.strip_prefix(METADATA_PREFIX).and_then(|epoch| epoch.parse().ok()).map(Self)
    }
}

/// A member's standing in its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupGeneration {
    /// The group's generation. Begins again when the group is deleted or expires.
    pub generation: i64,
    /// The member's id.
    pub member_id: String,
}

/// An epoch with the assignment that it was minted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintedEpoch {
    /// The epoch.
    pub epoch: ClaimEpoch,
    /// The member, and the generation in which it was assigned the partition.
    pub minted_for: GroupGeneration,
}

/// The answer to a request for an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochAnswer {
    /// The new epoch. All earlier ones of the partition are fenced.
    Minted(ClaimEpoch),
    /// The stored epoch was minted for a later generation, or for another member of the same one. Either the request is late,
    /// or the group began again. A member that its group confirms asks again, to replace exactly this epoch.
    Refused(MintedEpoch),
}

/// Decides on a request for an epoch by a member. `replaces` is the stored epoch that the member was refused for, and that it
/// may replace because its group has confirmed its membership since.
#[must_use]
pub fn mint(stored: Option<&MintedEpoch>, member: &GroupGeneration, replaces: Option<&MintedEpoch>) -> EpochAnswer {
    let Some(stored) = stored else { return EpochAnswer::Minted(ClaimEpoch(1)) };
    let is_later = member.generation > stored.minted_for.generation;
    if is_later || *member == stored.minted_for || replaces == Some(stored) {
        return EpochAnswer::Minted(ClaimEpoch(stored.epoch.0 + 1));
    }
    EpochAnswer::Refused(stored.clone())
}

/// The record that holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimOwner {
    /// Address of the record.
    pub record: RecordAddress,
    /// Id of its topic; `None` where the log has none, and for claims of releases without it.
    pub topic_id: Option<TopicId>,
}

impl ClaimOwner {
    /// Whether both are the same record: the same address, and not in two topics of the same name.
    #[must_use]
    pub fn is_same_record(&self, other: &Self) -> bool {
        let ids_differ = self.topic_id.is_some() && other.topic_id.is_some() && self.topic_id != other.topic_id;
        self.record == other.record && !ids_differ
    }
}

/// As text `<topic>:<partition>:<offset>` or `<topic>:<partition>:<offset>@<topic id>`.
impl fmt::Display for ClaimOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic_id {
            Some(id) => write!(f, "{}@{id}", self.record),
            None => write!(f, "{}", self.record),
        }
    }
}

impl FromStr for ClaimOwner {
    type Err = super::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((record, id)) = text.split_once('@') else {
            return Ok(Self { record: text.parse()?, topic_id: None });
        };
        let topic_id = TopicId::new(id).map_err(|_| super::ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "a record's address and the id of its topic (<topic>:<partition>:<offset>@<topic id>)",
        })?;
        Ok(Self { record: record.parse()?, topic_id: Some(topic_id) })
    }
}

/// The state of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimState {
    /// Its record is in progress, or will be delivered again. Exits: `DeadLetterPending`; `Processed`, when a commit passes
    /// the record; held by another record, by [`take`].
    Open,
    /// Its record's dead letter is about to be committed. Exits: `DeadLettered`, when a commit passes the record; `Open`, when
    /// the record is delivered again; held by another record, by [`take`].
    DeadLetterPending,
    /// A commit passed its record, whose output is in the log unless its asset was revoked. Exit: held by the record that a
    /// redrive of its dead letter sent, which shows that the record ended as one after all.
    Processed,
    /// A commit passed its record, and its dead letter is in the log. Exit: held by another record, by [`take`].
    DeadLettered,
}

impl ClaimState {
    /// Whether a commit passed the record.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Processed | Self::DeadLettered)
    }

    /// The state after a commit passed the record.
    #[must_use]
    pub fn completed(self) -> Self {
        match self {
            Self::Open | Self::Processed => Self::Processed,
            Self::DeadLetterPending | Self::DeadLettered => Self::DeadLettered,
        }
    }
}

/// A claim as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredClaim {
    /// The record that holds it.
    pub owner: ClaimOwner,
    /// The epoch under which it was taken; `None` for a claim of a release without epochs.
    pub epoch: Option<ClaimEpoch>,
    /// Its state.
    pub state: ClaimState,
}

/// Why a record may take a claim that another record holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum ClaimGround {
    /// It may take a free claim, and one that ended as a dead letter: the asset was ingested again.
    #[default]
    Delivered,
    /// It was sent by a redrive of this record's dead letter, which proves that this record emitted nothing. It may take a
    /// free claim, and that of this record.
    Redrive(ClaimOwner),
    /// This record will never be processed by its group, and neither its output nor its dead letter is in the log. It may take
    /// that claim while it is not done.
    Abandoned(ClaimOwner),
}

/// What a request makes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimDecision {
    /// The record holds the claim from now on, in state [`ClaimState::Open`], under its epoch.
    Take,
    /// The record holds the claim already, under this epoch: nothing changes.
    Keep,
    /// Another record holds the claim, or it is done: the record emits nothing.
    Refuse,
}

/// Decides on the request of a record, under its epoch, for a claim.
#[must_use]
pub fn take(
    stored: Option<&StoredClaim>,
    record: &ClaimOwner,
    epoch: ClaimEpoch,
    ground: &ClaimGround,
) -> ClaimDecision {
    let Some(stored) = stored else { return ClaimDecision::Take };
    if stored.owner.is_same_record(record) {
        return match (stored.state.is_done(), stored.epoch == Some(epoch)) {
            (true, _) => ClaimDecision::Refuse,
            // A repeated request: the record may be a pending dead letter by now.
            (false, true) => ClaimDecision::Keep,
            (false, false) => ClaimDecision::Take,
        };
    }
    let may_take = match ground {
        ClaimGround::Delivered => stored.state == ClaimState::DeadLettered,
        ClaimGround::Redrive(replaced) => stored.owner.is_same_record(replaced),
        ClaimGround::Abandoned(abandoned) => stored.owner.is_same_record(abandoned) && !stored.state.is_done(),
    };
    if may_take { ClaimDecision::Take } else { ClaimDecision::Refuse }
}

/// Whether a commit below which a claim's record lies completes the claim. It does if a member made it: its metadata has an
/// epoch. A commit without metadata is one of another tool, or of a release without epochs, which completes its own claims.
#[must_use]
pub fn is_completed_by(claim: &StoredClaim, commit_epoch: Option<ClaimEpoch>) -> bool {
    !claim.state.is_done() && (commit_epoch.is_some() || claim.epoch.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TopicName;

    fn owner(offset: i64, topic_id: Option<&str>) -> ClaimOwner {
        let record = RecordAddress { topic: TopicName::known("ingest.raw"), partition: 0, offset };
        ClaimOwner { record, topic_id: topic_id.map(|id| TopicId::new(id).unwrap()) }
    }

    fn claim(offset: i64, epoch: i64, state: ClaimState) -> StoredClaim {
        StoredClaim { owner: owner(offset, Some("a")), epoch: Some(ClaimEpoch(epoch)), state }
    }

    #[test]
    fn a_claim_is_taken_again_by_its_own_record_until_it_is_done() {
        use ClaimState::{DeadLetterPending, DeadLettered, Open, Processed};
        let asked = |state, epoch| {
            take(Some(&claim(5, 2, state)), &owner(5, Some("a")), ClaimEpoch(epoch), &ClaimGround::Delivered)
        };
        for state in [Open, DeadLetterPending] {
            assert_eq!(asked(state, 3), ClaimDecision::Take, "delivered again to the next owner of the partition");
            assert_eq!(asked(state, 2), ClaimDecision::Keep, "a late repetition does not reopen a pending dead letter");
        }
        for state in [Processed, DeadLettered] {
            assert_eq!(asked(state, 3), ClaimDecision::Refuse, "the offset was reset: nothing is emitted again");
        }
    }

    #[test]
    fn another_record_takes_only_what_emitted_nothing() {
        use ClaimState::{DeadLetterPending, DeadLettered, Open, Processed};
        let asked = |state, ground: &ClaimGround| {
            take(Some(&claim(5, 2, state)), &owner(9, Some("a")), ClaimEpoch(2), ground) == ClaimDecision::Take
        };
        let replaced = ClaimGround::Redrive(owner(5, Some("a")));
        let replaced_other = ClaimGround::Redrive(owner(4, Some("a")));
        let abandoned = ClaimGround::Abandoned(owner(5, None));
        for (state, delivered, redriven, if_abandoned) in [
            (Open, false, true, true),
            (DeadLetterPending, false, true, true),
            (Processed, false, true, false),
            (DeadLettered, true, true, false),
        ] {
            assert_eq!(asked(state, &ClaimGround::Delivered), delivered, "{state:?}");
            assert_eq!(asked(state, &replaced), redriven, "{state:?}");
            assert_eq!(asked(state, &abandoned), if_abandoned, "{state:?}");
            assert!(!asked(state, &replaced_other), "{state:?}: its dead letter was superseded");
        }
        assert_eq!(take(None, &owner(9, None), ClaimEpoch(1), &replaced), ClaimDecision::Take);
    }

    #[test]
    fn a_recreated_topic_has_other_records_at_the_same_addresses() {
        assert!(owner(5, Some("a")).is_same_record(&owner(5, None)));
        assert!(!owner(5, Some("a")).is_same_record(&owner(5, Some("b"))));
        let other_topic = owner(5, Some("b"));
        let decision = take(Some(&claim(5, 2, ClaimState::Open)), &other_topic, ClaimEpoch(2), &ClaimGround::Delivered);
        assert_eq!(decision, ClaimDecision::Refuse);
    }

    #[test]
    fn a_lower_generation_mints_only_over_the_epoch_that_it_was_refused_for() {
        let member = |generation, id: &str| GroupGeneration { generation, member_id: id.to_owned() };
        let stored = MintedEpoch { epoch: ClaimEpoch(7), minted_for: member(5, "m") };
        assert_eq!(mint(None, &member(1, "m"), None), EpochAnswer::Minted(ClaimEpoch(1)));
        assert_eq!(mint(Some(&stored), &member(6, "n"), None), EpochAnswer::Minted(ClaimEpoch(8)));
        assert_eq!(mint(Some(&stored), &member(5, "m"), None), EpochAnswer::Minted(ClaimEpoch(8)), "it started over");
        let refused = EpochAnswer::Refused(stored.clone());
        assert_eq!(mint(Some(&stored), &member(5, "n"), None), refused);
        assert_eq!(mint(Some(&stored), &member(1, "n"), None), refused);
        assert_eq!(mint(Some(&stored), &member(1, "n"), Some(&stored)), EpochAnswer::Minted(ClaimEpoch(8)));
        let earlier = MintedEpoch { epoch: ClaimEpoch(6), ..stored.clone() };
        assert_eq!(mint(Some(&stored), &member(1, "n"), Some(&earlier)), refused);
    }

    #[test]
    fn a_commit_without_an_epoch_completes_only_claims_without_one() {
        let new = claim(5, 2, ClaimState::Open);
        let old = StoredClaim { epoch: None, ..new.clone() };
        assert!(is_completed_by(&new, Some(ClaimEpoch(3))) && is_completed_by(&old, Some(ClaimEpoch(3))));
        assert!(is_completed_by(&old, None) && !is_completed_by(&new, None));
        assert_eq!(ClaimEpoch::from_metadata(&ClaimEpoch(3).to_metadata()), Some(ClaimEpoch(3)));
        assert_eq!([ClaimEpoch::from_metadata(""), ClaimEpoch::from_metadata("other")], [None, None]);
    }

    #[test]
    fn an_owner_is_the_same_after_text() {
        for owner in [owner(5, None), owner(7, Some("rX_9-w"))] {
            assert_eq!(owner.to_string().parse::<ClaimOwner>().unwrap(), owner);
        }
        assert!("ingest.raw:0:5@".parse::<ClaimOwner>().is_err() && "ingest.raw".parse::<ClaimOwner>().is_err());
    }
}
