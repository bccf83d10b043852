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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupGeneration {
    /// The group's generation. Begins again when the group is deleted or expires.
    pub generation: i64,
    /// The member's id.
    pub member_id: String,
}

/// An epoch with the assignment that it was minted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintedEpoch {
    /// The epoch.
    pub epoch: ClaimEpoch,
    /// The member, and the generation in which it was assigned the partition.
    pub minted_for: GroupGeneration,
    /// Claims of earlier epochs than this are in doubt: see [`ClaimDecision::Doubt`].
    pub trusted_from: ClaimEpoch,
}

/// A member's request for an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MintRequest {
    /// The member.
    pub member: GroupGeneration,
    /// Whether the group's position in the partition is that of the last commit of a member. Otherwise another tool moved the
    /// offset, or the group began again, and the group may have processed records at and after its position.
    pub is_position_of_member: bool,
    /// The stored epoch that the member was refused for, and that it may replace because its group has confirmed its
    /// membership since.
    pub replaces: Option<MintedEpoch>,
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

/// Decides on a request for an epoch. `Ok` is what to store.
///
/// # Errors
/// The stored epoch that refuses the request.
pub fn mint(stored: Option<&MintedEpoch>, request: &MintRequest) -> Result<MintedEpoch, MintedEpoch> {
    let epoch = ClaimEpoch(stored.map_or(0, |stored| stored.epoch.0) + 1);
    if let Some(stored) = stored {
        let is_later = request.member.generation > stored.minted_for.generation;
        let is_same = request.member == stored.minted_for;
        if !is_later && !is_same && request.replaces.as_ref() != Some(stored) {
            return Err(stored.clone());
        }
    }
    let trusted_from = match stored {
        Some(stored) if request.is_position_of_member => stored.trusted_from,
        _ => epoch,
    };
    Ok(MintedEpoch { epoch, minted_for: request.member.clone(), trusted_from })
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
    /// It was sent by a redrive. The dead letters of these records prove that none of them emitted anything, or an operator
    /// decided so. It may take a free claim, and that of any of them.
    Redrive(Vec<ClaimOwner>),
    /// The record that holds the claim since this epoch will not be processed under it, and neither its output nor its dead
    /// letter is in the log. It may take exactly that claim while it is not done.
    Abandoned {
        /// The record that holds the claim.
        holder: ClaimOwner,
        /// The epoch of the claim. Once another record, or the same one, has taken it since, it is not this claim any more.
        epoch: Option<ClaimEpoch>,
    },
}

/// The epoch of a request, and which claims of earlier ones it can trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestEpoch {
    /// The epoch of the request's partition.
    pub epoch: ClaimEpoch,
    /// As [`MintedEpoch::trusted_from`].
    pub trusted_from: ClaimEpoch,
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
    /// The record itself holds the claim since before its offset was reset, and may have been processed then: the claim is as
    /// good as abandoned, and nothing changes.
    Doubt,
}

/// Decides on the request of a record for a claim.
#[must_use]
pub fn take(
    stored: Option<&StoredClaim>,
    record: &ClaimOwner,
    epoch: RequestEpoch,
    ground: &ClaimGround,
) -> ClaimDecision {
    let Some(stored) = stored else { return ClaimDecision::Take };
    let is_own = stored.owner.is_same_record(record);
    let is_abandoned = match ground {
        ClaimGround::Abandoned { holder, epoch } => {
            stored.owner.is_same_record(holder) && stored.epoch == *epoch && !stored.state.is_done()
        }
        ClaimGround::Delivered | ClaimGround::Redrive(_) => false,
    };
    let is_redriven = match ground {
        ClaimGround::Redrive(replaced) => {
            !is_own && replaced.iter().any(|replaced| stored.owner.is_same_record(replaced))
        }
        ClaimGround::Delivered | ClaimGround::Abandoned { .. } => false,
    };
    if is_abandoned || is_redriven {
        return ClaimDecision::Take;
    }
    match (is_own, stored.state) {
        (true, state) if state.is_done() => ClaimDecision::Refuse,
        // A repeated request: the record may be a pending dead letter by now.
        (true, _) if stored.epoch == Some(epoch.epoch) => ClaimDecision::Keep,
        (true, _) if stored.epoch.is_some_and(|taken| taken < epoch.trusted_from) => ClaimDecision::Doubt,
        (true, _) => ClaimDecision::Take,
        (false, ClaimState::DeadLettered) if *ground == ClaimGround::Delivered && !is_before(record, &stored.owner) => {
            ClaimDecision::Take
        }
        (false, _) => ClaimDecision::Refuse,
    }
}

