//! The contract of `Catalog`: old claims are folded into their assets, and the ends of partitions are remembered.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join;
use mfctl_core::domain::asset::AssetState;
use mfctl_core::domain::claim::{self, ClaimDecision, RequestEpoch, StoredClaim};
use mfctl_core::domain::claim_folding::{FoldLimits, is_folded};
use mfctl_core::domain::{
    AssetId, ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, Revision, Stage, Timestamp, TopicId, TopicPartition,
};
use mfctl_core::ports::{ClaimAnswer, ClaimRequest, DeadLetterFlag, FoldedPage, PartitionEnd, TakedownRequest};

use super::catalog::{CatalogFixture, asset_id, at, job, row, transition};
use super::catalog_claims::{Claimant, INPUT, claim_request, group, held, owner, topic_id};
use super::harness::random;

/// Claims of records below this offset of partition 0 are old.
fn below(offset: i64) -> FoldLimits {
    FoldLimits {
        topic: INPUT,
        topic_id: topic_id(),
        retained_from: BTreeMap::from([(0, offset)]),
        claimed_before: None,
    }
}

/// A member that has processed the records at offset 10 and after it: those of assets 1 to `count`, which are staged.
async fn processed(f: &CatalogFixture, count: u64) -> Claimant {
    f.port.stage((1..=count).map(|n| row(n, job(1))).collect()).await.unwrap();
    let member = Claimant::assigned(&f.port, &group("persist"), 1).await;
    let requests = (1..=count).map(|n| claim_request(n, 9 + n as i64)).collect();
    assert_eq!(member.claim(requests).await, vec![ClaimAnswer::Granted; count as usize]);
    member.pass(10 + count as i64).await;
    member
}

async fn fold(f: &CatalogFixture, limits: &FoldLimits, after: Option<AssetId>, limit: usize) -> FoldedPage {
    f.port.fold_claims(&group("persist"), limits, after, limit).await.unwrap()
}

async fn folded(f: &CatalogFixture, limits: &FoldLimits) -> u64 {
    fold(f, limits, None, 100).await.folded
}

pub async fn folded_claim_is_answered_as_done_whoever_asks(f: CatalogFixture) {
    let member = processed(&f, 3).await;
    assert_eq!(folded(&f, &below(12)).await, 2);
    assert_eq!(folded(&f, &below(12)).await, 0);
    let redriven = ClaimRequest { ground: ClaimGround::Redrive(vec![owner(10)]), ..claim_request(1, 50) };
    let requests = vec![claim_request(1, 10), claim_request(1, 51), redriven, claim_request(2, 52)];
    assert_eq!(member.claim(requests).await, vec![ClaimAnswer::Folded; 4]);
    assert_eq!(held(&member.ask(claim_request(3, 53)).await), (12, ClaimState::Processed), "its record is retained");
    let next = ClaimRequest { revision: Revision(2), ..claim_request(1, 54) };
    assert_eq!(member.ask(next).await, ClaimAnswer::Granted, "a later revision");
    let enrich = Claimant::assigned(&f.port, &group("enrich"), 1).await;
    assert_eq!(enrich.ask(claim_request(1, 10)).await, ClaimAnswer::Granted, "another group");
    let evicted = member;
    let successor = Claimant::assigned(&f.port, &group("persist"), 2).await;
    assert_eq!(evicted.ask(claim_request(2, 55)).await, ClaimAnswer::Fenced);
    assert_eq!(successor.ask(claim_request(2, 55)).await, ClaimAnswer::Folded);
}

pub async fn claims_are_folded_by_their_age_too(f: CatalogFixture) {
    let member = processed(&f, 2).await;
    let hour = std::time::Duration::from_secs(3600);
    let by_age = |claimed_before| FoldLimits { claimed_before: Some(claimed_before), ..below(0) };
    assert_eq!(folded(&f, &by_age(Timestamp::now() - hour)).await, 0);
    let recreated = FoldLimits { topic_id: TopicId::new("topic-2").ok(), ..below(100) };
    assert_eq!(folded(&f, &recreated).await, 0, "the start of another topic says nothing of their records");
    assert_eq!(folded(&f, &by_age(Timestamp::now() + hour)).await, 2);
    assert_eq!(member.ask(claim_request(2, 50)).await, ClaimAnswer::Folded);
}

