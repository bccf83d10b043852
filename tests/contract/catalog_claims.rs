//! The contract of `Catalog`: claims, their fences, and what becomes of them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use mfctl_core::domain::claim::{
    self, ClaimDecision, EpochAnswer, MintRequest, MintedEpoch, RequestEpoch, StoredClaim,
};
use mfctl_core::domain::{
    AssetId, ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, GroupGeneration, GroupName, RecordAddress, Revision,
    TopicId, TopicName, TopicPartition,
};
use mfctl_core::ports::{
    Catalog, ClaimAnswer, ClaimBatch, ClaimEnd, ClaimRequest, EpochRequest, GroupCommit, PartitionFence, PassedRecords,
};

use super::catalog::{CatalogFixture, asset_id, job, row};
use super::harness::random;

pub const INPUT: TopicName = TopicName::known("ingest.raw");

pub fn group(name: &str) -> GroupName {
    GroupName::new(format!("mfctl.dev.{name}")).unwrap()
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(INPUT, number)
}

pub fn topic_id() -> Option<TopicId> {
    TopicId::new("topic-1").ok()
}

/// A request of the record at this offset of partition 0 for revision 1 of asset `n`.
pub fn claim_request(n: u64, offset: i64) -> ClaimRequest {
    let owner = RecordAddress { topic: INPUT, partition: 0, offset };
    ClaimRequest { asset_id: asset_id(n), revision: Revision::FIRST, owner, ground: ClaimGround::Delivered }
}

pub fn owner(offset: i64) -> ClaimOwner {
    ClaimOwner { record: RecordAddress { topic: INPUT, partition: 0, offset }, topic_id: topic_id() }
}

/// A member of a group that was assigned partition 0.
pub struct Claimant {
    catalog: Arc<dyn Catalog>,
    group: GroupName,
    fence: PartitionFence,
}

fn generation(generation: i64, member: &str) -> GroupGeneration {
    GroupGeneration { generation, member_id: member.to_owned() }
}

/// A request for an epoch of partition 0.
pub fn epoch_request() -> EpochRequest {
    let request = MintRequest { member: generation(1, "m1"), is_position_of_member: true, replaces: None };
    EpochRequest { at: partition(0), topic_id: topic_id(), request }
}

async fn mint(catalog: &dyn Catalog, group: &GroupName, request: MintRequest) -> EpochAnswer {
    let request = EpochRequest { request, ..epoch_request() };
    catalog.mint_epochs(group, vec![request]).await.unwrap().remove(0)
}

impl Claimant {
    /// Assigns partition 0 to member `m<generation>`, at the position of an earlier member's commit.
    pub async fn assigned(catalog: &Arc<dyn Catalog>, group: &GroupName, number: i64) -> Self {
        Self::assigned_at(catalog, group, number, true).await
    }

    async fn assigned_at(
        catalog: &Arc<dyn Catalog>,
        group: &GroupName,
        number: i64,
        is_position_of_member: bool,
    ) -> Self {
        let member = generation(number, &format!("m{number}"));
        let request = MintRequest { member, is_position_of_member, replaces: None };
        let EpochAnswer::Minted(epoch) = mint(catalog.as_ref(), group, request).await else { panic!("refused") };
        let fence = PartitionFence { at: partition(0), topic_id: topic_id(), epoch };
        Self { catalog: Arc::clone(catalog), group: group.clone(), fence }
    }

    pub async fn claim(&self, requests: Vec<ClaimRequest>) -> Vec<ClaimAnswer> {
        let batch = ClaimBatch { passed: Vec::new(), fences: vec![self.fence.clone()], requests };
        self.catalog.claim(&self.group, batch).await.unwrap().answers
    }

    pub async fn ask(&self, request: ClaimRequest) -> ClaimAnswer {
        self.claim(vec![request]).await.remove(0)
    }

    /// The catalog learns of a commit of this member.
    pub async fn pass(&self, offset: i64) {
        self.pass_at(offset, Some(self.fence.epoch)).await;
    }

    async fn pass_at(&self, offset: i64, epoch: Option<ClaimEpoch>) {
        let commit = GroupCommit { at: partition(0), offset, epoch };
        let batch =
            ClaimBatch { passed: vec![PassedRecords { commit, topic_id: topic_id() }], ..ClaimBatch::default() };
        self.catalog.claim(&self.group, batch).await.unwrap();
    }

