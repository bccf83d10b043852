//! The state of the model: the log with its group, the catalog's claim, and the members; and what a member does with
//! them.

use std::collections::BTreeMap;

use mfctl_core::domain::claim::{
    self, ClaimDecision, ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, GroupGeneration, MintRequest, MintedEpoch,
    RequestEpoch, StoredClaim,
};
use mfctl_core::domain::claim_folding::{FoldLimits, is_folded};
use mfctl_core::domain::{RecordAddress, Revision, TopicId, TopicName};

/// A rule that a model breaks, to show that it would be noticed.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum BrokenRule {
    /// Requests of any epoch are answered.
    Fence,
    /// An abandoned claim is taken whatever its epoch is.
    AbandonedEpoch,
    /// Any commit completes the claims below it.
    Completion,
    /// Claims are trusted whoever moved the group's offset.
    Doubt,
    /// Nothing is kept of a claim that is folded.
    Folding,
}

/// How often each kind of event may happen in one history.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Budget {
    pub joins: u8,
    pub evictions: u8,
    pub start_overs: u8,
    pub late_requests: u8,
    pub ingests: u8,
    pub redrives: u8,
    pub failures: u8,
    pub tools: u8,
    pub folds: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Input {
    Ingested,
    /// Sent by a redrive of this record's dead letter.
    Redriven(ClaimOwner),
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct DeadLetter {
    pub of: ClaimOwner,
    pub is_redriven: bool,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Commit {
    pub offset: i64,
    pub epoch: Option<ClaimEpoch>,
}

/// The log with its group: what only the coordinator decides.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Log {
    /// Counts how often the input topic was created.
    pub topic: u8,
    pub low: i64,
    pub inputs: Vec<Input>,
    pub outputs: u8,
    pub dead_letters: Vec<DeadLetter>,
    pub generation: i64,
    /// The member that is assigned the partition.
    pub owner: Option<usize>,
    pub commit: Option<Commit>,
}

impl Log {
    pub fn end(&self) -> i64 {
        self.inputs.len() as i64
    }

    pub fn start(&self) -> i64 {
        let committed = self.commit.map(|commit| commit.offset);
        committed.filter(|offset| (self.low..=self.end()).contains(offset)).unwrap_or(self.low)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum InFlight {
    /// The claim was refused by a claim that is not done, of a record that the group passed.
    Doubtful(StoredClaim),
    Running,
    Processed,
    Failed,
    /// The catalog knows that its dead letter is about to be committed.
    FailedAndMarked,
    Duplicate,
}

/// A member as it sees itself: it may be evicted and not know.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Member {
    pub topic: u8,
    pub generation: i64,
    pub epoch: Option<ClaimEpoch>,
    pub replaces: Option<MintedEpoch>,
    /// The next offset to read, after the records in flight.
    pub position: i64,
    pub in_flight: Vec<InFlight>,
    /// Its last commit, whose claims are not completed yet.
    pub passed: Option<Commit>,
}

/// A request that its sender took for lost. It may be applied at any time.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum LateRequest {
    Mint(MintRequest),
    Claim { owner: ClaimOwner, epoch: ClaimEpoch, ground: ClaimGround },
    MarkDeadLetter { owner: ClaimOwner, epoch: ClaimEpoch },
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct World {
    pub log: Log,
    pub minted: Option<MintedEpoch>,
    pub claim: Option<StoredClaim>,
    /// The highest revision of the asset that was folded.
    pub folded: Option<Revision>,
    pub members: [Option<Member>; 2],
    pub late: Vec<LateRequest>,
    pub left: Budget,
    pub broken: Option<BrokenRule>,
    /// A record was skipped, and nothing is left that could still emit.
    pub is_lost: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Action {
    Join(usize),
    Evict,
    NoticeEviction(usize),
    Crash(usize),
    StartOver(usize),
    Mint(usize),
    MintLate(usize),
    Confirm(usize),
    Claim(usize),
    ClaimLate(usize),
    Decide(usize, usize),
    Succeed(usize, usize),
    Fail(usize, usize),
    Mark(usize, usize),
    MarkLate(usize, usize),
    Commit(usize),
    CommitReplyLost(usize),
    ApplyLate(usize),
    IngestAgain,
    Redrive(usize),
    ResetOffset(i64),
    DeleteGroup,
    Expire,
    RecreateTopic,
    Fold,
}

pub fn owner_of(topic: u8, offset: i64) -> ClaimOwner {
    let record = RecordAddress { topic: TopicName::known("ingest.raw"), partition: 0, offset };
    ClaimOwner { record, topic_id: TopicId::new(topic.to_string()).ok() }
}

impl World {
    pub fn is_owner(&self, m: usize) -> bool {
        let generation = self.members[m].as_ref().map(|member| member.generation);
        self.log.owner == Some(m) && generation == Some(self.log.generation)
    }

    pub fn is_fenced(&self, epoch: ClaimEpoch) -> bool {
        let is_latest = self.minted.as_ref().is_some_and(|minted| minted.epoch == epoch);
        !is_latest && self.broken != Some(BrokenRule::Fence)
    }

    /// The catalog's part of a claim; `None` when the epoch is fenced.
    pub fn take(&mut self, owner: &ClaimOwner, epoch: ClaimEpoch, ground: &ClaimGround) -> Option<ClaimDecision> {
        let minted = self.minted.as_ref().filter(|_| !self.is_fenced(epoch))?;
        let trusted_from = match self.broken {
            Some(BrokenRule::Doubt) => ClaimEpoch(0),
            _ => minted.trusted_from,
        };
        let epoch = RequestEpoch { epoch, trusted_from };
        let mut ground = ground.clone();
        if let (Some(BrokenRule::AbandonedEpoch), ClaimGround::Abandoned { epoch, .. }) = (self.broken, &mut ground) {
            *epoch = self.claim.as_ref().and_then(|claim| claim.epoch);
        }
        if is_folded(Revision::FIRST, self.folded) {
            return Some(ClaimDecision::Refuse);
        }
        let decision = claim::take(self.claim.as_ref(), owner, epoch, &ground);
        if decision == ClaimDecision::Take {
            let (owner, epoch) = (owner.clone(), Some(epoch.epoch));
            self.claim = Some(StoredClaim { owner, epoch, state: ClaimState::Open });
        }
        Some(decision)
    }

    /// Whether the log has removed the record that holds the claim, and the claim may be folded.
    pub fn can_fold(&self) -> bool {
        let limits = FoldLimits {
            topic: TopicName::known("ingest.raw"),
            topic_id: TopicId::new(self.log.topic.to_string()).ok(),
            retained_from: BTreeMap::from([(0, self.log.low)]),
            claimed_before: None,
        };
        self.claim.as_ref().is_some_and(|claim| limits.allow(claim, None))
    }

    /// Removes the claim, and keeps its revision with the asset.
    pub fn fold(&mut self) {
        self.claim = None;
        if self.broken != Some(BrokenRule::Folding) {
            self.folded = Some(Revision::FIRST);
        }
    }

    /// Sets the state of a claim that is not done; false when the epoch is fenced.
    pub fn end(&mut self, held: (&ClaimOwner, Option<ClaimEpoch>), epoch: ClaimEpoch, state: ClaimState) -> bool {
        if self.is_fenced(epoch) {
            return false;
        }
        let (owner, taken) = held;
        let is_held = |claim: &&mut StoredClaim| claim.owner.is_same_record(owner) && claim.epoch == taken;
        let claim = self.claim.as_mut().filter(|claim| !claim.state.is_done()).filter(is_held);
        if let Some(claim) = claim {
            claim.state = state;
        }
        true
    }

    pub fn complete(&mut self, topic: u8, commit: Commit) {
        let is_below = |owner: &ClaimOwner| {
            owner.record.offset < commit.offset && owner.is_same_record(&owner_of(topic, owner.record.offset))
        };
        if let Some(claim) = self.claim.as_mut().filter(|claim| is_below(&claim.owner))
            && (claim::is_completed_by(claim, commit.epoch) || self.broken == Some(BrokenRule::Completion))
        {
            claim.state = claim.state.completed();
        }
    }

    pub fn mint(&mut self, request: &MintRequest) -> Result<ClaimEpoch, MintedEpoch> {
        let minted = claim::mint(self.minted.as_ref(), request)?;
        let epoch = minted.epoch;
        self.minted = Some(minted);
        Ok(epoch)
    }

    pub fn mint_request(&self, m: usize) -> Option<MintRequest> {
        let member = self.members[m].as_ref()?;
        Some(MintRequest {
            member: GroupGeneration { generation: member.generation, member_id: m.to_string() },
            is_position_of_member: self.log.commit.is_some_and(|commit| commit.epoch.is_some()),
            replaces: member.replaces.clone(),
        })
    }

    /// Drops what is in flight, and reads from the commit again, under an epoch to be minted.
    pub fn start_over(&mut self, m: usize) {
        let start = self.log.start();
        if let Some(member) = &mut self.members[m] {
            member.epoch = None;
            member.replaces = None;
            member.position = start;
            member.in_flight.clear();
            member.passed = None;
        }
    }

    pub fn leave(&mut self, m: usize) {
        if self.is_owner(m) {
            self.log.owner = None;
            self.log.generation += 1;
        }
        self.members[m] = None;
    }

    pub fn ground_at(&self, offset: i64) -> Option<ClaimGround> {
        Some(match self.log.inputs.get(offset as usize)? {
            Input::Ingested => ClaimGround::Delivered,
            Input::Redriven(of) => ClaimGround::Redrive(vec![of.clone()]),
        })
    }

    /// The next record of a member that may claim, with its epoch and ground.
    pub fn next_claim(&self, m: usize) -> Option<(ClaimOwner, ClaimEpoch, ClaimGround)> {
        let member = self.members[m].as_ref()?;
        // An evicted member of an earlier topic reads nothing more.
        let can_read = member.topic == self.log.topic && member.position >= self.log.low && member.in_flight.len() < 2;
        let ground = self.ground_at(member.position).filter(|_| can_read)?;
        Some((owner_of(member.topic, member.position), member.epoch?, ground))
    }

    pub fn claim_next(&mut self, m: usize) -> Option<()> {
        let (owner, epoch, ground) = self.next_claim(m)?;
        let (topic, passed) = self.members[m].as_mut().map(|member| (member.topic, member.passed.take()))?;
        if let Some(passed) = passed {
            self.complete(topic, passed);
        }
        let Some(decision) = self.take(&owner, epoch, &ground) else {
            self.start_over(m);
            return Some(());
        };
        let held = self.claim.clone();
        let in_flight = match decision {
            ClaimDecision::Take | ClaimDecision::Keep => InFlight::Running,
            ClaimDecision::Refuse | ClaimDecision::Doubt => match held.filter(|held| is_passed(held, &owner, epoch)) {
                Some(held) => InFlight::Doubtful(held),
                None => InFlight::Duplicate,
            },
        };
        let member = self.members[m].as_mut()?;
        member.in_flight.push(in_flight);
        member.position += 1;
        Some(())
    }

    /// Looks in the log for what came of the record that holds the claim, and asks again.
    pub fn decide(&mut self, m: usize, index: usize) -> Option<()> {
        let member = self.members[m].as_ref()?;
        let InFlight::Doubtful(held) = member.in_flight.get(index)?.clone() else { return None };
        let offset = member.position - member.in_flight.len() as i64 + index as i64;
        let (owner, epoch) = (owner_of(member.topic, offset), member.epoch?);
        let mut ground = self.ground_at(offset)?;
        let is_dead = self.log.dead_letters.iter().any(|dead| dead.of.is_same_record(&held.owner));
        let is_fenced = match (self.log.outputs, is_dead) {
            (1.., _) => !self.end((&held.owner, held.epoch), epoch, ClaimState::Processed),
            (0, true) => !self.end((&held.owner, held.epoch), epoch, ClaimState::DeadLettered),
            (0, false) => {
                ground = ClaimGround::Abandoned { holder: held.owner, epoch: held.epoch };
                false
            }
        };
        let decision = self.take(&owner, epoch, &ground).filter(|_| !is_fenced);
        let Some(decision) = decision else {
            self.start_over(m);
            return Some(());
        };
        let is_granted = matches!(decision, ClaimDecision::Take | ClaimDecision::Keep);
        self.members[m].as_mut()?.in_flight[index] = if is_granted { InFlight::Running } else { InFlight::Duplicate };
        Some(())
    }

    pub fn set_in_flight(&mut self, m: usize, index: usize, from: &InFlight, to: InFlight) -> Option<()> {
        let slot = self.members[m].as_mut()?.in_flight.get_mut(index).filter(|slot| *slot == from)?;
        *slot = to;
        Some(())
    }

    pub fn mark_request(&self, m: usize, index: usize) -> Option<(ClaimOwner, ClaimEpoch)> {
        let member = self.members[m].as_ref()?;
        (*member.in_flight.get(index)? == InFlight::Failed).then_some(())?;
        let offset = member.position - member.in_flight.len() as i64 + index as i64;
        Some((owner_of(member.topic, offset), member.epoch?))
    }

    /// One transaction: outputs, dead letters and the offset, if the coordinator knows the member.
    pub fn commit(&mut self, m: usize, is_reply_lost: bool) -> Option<()> {
        let member = self.members[m].clone()?;
        let is_ready =
            |one: &InFlight| matches!(one, InFlight::Processed | InFlight::FailedAndMarked | InFlight::Duplicate);
        let ready = member.in_flight.iter().take_while(|one| is_ready(one)).count();
        (ready > 0).then_some(())?;
        if !self.is_owner(m) || member.topic != self.log.topic {
            self.start_over(m);
            return Some(());
        }
        let first = member.position - member.in_flight.len() as i64;
        let mut is_any_skipped = false;
        for (offset, one) in (first..).zip(&member.in_flight[..ready]) {
            match one {
                InFlight::Processed => self.log.outputs += 1,
                InFlight::FailedAndMarked => {
                    self.log.dead_letters.push(DeadLetter { of: owner_of(member.topic, offset), is_redriven: false });
                }
                _ => is_any_skipped = true,
            }
        }
        let commit = Commit { offset: first + ready as i64, epoch: member.epoch };
        self.log.commit = Some(commit);
        let is_hope_left = self.log.outputs > 0
            || commit.offset < self.log.end()
            || self.log.dead_letters.iter().any(|dead| !dead.is_redriven);
        self.is_lost |= is_any_skipped && !is_hope_left;
        if is_reply_lost {
            self.start_over(m);
        } else {
            let member = self.members[m].as_mut()?;
            member.in_flight.drain(..ready);
            member.passed = Some(commit);
        }
        Some(())
    }

    pub fn apply_late(&mut self, index: usize) {
        match self.late.remove(index) {
            LateRequest::Mint(request) => drop(self.mint(&request)),
            LateRequest::Claim { owner, epoch, ground } => drop(self.take(&owner, epoch, &ground)),
            LateRequest::MarkDeadLetter { owner, epoch } => {
                self.end((&owner, Some(epoch)), epoch, ClaimState::DeadLetterPending);
            }
        }
    }

    pub fn join(&mut self, m: usize) {
        self.log.generation += 1;
        self.log.owner = Some(m);
        self.members[m] = Some(Member {
            topic: self.log.topic,
            generation: self.log.generation,
            epoch: None,
            replaces: None,
            position: self.log.start(),
            in_flight: Vec::new(),
            passed: None,
        });
    }

    pub fn mint_for(&mut self, m: usize) -> Option<()> {
        let request = self.mint_request(m)?;
        if let Ok(epoch) = self.mint(&request) {
            let (topic, commit) = (self.members[m].as_ref()?.topic, self.log.commit);
            // The same call completes what the group has committed.
            if let Some(commit) = commit.filter(|_| topic == self.log.topic) {
                self.complete(topic, commit);
            }
            self.members[m].as_mut()?.epoch = Some(epoch);
        }
        Some(())
    }
}

/// Whether the group has passed the record that holds a claim, as the worker finds out.
pub fn is_passed(held: &StoredClaim, owner: &ClaimOwner, epoch: ClaimEpoch) -> bool {
    let is_of_topic = held.owner.topic_id == owner.topic_id;
    let is_earlier = held.epoch != Some(epoch) && held.owner.record.offset <= owner.record.offset;
    !held.state.is_done() && (!is_of_topic || is_earlier)
}