pub async fn claim_stays_while_it_may_still_be_taken(f: CatalogFixture) {
    let member = processed(&f, 3).await;
    // Asset 1 is taken down; asset 2 is flagged as dead-lettered. Asset 9 is not in the catalog.
    let takedown = TakedownRequest {
        asset_id: asset_id(1),
        revision: Revision::FIRST,
        reason: "test".to_owned(),
        actor: "test".to_owned(),
        at: at(5),
        purge: false,
    };
    assert!(f.port.revoke(vec![takedown]).await.unwrap()[0].is_some());
    let flag = DeadLetterFlag { asset_id: asset_id(2), revision: Revision::FIRST, stage: Stage::Persist, at: at(5) };
    f.port.flag_dead_letters(vec![flag]).await.unwrap();
    // Revision 1 of asset 4 ends as a dead letter, and is still to be redriven; revision 2 of it is processed. Asset 5
    // is open.
    f.port.stage(vec![row(4, job(1)), row(5, job(1))]).await.unwrap();
    let second = ClaimRequest { revision: Revision(2), ..claim_request(4, 14) };
    member.claim(vec![claim_request(4, 13), second, claim_request(9, 15), claim_request(5, 20)]).await;
    assert!(!member.end(&claim_request(4, 13), ClaimState::DeadLetterPending).await);
    member.pass(20).await;
    assert_eq!(fold(&f, &below(100), None, 100).await, FoldedPage { folded: 1, next: None });
    let answers = member.claim([1, 2, 3, 5, 9].map(|n| claim_request(n, 90)).to_vec()).await;
    assert_eq!(answers[2], ClaimAnswer::Folded);
    let kept = [0, 1, 3, 4].map(|index| held(&answers[index]).0);
    assert_eq!(kept, [10, 11, 20, 15]);
    let redriven = ClaimRequest { ground: ClaimGround::Redrive(vec![owner(13)]), ..claim_request(4, 91) };
    assert_eq!(member.ask(redriven).await, ClaimAnswer::Granted);
    // A later success clears the flag.
    f.port.advance(vec![transition(2, AssetState::Ingested, 9)]).await.unwrap();
    member.pass(92).await;
    assert_eq!(folded(&f, &below(100)).await, 4, "asset 2, both revisions of asset 4, asset 5");
}

pub async fn claims_are_folded_page_by_page_in_the_order_of_assets(f: CatalogFixture) {
    processed(&f, 5).await;
    let mut assets: Vec<AssetId> = (1..=5).map(asset_id).collect();
    assets.sort_unstable();
    let first = fold(&f, &below(100), None, 2).await;
    assert_eq!(first, FoldedPage { folded: 2, next: Some(assets[1]) });
    assert_eq!(folded(&f, &below(0)).await, 0);
    let second = fold(&f, &below(100), first.next, 2).await;
    assert_eq!(second, FoldedPage { folded: 2, next: Some(assets[3]) });
    assert_eq!(fold(&f, &below(100), second.next, 2).await, FoldedPage { folded: 1, next: None });
    assert_eq!(fold(&f, &below(100), None, 2).await, FoldedPage { folded: 0, next: None });
}

/// No request finds neither the claim nor what it was folded into.
pub async fn claim_that_is_folded_meanwhile_is_not_given(f: CatalogFixture) {
    let member = processed(&f, 20).await;
    let limits = below(100);
    for round in 0..8 {
        let requests = (1..=20).map(|n| claim_request(n, 100 + round)).collect();
        let (answers, _) = join(member.claim(requests), fold(&f, &limits, None, 3)).await;
        assert!(!answers.contains(&ClaimAnswer::Granted), "round {round}: {answers:?}");
    }
}