    /// Sets the state of the claim of this record. Returns whether the member is fenced.
    pub async fn end(&self, request: &ClaimRequest, state: ClaimState) -> bool {
        let ClaimRequest { asset_id, revision, owner, .. } = request.clone();
        let owner = ClaimOwner { record: owner, topic_id: topic_id() };
        let epoch = Some(self.fence.epoch);
        let end = ClaimEnd { asset_id, revision, owner, epoch, fence: partition(0), state };
        let fenced = self.catalog.end_claims(&self.group, vec![self.fence.clone()], vec![end]).await.unwrap();
        !fenced.is_empty()
    }
}

/// The offset and the state of the claim that refused a request.
pub fn held(answer: &ClaimAnswer) -> (i64, ClaimState) {
    match answer {
        ClaimAnswer::Refused(held) => (held.claim.owner.record.offset, held.claim.state),
        other => panic!("{other:?}"),
    }
}

pub async fn claim_keeps_its_first_owner_and_assets_are_read_with_it(f: CatalogFixture) {
    f.port.stage(vec![row(2, job(1))]).await.unwrap();
    let persist = group("persist");
    let member = Claimant::assigned(&f.port, &persist, 1).await;
    let requests = vec![claim_request(1, 10), claim_request(2, 11), claim_request(1, 12)];
    let batch = ClaimBatch { passed: Vec::new(), fences: vec![member.fence.clone()], requests };
    let claimed = f.port.claim(&persist, batch).await.unwrap();
    assert_eq!(claimed.answers[..2], [ClaimAnswer::Granted, ClaimAnswer::Granted]);
    assert_eq!(held(&claimed.answers[2]), (10, ClaimState::Open), "the first of a batch wins");
    assert_eq!(claimed.assets.iter().map(|asset| asset.asset_id).collect::<Vec<_>>(), [asset_id(2)]);

    let again = member.claim(vec![claim_request(2, 99), claim_request(1, 10)]).await;
    assert_eq!((held(&again[0]), &again[1]), ((11, ClaimState::Open), &ClaimAnswer::Granted));
    let ClaimAnswer::Refused(refused) = &again[0] else { panic!("{again:?}") };
    assert_eq!(
        refused.claim,
        StoredClaim { owner: owner(11), epoch: Some(member.fence.epoch), state: ClaimState::Open }
    );
    assert!(refused.claimed_at.is_some());
    let later = ClaimRequest { revision: Revision(2), ..claim_request(1, 50) };
    assert_eq!(member.ask(later).await, ClaimAnswer::Granted, "another revision is another claim");
    let enrich = Claimant::assigned(&f.port, &group("enrich"), 1).await;
    assert_eq!(enrich.ask(claim_request(1, 7)).await, ClaimAnswer::Granted, "another group is another claim");
}

pub async fn commit_completes_the_claims_of_its_epoch(f: CatalogFixture) {
    let persist = group("persist");
    let first = Claimant::assigned(&f.port, &persist, 1).await;
    first.claim((1..=5).map(|n| claim_request(n, 10 + n as i64)).collect()).await;
    // Offsets 11 and 12 are committed. 13 expires before the next member reads it, which continues at 14.
    let second = Claimant::assigned(&f.port, &persist, 2).await;
    second.pass_at(13, Some(first.fence.epoch)).await;
    second.claim(vec![claim_request(4, 14), claim_request(5, 15)]).await;
    second.pass(15).await;
    second.pass(15).await;
    let answers = second.claim((1..=5).map(|n| claim_request(n, 90 + n as i64)).collect()).await;
    let states: Vec<_> = answers.iter().map(held).collect();
    use ClaimState::{Open, Processed};
    assert_eq!(states, [(11, Processed), (12, Processed), (13, Open), (14, Processed), (15, Open)]);
    second.pass_at(99, None).await;
    assert_eq!(held(&second.ask(claim_request(5, 95)).await), (15, Open), "another tool moved the offset");
}

pub async fn evicted_member_changes_nothing(f: CatalogFixture) {
    let persist = group("persist");
    let evicted = Claimant::assigned(&f.port, &persist, 1).await;
    assert_eq!(evicted.ask(claim_request(1, 10)).await, ClaimAnswer::Granted);
    let owner = Claimant::assigned(&f.port, &persist, 2).await;
    assert_eq!(owner.ask(claim_request(1, 10)).await, ClaimAnswer::Granted, "delivered again");
    let late = evicted.claim(vec![claim_request(1, 10), claim_request(2, 11)]).await;
    assert_eq!(late, [ClaimAnswer::Fenced, ClaimAnswer::Fenced]);
    assert!(evicted.end(&claim_request(1, 10), ClaimState::DeadLetterPending).await);
    assert_eq!(owner.ask(claim_request(2, 12)).await, ClaimAnswer::Granted, "the late request claimed nothing");
    assert_eq!(held(&owner.ask(claim_request(1, 13)).await), (10, ClaimState::Open));
}

