//! A model of claims, explored exhaustively to a depth: two members of a group, one partition, one (asset, revision), and what
//! operators and failures do to them in any order. The claims are decided by the code that the catalog runs.
//!
//! What holds in every state: one committed output at most, and no record is skipped as a duplicate while nothing is left that
//! could still emit. What the model leaves out is in ADR 0020.

use mfctl_core::domain::claim::{
    self, ClaimDecision, ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, GroupGeneration, MintRequest, MintedEpoch,
    RequestEpoch, StoredClaim,
};
use mfctl_core::domain::{RecordAddress, TopicId, TopicName};
use stateright::{Checker, Model, Property};

/// A rule that a model breaks, to show that it would be noticed.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum BrokenRule {
    /// Requests of any epoch are answered.
    Fence,
    /// An abandoned claim is taken whatever its epoch is.
    AbandonedEpoch,
    /// Any commit completes the claims below it.
    Completion,
    /// Claims are trusted whoever moved the group's offset.
    Doubt,
}

/// How often each kind of event may happen in one history.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
struct Budget {
    joins: u8,
    evictions: u8,
    start_overs: u8,
    late_requests: u8,
    ingests: u8,
    redrives: u8,
    failures: u8,
    tools: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Input {
    Ingested,
    /// Sent by a redrive of this record's dead letter.
    Redriven(ClaimOwner),
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct DeadLetter {
    of: ClaimOwner,
    is_redriven: bool,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Commit {
    offset: i64,
    epoch: Option<ClaimEpoch>,
}

/// The log with its group: what only the coordinator decides.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Log {
    /// Counts how often the input topic was created.
    topic: u8,
    low: i64,
    inputs: Vec<Input>,
    outputs: u8,
    dead_letters: Vec<DeadLetter>,
    generation: i64,
    /// The member that is assigned the partition.
    owner: Option<usize>,
    commit: Option<Commit>,
}

impl Log {
    fn end(&self) -> i64 {
        self.inputs.len() as i64
    }

    fn start(&self) -> i64 {
        let committed = self.commit.map(|commit| commit.offset);
        committed.filter(|offset| (self.low..=self.end()).contains(offset)).unwrap_or(self.low)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum InFlight {
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
struct Member {
    topic: u8,
    generation: i64,
    epoch: Option<ClaimEpoch>,
    replaces: Option<MintedEpoch>,
    /// The next offset to read, after the records in flight.
    position: i64,
    in_flight: Vec<InFlight>,
    /// Its last commit, whose claims are not completed yet.
    passed: Option<Commit>,
}

/// A request that its sender took for lost. It may be applied at any time.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum LateRequest {
    Mint(MintRequest),
    Claim { owner: ClaimOwner, epoch: ClaimEpoch, ground: ClaimGround },
    MarkDeadLetter { owner: ClaimOwner, epoch: ClaimEpoch },
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct World {
    log: Log,
    minted: Option<MintedEpoch>,
    claim: Option<StoredClaim>,
    members: [Option<Member>; 2],
    late: Vec<LateRequest>,
    left: Budget,
    broken: Option<BrokenRule>,
    /// A record was skipped, and nothing is left that could still emit.
    is_lost: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Action {
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
}

fn owner_of(topic: u8, offset: i64) -> ClaimOwner {
    let record = RecordAddress { topic: TopicName::known("ingest.raw"), partition: 0, offset };
    ClaimOwner { record, topic_id: TopicId::new(topic.to_string()).ok() }
}

impl World {
    fn is_owner(&self, m: usize) -> bool {
        let generation = self.members[m].as_ref().map(|member| member.generation);
        self.log.owner == Some(m) && generation == Some(self.log.generation)
    }

    fn is_fenced(&self, epoch: ClaimEpoch) -> bool {
        let is_latest = self.minted.as_ref().is_some_and(|minted| minted.epoch == epoch);
        !is_latest && self.broken != Some(BrokenRule::Fence)
    }

    /// The catalog's part of a claim; `None` when the epoch is fenced.
    fn take(&mut self, owner: &ClaimOwner, epoch: ClaimEpoch, ground: &ClaimGround) -> Option<ClaimDecision> {
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
        let decision = claim::take(self.claim.as_ref(), owner, epoch, &ground);
        if decision == ClaimDecision::Take {
            let (owner, epoch) = (owner.clone(), Some(epoch.epoch));
            self.claim = Some(StoredClaim { owner, epoch, state: ClaimState::Open });
        }
        Some(decision)
    }

    /// Sets the state of a claim that is not done; false when the epoch is fenced.
    fn end(&mut self, held: (&ClaimOwner, Option<ClaimEpoch>), epoch: ClaimEpoch, state: ClaimState) -> bool {
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

    fn complete(&mut self, topic: u8, commit: Commit) {
        let is_below = |owner: &ClaimOwner| {
            owner.record.offset < commit.offset && owner.is_same_record(&owner_of(topic, owner.record.offset))
        };
        if let Some(claim) = self.claim.as_mut().filter(|claim| is_below(&claim.owner))
            && (claim::is_completed_by(claim, commit.epoch) || self.broken == Some(BrokenRule::Completion))
        {
            claim.state = claim.state.completed();
        }
    }

    fn mint(&mut self, request: &MintRequest) -> Result<ClaimEpoch, MintedEpoch> {
        let minted = claim::mint(self.minted.as_ref(), request)?;
        let epoch = minted.epoch;
        self.minted = Some(minted);
        Ok(epoch)
    }

    fn mint_request(&self, m: usize) -> Option<MintRequest> {
        let member = self.members[m].as_ref()?;
        Some(MintRequest {
            member: GroupGeneration { generation: member.generation, member_id: m.to_string() },
            is_position_of_member: self.log.commit.is_some_and(|commit| commit.epoch.is_some()),
            replaces: member.replaces.clone(),
        })
    }

    /// Drops what is in flight, and reads from the commit again, under an epoch to be minted.
    fn start_over(&mut self, m: usize) {
        let start = self.log.start();
        if let Some(member) = &mut self.members[m] {
            member.epoch = None;
            member.replaces = None;
            member.position = start;
            member.in_flight.clear();
            member.passed = None;
        }
    }

    fn leave(&mut self, m: usize) {
        if self.is_owner(m) {
            self.log.owner = None;
            self.log.generation += 1;
        }
        self.members[m] = None;
    }

    fn ground_at(&self, offset: i64) -> Option<ClaimGround> {
        Some(match self.log.inputs.get(offset as usize)? {
            Input::Ingested => ClaimGround::Delivered,
            Input::Redriven(of) => ClaimGround::Redrive(vec![of.clone()]),
        })
    }

    /// The next record of a member that may claim, with its epoch and ground.
    fn next_claim(&self, m: usize) -> Option<(ClaimOwner, ClaimEpoch, ClaimGround)> {
        let member = self.members[m].as_ref()?;
        // An evicted member of an earlier topic reads nothing more.
        let can_read = member.topic == self.log.topic && member.position >= self.log.low && member.in_flight.len() < 2;
        let ground = self.ground_at(member.position).filter(|_| can_read)?;
        Some((owner_of(member.topic, member.position), member.epoch?, ground))
    }

    fn claim_next(&mut self, m: usize) -> Option<()> {
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
    fn decide(&mut self, m: usize, index: usize) -> Option<()> {
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

    fn set_in_flight(&mut self, m: usize, index: usize, from: &InFlight, to: InFlight) -> Option<()> {
        let slot = self.members[m].as_mut()?.in_flight.get_mut(index).filter(|slot| *slot == from)?;
        *slot = to;
        Some(())
    }

    fn mark_request(&self, m: usize, index: usize) -> Option<(ClaimOwner, ClaimEpoch)> {
        let member = self.members[m].as_ref()?;
        (*member.in_flight.get(index)? == InFlight::Failed).then_some(())?;
        let offset = member.position - member.in_flight.len() as i64 + index as i64;
        Some((owner_of(member.topic, offset), member.epoch?))
    }

    /// One transaction: outputs, dead letters and the offset, if the coordinator knows the member.
    fn commit(&mut self, m: usize, is_reply_lost: bool) -> Option<()> {
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

    fn apply_late(&mut self, index: usize) {
        match self.late.remove(index) {
            LateRequest::Mint(request) => drop(self.mint(&request)),
            LateRequest::Claim { owner, epoch, ground } => drop(self.take(&owner, epoch, &ground)),
            LateRequest::MarkDeadLetter { owner, epoch } => {
                self.end((&owner, Some(epoch)), epoch, ClaimState::DeadLetterPending);
            }
        }
    }

    fn join(&mut self, m: usize) {
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

    fn mint_for(&mut self, m: usize) -> Option<()> {
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
fn is_passed(held: &StoredClaim, owner: &ClaimOwner, epoch: ClaimEpoch) -> bool {
    let is_of_topic = held.owner.topic_id == owner.topic_id;
    let is_earlier = held.epoch != Some(epoch) && held.owner.record.offset <= owner.record.offset;
    !held.state.is_done() && (!is_of_topic || is_earlier)
}

struct Claims {
    budget: Budget,
    broken: Option<BrokenRule>,
}

impl Model for Claims {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let log = Log {
            topic: 1,
            low: 0,
            inputs: vec![Input::Ingested],
            outputs: 0,
            dead_letters: Vec::new(),
            generation: 0,
            owner: None,
            commit: None,
        };
        let (members, late) = ([None, None], Vec::new());
        let (left, broken) = (self.budget, self.broken);
        vec![World { log, minted: None, claim: None, members, late, left, broken, is_lost: false }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = world.left;
        for m in 0..2 {
            let Some(member) = &world.members[m] else {
                if world.log.owner.is_none() && left.joins > 0 {
                    actions.push(Action::Join(m));
                }
                continue;
            };
            actions.push(Action::Crash(m));
            if !world.is_owner(m) {
                actions.push(Action::NoticeEviction(m));
            }
            if left.start_overs > 0 {
                actions.push(Action::StartOver(m));
            }
            if member.epoch.is_none() {
                actions.push(Action::Mint(m));
                if left.late_requests > 0 {
                    actions.push(Action::MintLate(m));
                }
                if world.is_owner(m) && member.replaces.is_none() && world.minted.is_some() {
                    actions.push(Action::Confirm(m));
                }
            }
            if world.next_claim(m).is_some() {
                actions.push(Action::Claim(m));
                if left.late_requests > 0 {
                    actions.push(Action::ClaimLate(m));
                }
            }
            for (index, one) in member.in_flight.iter().enumerate() {
                match one {
                    InFlight::Doubtful(_) => actions.push(Action::Decide(m, index)),
                    InFlight::Running => {
                        actions.push(Action::Succeed(m, index));
                        if left.failures > 0 {
                            actions.push(Action::Fail(m, index));
                        }
                    }
                    InFlight::Failed => {
                        actions.push(Action::Mark(m, index));
                        if left.late_requests > 0 {
                            actions.push(Action::MarkLate(m, index));
                        }
                    }
                    InFlight::Processed | InFlight::FailedAndMarked | InFlight::Duplicate => {}
                }
            }
            actions.extend([Action::Commit(m), Action::CommitReplyLost(m)]);
        }
        if left.evictions > 0 && world.log.owner.is_some() {
            actions.push(Action::Evict);
        }
        actions.extend((0..world.late.len()).map(Action::ApplyLate));
        if left.ingests > 0 {
            actions.push(Action::IngestAgain);
        }
        if left.redrives > 0 {
            let open = world.log.dead_letters.iter().enumerate().filter(|(_, dead)| !dead.is_redriven);
            actions.extend(open.map(|(index, _)| Action::Redrive(index)));
        }
        if left.tools > 0 && world.log.owner.is_none() {
            actions.extend([Action::ResetOffset(0), Action::ResetOffset(world.log.end())]);
            actions.extend([Action::DeleteGroup, Action::RecreateTopic]);
        }
        if left.tools > 0 && world.log.low < world.log.end() {
            actions.push(Action::Expire);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Join(m) => {
                world.left.joins -= 1;
                world.join(m);
            }
            Action::Evict => {
                world.left.evictions -= 1;
                world.log.owner = None;
                world.log.generation += 1;
            }
            Action::NoticeEviction(m) | Action::Crash(m) => world.leave(m),
            Action::StartOver(m) => {
                world.left.start_overs -= 1;
                world.start_over(m);
            }
            Action::Mint(m) => world.mint_for(m)?,
            Action::MintLate(m) => {
                world.left.late_requests -= 1;
                let request = world.mint_request(m)?;
                world.late.push(LateRequest::Mint(request));
            }
            Action::Confirm(m) => {
                let stored = world.minted.clone();
                world.members[m].as_mut()?.replaces = stored;
            }
            Action::Claim(m) => world.claim_next(m)?,
            Action::ClaimLate(m) => {
                world.left.late_requests -= 1;
                let (owner, epoch, ground) = world.next_claim(m)?;
                world.late.push(LateRequest::Claim { owner, epoch, ground });
            }
            Action::Decide(m, index) => world.decide(m, index)?,
            Action::Succeed(m, index) => world.set_in_flight(m, index, &InFlight::Running, InFlight::Processed)?,
            Action::Fail(m, index) => {
                world.left.failures -= 1;
                world.set_in_flight(m, index, &InFlight::Running, InFlight::Failed)?;
            }
            Action::Mark(m, index) => {
                let (owner, epoch) = world.mark_request(m, index)?;
                match world.end((&owner, Some(epoch)), epoch, ClaimState::DeadLetterPending) {
                    true => world.set_in_flight(m, index, &InFlight::Failed, InFlight::FailedAndMarked)?,
                    false => world.start_over(m),
                }
            }
            Action::MarkLate(m, index) => {
                world.left.late_requests -= 1;
                let (owner, epoch) = world.mark_request(m, index)?;
                world.late.push(LateRequest::MarkDeadLetter { owner, epoch });
            }
            Action::Commit(m) => world.commit(m, false)?,
            Action::CommitReplyLost(m) => world.commit(m, true)?,
            Action::ApplyLate(index) => world.apply_late(index),
            Action::IngestAgain => {
                world.left.ingests -= 1;
                world.log.inputs.push(Input::Ingested);
            }
            Action::Redrive(index) => {
                world.left.redrives -= 1;
                let dead = world.log.dead_letters.get_mut(index)?;
                dead.is_redriven = true;
                let of = dead.of.clone();
                world.log.inputs.push(Input::Redriven(of));
            }
            Action::ResetOffset(offset) => {
                world.left.tools -= 1;
                world.log.commit = Some(Commit { offset, epoch: None });
            }
            Action::DeleteGroup => {
                world.left.tools -= 1;
                world.log.commit = None;
                world.log.generation = 0;
            }
            Action::Expire => {
                world.left.tools -= 1;
                world.log.low += 1;
            }
            Action::RecreateTopic => {
                world.left.tools -= 1;
                world.log.topic += 1;
                world.log.low = 0;
                world.log.inputs.clear();
                world.log.commit = None;
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OUTPUT, |_, world: &World| world.log.outputs <= 1),
            Property::always(NOTHING_LOST, |_, world: &World| !world.is_lost),
            Property::sometimes(EMITS, |_, world: &World| {
                // The model reaches what it is about.
                let holder = world.claim.as_ref().map(|claim| claim.owner.record.offset);
                world.log.outputs == 1 && holder == Some(1)
            }),
        ]
    }
}

const ONE_OUTPUT: &str = "one output at most";
const NOTHING_LOST: &str = "no record is skipped while nothing is left that could emit";
const EMITS: &str = "a record emits that took the claim of another";

/// Explores every history of a budget to a depth.
#[expect(clippy::print_stdout, reason = "the test harness shows it when the test fails")]
fn explore(budget: Budget, broken: Option<BrokenRule>, depth: usize) -> impl Checker<Claims> {
    let checker = Claims { budget, broken }.checker().threads(2).target_max_depth(depth).spawn_bfs().join();
    println!("{budget:?}: {} states to depth {}", checker.unique_state_count(), checker.max_depth());
    for (property, path) in checker.discoveries() {
        println!("{property}: {:?}", path.into_actions());
    }
    checker
}

/// A member is evicted, and its requests are applied late; records fail and are redriven.
const LATE_REQUESTS: Budget =
    Budget { joins: 2, evictions: 1, start_overs: 0, late_requests: 1, ingests: 1, redrives: 1, failures: 1, tools: 0 };
/// Operators move offsets, delete the group, recreate the topic, or records expire.
const TOOLS: Budget =
    Budget { joins: 3, evictions: 0, start_overs: 1, late_requests: 0, ingests: 1, redrives: 0, failures: 0, tools: 2 };
/// Records fail, are redriven and ingested again.
const DEAD_LETTERS: Budget =
    Budget { joins: 2, evictions: 0, start_overs: 1, late_requests: 0, ingests: 1, redrives: 2, failures: 2, tools: 0 };
/// A little of everything.
const MIXED: Budget =
    Budget { joins: 3, evictions: 1, start_overs: 1, late_requests: 1, ingests: 1, redrives: 1, failures: 1, tools: 1 };

#[test]
fn histories_with_late_requests_of_evicted_members() {
    explore(LATE_REQUESTS, None, 14).assert_properties();
}

#[test]
fn histories_with_moved_offsets_and_recreated_topics() {
    explore(TOOLS, None, 14).assert_properties();
}

#[test]
fn histories_with_dead_letters_redrives_and_repeated_ingests() {
    explore(DEAD_LETTERS, None, 16).assert_properties();
}

#[test]
fn histories_with_everything() {
    let checker = explore(MIXED, None, 10);
    checker.assert_no_discovery(ONE_OUTPUT);
    checker.assert_no_discovery(NOTHING_LOST);
}

/// The model notices when a rule does not hold.
#[test]
fn histories_with_a_broken_rule_emit_twice_or_lose_a_record() {
    for (broken, budget, property) in [
        (BrokenRule::Fence, LATE_REQUESTS, ONE_OUTPUT),
        (BrokenRule::AbandonedEpoch, TOOLS, ONE_OUTPUT),
        (BrokenRule::Doubt, TOOLS, ONE_OUTPUT),
        (BrokenRule::Completion, TOOLS, NOTHING_LOST),
    ] {
        explore(budget, Some(broken), 15).assert_any_discovery(property);
    }
}