/// What the catalog does is what the rules of the domain say.
pub async fn random_claims_are_folded_by_the_rules(f: CatalogFixture) {
    let mut random = random();
    f.port.stage((0..3).map(|n| row(n, job(1))).collect()).await.unwrap();
    let member = Claimant::assigned(&f.port, &group("persist"), 1).await;
    let epoch = RequestEpoch { epoch: ClaimEpoch(1), trusted_from: ClaimEpoch(1) };
    let mut claims: BTreeMap<(AssetId, Revision), StoredClaim> = BTreeMap::new();
    let mut highest: HashMap<AssetId, Revision> = HashMap::new();
    for step in 0..150_i64 {
        match random.u8(0..6) {
            0 => {
                member.pass(step).await;
                claims.values_mut().for_each(|claim| claim.state = claim.state.completed());
            }
            1 => {
                let open = claims.iter().rfind(|(_, claim)| claim.state == ClaimState::Open);
                let Some((&(asset_id, revision), claim)) = open else { continue };
                let request = ClaimRequest {
                    asset_id,
                    revision,
                    owner: claim.owner.record.clone(),
                    ground: ClaimGround::Delivered,
                };
                assert!(!member.end(&request, ClaimState::DeadLetterPending).await);
                claims.entry((asset_id, revision)).and_modify(|claim| claim.state = ClaimState::DeadLetterPending);
            }
            2 => {
                let limits = below(random.i64(0..=step));
                let mut expected = 0;
                let mut stays_of = None;
                claims.retain(|&(asset_id, revision), claim| {
                    let is_folded = stays_of != Some(asset_id) && limits.allow(claim, None);
                    if is_folded {
                        highest
                            .entry(asset_id)
                            .and_modify(|highest| *highest = revision.max(*highest))
                            .or_insert(revision);
                        expected += 1;
                    } else {
                        stays_of = Some(asset_id);
                    }
                    !is_folded
                });
                assert_eq!(folded(&f, &limits).await, expected, "step {step}");
            }
            _ => {
                let request =
                    ClaimRequest { revision: Revision(random.u32(1..4)), ..claim_request(random.u64(0..3), step) };
                let key = (request.asset_id, request.revision);
                let answer = member.ask(request.clone()).await;
                if is_folded(request.revision, highest.get(&request.asset_id).copied()) {
                    assert_eq!(answer, ClaimAnswer::Folded, "step {step}: {request:?}");
                    continue;
                }
                let owner = ClaimOwner { record: request.owner.clone(), topic_id: topic_id() };
                match claim::take(claims.get(&key), &owner, epoch, &request.ground) {
                    ClaimDecision::Take => {
                        assert_eq!(answer, ClaimAnswer::Granted, "step {step}: {request:?}");
                        let taken = StoredClaim { owner, epoch: Some(epoch.epoch), state: ClaimState::Open };
                        claims.insert(key, taken);
                    }
                    decision => {
                        assert_eq!(decision, ClaimDecision::Refuse);
                        assert_eq!(held(&answer).0, claims[&key].owner.record.offset, "step {step}: {request:?}");
                    }
                }
            }
        }
    }
}

pub async fn end_of_a_partition_is_known_since_it_was_first_seen(f: CatalogFixture) {
    let end = |partition, id: &str, offset| PartitionEnd {
        at: TopicPartition::new(INPUT, partition),
        topic_id: TopicId::new(id).unwrap(),
        offset,
    };
    let see = async |ends: Vec<PartitionEnd>| f.port.see_partition_ends(ends).await.unwrap();
    let first = see(vec![end(0, "a", 5), end(1, "a", 0)]).await;
    assert_eq!(see(vec![end(1, "a", 0), end(0, "a", 5)]).await, [first[1], first[0]], "nothing has changed");
    let later = see(vec![end(0, "a", 6), end(1, "a", 0)]).await;
    assert_eq!((later[0].topic_since, later[1]), (first[0].topic_since, first[1]));
    assert!(later[0].end_since > first[0].end_since);
    assert_eq!(see(vec![end(2, "a", 0)]).await[0].topic_since, first[0].topic_since, "a partition that was added");
    let recreated = see(vec![end(0, "b", 6)]).await;
    assert!(recreated[0].topic_since > first[0].topic_since);
    // A claim that is taken later is later by the same clock.
    let member = processed(&f, 1).await;
    let ClaimAnswer::Refused(held) = member.ask(claim_request(1, 50)).await else { panic!("granted") };
    assert!(held.claimed_at.unwrap() >= recreated[0].end_since);
    assert!(see(Vec::new()).await.is_empty());
}