pub async fn member_that_starts_over_fences_its_own_late_requests(f: CatalogFixture) {
    let persist = group("persist");
    let before = Claimant::assigned(&f.port, &persist, 1).await;
    before.ask(claim_request(1, 10)).await;
    let after = Claimant::assigned(&f.port, &persist, 1).await;
    assert_eq!(after.ask(claim_request(1, 10)).await, ClaimAnswer::Granted);
    assert!(before.end(&claim_request(1, 10), ClaimState::DeadLetterPending).await);
    after.pass(11).await;
    assert_eq!(held(&after.ask(claim_request(1, 20)).await), (10, ClaimState::Processed));
}

pub async fn dead_letter_is_taken_once_by_its_redrive_or_by_a_later_record(f: CatalogFixture) {
    use ClaimState::{DeadLetterPending, DeadLettered, Processed};
    let persist = group("persist");
    let member = Claimant::assigned(&f.port, &persist, 1).await;
    member.claim(vec![claim_request(1, 10), claim_request(2, 11), claim_request(3, 12)]).await;
    for n in 1..=3 {
        assert!(!member.end(&claim_request(n, 9 + n as i64), DeadLetterPending).await);
    }
    assert_eq!(held(&member.ask(claim_request(1, 20)).await), (10, DeadLetterPending));
    assert_eq!(member.ask(claim_request(1, 10)).await, ClaimAnswer::Granted, "a repeated request changes nothing");
    member.pass(13).await;
    assert_eq!(held(&member.ask(claim_request(1, 10)).await), (10, DeadLettered), "its offset was reset");

    let redriven = |n: u64, offset: i64, replaced: i64| ClaimRequest {
        ground: ClaimGround::Redrive(vec![owner(replaced)]),
        ..claim_request(n, offset)
    };
    assert_eq!(member.ask(redriven(1, 21, 10)).await, ClaimAnswer::Granted);
    assert_eq!(held(&member.ask(redriven(1, 22, 10)).await).0, 21, "redriven twice");
    assert_eq!(held(&member.ask(claim_request(1, 23)).await).0, 21, "ingested again after the redrive");

    assert_eq!(member.ask(claim_request(2, 24)).await, ClaimAnswer::Granted, "ingested again");
    assert_eq!(held(&member.ask(redriven(2, 25, 11)).await).0, 24, "its dead letter is superseded");
    member.end(&claim_request(2, 24), DeadLetterPending).await;
    member.pass(26).await;
    assert_eq!(held(&member.ask(redriven(2, 26, 11)).await), (24, DeadLettered));
    assert_eq!(member.ask(redriven(2, 27, 24)).await, ClaimAnswer::Granted);
    member.pass(28).await;
    assert_eq!(held(&member.ask(claim_request(2, 29)).await), (27, Processed));

    // The claim says processed where its dead letter shows that it was not: the dead letter is right.
    let other = Claimant::assigned(&f.port, &persist, 2).await;
    other.ask(claim_request(4, 30)).await;
    other.pass(31).await;
    assert_eq!(other.ask(redriven(4, 32, 30)).await, ClaimAnswer::Granted);
}

pub async fn abandoned_claim_is_taken_only_from_the_named_record(f: CatalogFixture) {
    let persist = group("persist");
    let first = Claimant::assigned(&f.port, &persist, 1).await;
    first.claim(vec![claim_request(1, 10), claim_request(2, 11)]).await;
    let second = Claimant::assigned(&f.port, &persist, 2).await;
    let epoch = Some(first.fence.epoch);
    let abandoned = |n: u64, offset: i64, holder: i64| ClaimRequest {
        ground: ClaimGround::Abandoned { holder: owner(holder), epoch },
        ..claim_request(n, offset)
    };
    assert_eq!(held(&second.ask(abandoned(1, 20, 9)).await).0, 10);
    assert_eq!(second.ask(abandoned(1, 20, 10)).await, ClaimAnswer::Granted);
    assert_eq!(held(&second.ask(abandoned(1, 21, 10)).await).0, 20);
    // Two records found the same claim abandoned, one of them the record that holds it.
    let answers = second.claim(vec![abandoned(2, 11, 11), abandoned(2, 23, 11)]).await;
    assert_eq!((&answers[0], held(&answers[1]).0), (&ClaimAnswer::Granted, 11));
    second.end(&claim_request(2, 11), ClaimState::Processed).await;
    assert_eq!(held(&second.ask(abandoned(2, 22, 11)).await), (11, ClaimState::Processed));
}