/// Whether a record lies before another one of its partition. Its request is then a late repetition.
fn is_before(record: &ClaimOwner, other: &ClaimOwner) -> bool {
    let is_same_partition = record.topic_id == other.topic_id
        && record.record.topic == other.record.topic
        && record.record.partition == other.record.partition;
    is_same_partition && record.record.offset < other.record.offset
}

/// Whether a commit completes a claim whose record lies below it. A member's commit, whose metadata has its epoch, completes
/// what was claimed under that epoch: a claim of another epoch is of a record that the member was not delivered. A claim of a
/// release without epochs is completed by any commit.
#[must_use]
pub fn is_completed_by(claim: &StoredClaim, commit: Option<ClaimEpoch>) -> bool {
    !claim.state.is_done() && (claim.epoch.is_none() || claim.epoch == commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TopicName;

    fn owner(offset: i64, topic_id: Option<&str>) -> ClaimOwner {
        let record = RecordAddress { topic: TopicName::known("ingest.raw"), partition: 0, offset };
        ClaimOwner { record, topic_id: topic_id.map(|id| TopicId::new(id).unwrap()) }
    }

    fn under(epoch: i64) -> RequestEpoch {
        RequestEpoch { epoch: ClaimEpoch(epoch), trusted_from: ClaimEpoch(1) }
    }

    fn claim(offset: i64, epoch: i64, state: ClaimState) -> StoredClaim {
        StoredClaim { owner: owner(offset, Some("a")), epoch: Some(ClaimEpoch(epoch)), state }
    }

    #[test]
    fn a_claim_is_taken_again_by_its_own_record_until_it_is_done() {
        use ClaimState::{DeadLetterPending, DeadLettered, Open, Processed};
        let asked =
            |state, epoch| take(Some(&claim(5, 2, state)), &owner(5, Some("a")), under(epoch), &ClaimGround::Delivered);
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
            take(Some(&claim(5, 2, state)), &owner(9, Some("a")), under(2), ground) == ClaimDecision::Take
        };
        let replaced = ClaimGround::Redrive(vec![owner(7, Some("a")), owner(5, Some("a"))]);
        let replaced_other = ClaimGround::Redrive(vec![owner(4, Some("a"))]);
        let abandoned = ClaimGround::Abandoned { holder: owner(5, None), epoch: Some(ClaimEpoch(2)) };
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
        assert_eq!(take(None, &owner(9, None), under(1), &replaced), ClaimDecision::Take);
    }

    #[test]
    fn a_late_request_of_an_earlier_record_does_not_take_the_claim_of_a_later_dead_letter() {
        let stored = claim(5, 2, ClaimState::DeadLettered);
        let asked = |record: &ClaimOwner| take(Some(&stored), record, under(2), &ClaimGround::Delivered);
        assert_eq!(asked(&owner(4, Some("a"))), ClaimDecision::Refuse);
        assert_eq!(asked(&owner(4, Some("b"))), ClaimDecision::Take, "of a topic that was recreated");
    }

    #[test]
    fn a_recreated_topic_has_other_records_at_the_same_addresses() {
        assert!(owner(5, Some("a")).is_same_record(&owner(5, None)));
        assert!(!owner(5, Some("a")).is_same_record(&owner(5, Some("b"))));
        let other_topic = owner(5, Some("b"));
        let decision = take(Some(&claim(5, 2, ClaimState::Open)), &other_topic, under(2), &ClaimGround::Delivered);
        assert_eq!(decision, ClaimDecision::Refuse);
    }

    #[test]
    fn a_record_whose_offset_was_reset_is_in_doubt_until_it_is_known_to_be_abandoned() {
        let asked = |taken, trusted_from, ground: &ClaimGround| {
            let epoch = RequestEpoch { epoch: ClaimEpoch(5), trusted_from: ClaimEpoch(trusted_from) };
            take(Some(&claim(5, taken, ClaimState::Open)), &owner(5, Some("a")), epoch, ground)
        };
        assert_eq!(asked(3, 4, &ClaimGround::Delivered), ClaimDecision::Doubt);
        assert_eq!(asked(4, 4, &ClaimGround::Delivered), ClaimDecision::Take);
        let abandoned = |epoch| ClaimGround::Abandoned { holder: owner(5, Some("a")), epoch: Some(ClaimEpoch(epoch)) };
        assert_eq!(asked(3, 4, &abandoned(3)), ClaimDecision::Take);
        assert_eq!(asked(3, 4, &abandoned(2)), ClaimDecision::Doubt, "it was taken again since");
        let old = StoredClaim { epoch: None, ..claim(5, 0, ClaimState::Open) };
        let epoch = RequestEpoch { epoch: ClaimEpoch(5), trusted_from: ClaimEpoch(5) };
        let decision = take(Some(&old), &owner(5, None), epoch, &ClaimGround::Delivered);
        assert_eq!(decision, ClaimDecision::Take, "a claim of a release without epochs is taken as it was then");
    }

    #[test]
    fn a_lower_generation_mints_only_over_the_epoch_that_it_was_refused_for() {
        let member = |generation, id: &str| GroupGeneration { generation, member_id: id.to_owned() };
        let request = |generation, id: &str, replaces: Option<&MintedEpoch>| MintRequest {
            member: member(generation, id),
            is_position_of_member: true,
            replaces: replaces.cloned(),
        };
        let stored = MintedEpoch { epoch: ClaimEpoch(7), minted_for: member(5, "m"), trusted_from: ClaimEpoch(2) };
        let minted = |stored: Option<&MintedEpoch>, request| {
            mint(stored, &request).map(|minted| (minted.epoch.0, minted.trusted_from.0))
        };
        assert_eq!(minted(None, request(1, "m", None)), Ok((1, 1)));
        assert_eq!(minted(Some(&stored), request(6, "n", None)), Ok((8, 2)));
        assert_eq!(minted(Some(&stored), request(5, "m", None)), Ok((8, 2)), "it started over");
        assert_eq!(minted(Some(&stored), request(5, "n", None)), Err(stored.clone()));
        assert_eq!(minted(Some(&stored), request(1, "n", None)), Err(stored.clone()));
        assert_eq!(minted(Some(&stored), request(1, "n", Some(&stored))), Ok((8, 2)));
        let earlier = MintedEpoch { epoch: ClaimEpoch(6), ..stored.clone() };
        assert_eq!(minted(Some(&stored), request(1, "n", Some(&earlier))), Err(stored.clone()));
        let after_reset = MintRequest { is_position_of_member: false, ..request(6, "n", None) };
        assert_eq!(minted(Some(&stored), after_reset), Ok((8, 8)));
    }

    #[test]
    fn a_commit_completes_what_was_claimed_under_its_epoch() {
        let new = claim(5, 2, ClaimState::Open);
        let old = StoredClaim { epoch: None, ..new.clone() };
        assert!(is_completed_by(&new, Some(ClaimEpoch(2))));
        assert!(!is_completed_by(&new, Some(ClaimEpoch(3))), "it expired before the next owner was delivered it");
        assert!(!is_completed_by(&new, None), "another tool moved the offset");
        assert!(is_completed_by(&old, Some(ClaimEpoch(3))) && is_completed_by(&old, None));
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
