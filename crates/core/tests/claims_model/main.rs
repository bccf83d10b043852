//! A model of claims, explored exhaustively to a depth: two members of a group, one partition, one (asset, revision), and what
//! operators and failures do to them in any order. The claims are decided by the code that the catalog runs.
//!
//! What holds in every state: one committed output at most, and no record is skipped as a duplicate while nothing is left that
//! could still emit. What the model leaves out is in ADR 0020.

mod world;

use mfctl_core::domain::claim::ClaimState;
use stateright::{Checker, Model, Property};
use world::{Action, BrokenRule, Budget, Commit, InFlight, Input, LateRequest, Log, World};

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
        vec![World { log, minted: None, claim: None, folded: None, members, late, left, broken, is_lost: false }]
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
        if left.folds > 0 && world.can_fold() {
            actions.push(Action::Fold);
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
            Action::Fold => {
                world.left.folds -= 1;
                world.fold();
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
const LATE_REQUESTS: Budget = Budget {
    joins: 2,
    evictions: 1,
    start_overs: 0,
    late_requests: 1,
    ingests: 1,
    redrives: 1,
    failures: 1,
    tools: 0,
    folds: 0,
};
/// Operators move offsets, delete the group, recreate the topic, or records expire.
const TOOLS: Budget = Budget {
    joins: 3,
    evictions: 0,
    start_overs: 1,
    late_requests: 0,
    ingests: 1,
    redrives: 0,
    failures: 0,
    tools: 2,
    folds: 0,
};
/// Records expire and their claims are folded; the asset is ingested again.
const FOLDING: Budget = Budget {
    joins: 2,
    evictions: 0,
    start_overs: 1,
    late_requests: 0,
    ingests: 1,
    redrives: 1,
    failures: 1,
    tools: 1,
    folds: 1,
};
/// Records fail, are redriven and ingested again.
const DEAD_LETTERS: Budget = Budget {
    joins: 2,
    evictions: 0,
    start_overs: 1,
    late_requests: 0,
    ingests: 1,
    redrives: 2,
    failures: 2,
    tools: 0,
    folds: 0,
};
/// A little of everything.
const MIXED: Budget = Budget {
    joins: 3,
    evictions: 1,
    start_overs: 1,
    late_requests: 1,
    ingests: 1,
    redrives: 1,
    failures: 1,
    tools: 1,
    folds: 1,
};

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
fn histories_with_folded_claims() {
    let checker = explore(FOLDING, None, 13);
    checker.assert_no_discovery(ONE_OUTPUT);
    checker.assert_no_discovery(NOTHING_LOST);
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
        (BrokenRule::Folding, FOLDING, ONE_OUTPUT),
    ] {
        explore(budget, Some(broken), 15).assert_any_discovery(property);
    }
}