pub async fn record_whose_offset_was_reset_is_in_doubt(f: CatalogFixture) {
    let persist = group("persist");
    let first = Claimant::assigned(&f.port, &persist, 1).await;
    first.ask(claim_request(1, 10)).await;
    let after_reset = Claimant::assigned_at(&f.port, &persist, 2, false).await;
    assert_eq!(held(&after_reset.ask(claim_request(1, 10)).await), (10, ClaimState::Open));
    let third = Claimant::assigned(&f.port, &persist, 3).await;
    assert_eq!(held(&third.ask(claim_request(1, 10)).await), (10, ClaimState::Open), "the doubt stays");
    let ground = ClaimGround::Abandoned { holder: owner(10), epoch: Some(first.fence.epoch) };
    let looked_up = ClaimRequest { ground, ..claim_request(1, 10) };
    assert_eq!(third.ask(looked_up).await, ClaimAnswer::Granted);
    let fourth = Claimant::assigned(&f.port, &persist, 4).await;
    assert_eq!(fourth.ask(claim_request(1, 10)).await, ClaimAnswer::Granted);
}

pub async fn lower_generation_replaces_exactly_the_epoch_that_refused_it(f: CatalogFixture) {
    let persist = group("persist");
    let before = Claimant::assigned(&f.port, &persist, 7).await;
    let ask = |replaces: Option<&MintedEpoch>| MintRequest {
        member: generation(1, "after"),
        is_position_of_member: false,
        replaces: replaces.cloned(),
    };
    let EpochAnswer::Refused(stored) = mint(f.port.as_ref(), &persist, ask(None)).await else { panic!("minted") };
    assert_eq!((stored.epoch, &stored.minted_for), (before.fence.epoch, &generation(7, "m7")));
    let EpochAnswer::Minted(epoch) = mint(f.port.as_ref(), &persist, ask(Some(&stored))).await else {
        panic!("refused");
    };
    assert!(epoch > stored.epoch);
    assert_eq!(before.ask(claim_request(1, 10)).await, ClaimAnswer::Fenced);
    let later = Claimant::assigned(&f.port, &persist, 2).await;
    let refused = mint(f.port.as_ref(), &persist, ask(Some(&stored))).await;
    assert!(matches!(refused, EpochAnswer::Refused(_)), "another member minted in between: {refused:?}");
    assert_eq!(later.ask(claim_request(1, 10)).await, ClaimAnswer::Granted);
}

pub async fn concurrent_claims_agree_on_one_owner(f: CatalogFixture) {
    let persist = group("persist");
    let member = Claimant::assigned(&f.port, &persist, 1).await;
    let requests = (0..16).map(|n| member.claim((0..20).map(|asset| claim_request(asset, n)).collect()));
    let answers: Vec<_> = join_all(requests).await;
    for asset in 0..20 {
        let granted = answers.iter().filter(|answer| answer[asset] == ClaimAnswer::Granted).count();
        assert_eq!(granted, 1, "asset {asset}");
    }
}

/// The rules as they are in the domain, beside the catalog.
#[derive(Default)]
struct Model {
    minted: Option<MintedEpoch>,
    claims: HashMap<AssetId, StoredClaim>,
}

impl Model {
    fn claim(&mut self, request: &ClaimRequest, epoch: ClaimEpoch) -> ClaimAnswerKind {
        let Some(minted) = self.minted.as_ref().filter(|minted| minted.epoch == epoch) else {
            return ClaimAnswerKind::Fenced;
        };
        let owner = ClaimOwner { record: request.owner.clone(), topic_id: topic_id() };
        let epoch = RequestEpoch { epoch, trusted_from: minted.trusted_from };
        match claim::take(self.claims.get(&request.asset_id), &owner, epoch, &request.ground) {
            ClaimDecision::Keep => ClaimAnswerKind::Granted,
            ClaimDecision::Refuse | ClaimDecision::Doubt => {
                ClaimAnswerKind::Refused(self.claims[&request.asset_id].clone())
            }
            ClaimDecision::Take => {
                let taken = StoredClaim { owner, epoch: Some(epoch.epoch), state: ClaimState::Open };
                self.claims.insert(request.asset_id, taken);
                ClaimAnswerKind::Granted
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum ClaimAnswerKind {
    Granted,
    Refused(StoredClaim),
    Fenced,
}

impl From<ClaimAnswer> for ClaimAnswerKind {
    fn from(answer: ClaimAnswer) -> Self {
        match answer {
            ClaimAnswer::Granted => Self::Granted,
            ClaimAnswer::Refused(held) => Self::Refused(held.claim),
            ClaimAnswer::Fenced => Self::Fenced,
            ClaimAnswer::Folded => panic!("nothing was folded"),
        }
    }
}

/// The claims of several members, in random order, are decided as the rules of the domain say.
pub async fn random_requests_are_decided_by_the_rules(f: CatalogFixture) {
    let mut random = random();
    let persist = group("persist");
    let mut model = Model::default();
    let mut members: Vec<Claimant> = Vec::new();
    let mut generations = 0;
    for step in 0..200 {
        match random.u8(0..10) {
            0 => {
                generations += random.i64(0..3);
                let member = generation(generations, ["a", "b"][random.usize(0..2)]);
                let stored = model.minted.clone().filter(|_| random.bool());
                let request = MintRequest { member, is_position_of_member: random.u8(0..4) > 0, replaces: stored };
                let expected = claim::mint(model.minted.as_ref(), &request);
                match mint(f.port.as_ref(), &persist, request).await {
                    EpochAnswer::Minted(epoch) => {
                        let minted = expected.unwrap_or_else(|refused| panic!("step {step}: {refused:?}"));
                        assert_eq!(epoch, minted.epoch, "step {step}");
                        model.minted = Some(minted);
                        let fence = PartitionFence { at: partition(0), topic_id: topic_id(), epoch };
                        members.push(Claimant { catalog: Arc::clone(&f.port), group: persist.clone(), fence });
                    }
                    EpochAnswer::Refused(stored) => assert_eq!(Err(stored), expected, "step {step}"),
                }
            }
            1 if !members.is_empty() => {
                let member = &members[random.usize(0..members.len())];
                let below = random.i64(0..12);
                member.pass(below).await;
                for claim in model.claims.values_mut() {
                    let is_below = claim.owner.record.offset < below;
                    if is_below && claim::is_completed_by(claim, Some(member.fence.epoch)) {
                        claim.state = claim.state.completed();
                    }
                }
            }
            2 if !members.is_empty() => {
                let member = &members[random.usize(0..members.len())];
                let request = claim_request(random.u64(0..4), random.i64(0..12));
                let states = [ClaimState::DeadLetterPending, ClaimState::Processed, ClaimState::DeadLettered];
                let state = states[random.usize(0..3)];
                let is_fenced = model.minted.as_ref().is_none_or(|minted| minted.epoch != member.fence.epoch);
                assert_eq!(member.end(&request, state).await, is_fenced, "step {step}");
                let owner = ClaimOwner { record: request.owner, topic_id: topic_id() };
                let claim = model.claims.get_mut(&request.asset_id).filter(|_| !is_fenced);
                let is_same = |claim: &&mut StoredClaim| {
                    claim.owner == owner && claim.epoch == Some(member.fence.epoch) && !claim.state.is_done()
                };
                if let Some(claim) = claim.filter(is_same) {
                    claim.state = state;
                }
            }
            _ if !members.is_empty() => {
                // Mostly the latest member, and now and then one that was evicted.
                let index = if random.u8(0..4) == 0 { random.usize(0..members.len()) } else { members.len() - 1 };
                let member = &members[index];
                let request = |random: &mut fastrand::Rng| {
                    let ground = match random.u8(0..4) {
                        0 => ClaimGround::Redrive(vec![owner(random.i64(0..12)), owner(random.i64(0..12))]),
                        1 => {
                            let epoch = Some(ClaimEpoch(random.i64(1..6)));
                            ClaimGround::Abandoned { holder: owner(random.i64(0..12)), epoch }
                        }
                        _ => ClaimGround::Delivered,
                    };
                    ClaimRequest { ground, ..claim_request(random.u64(0..4), random.i64(0..12)) }
                };
                let request = request(&mut random);
                let answer = ClaimAnswerKind::from(member.ask(request.clone()).await);
                assert_eq!(answer, model.claim(&request, member.fence.epoch), "step {step}: {request:?}");
            }
            _ => {}
        }
    }
}
