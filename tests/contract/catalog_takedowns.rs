//! The contract of `Catalog`: takedowns and their lifts.

use mfctl_core::domain::asset::AssetFacts;
use mfctl_core::domain::{Asset, AssetState, Revision, Stage};
use mfctl_core::ports::{AssetFilter, StateTransition, Takedown, TakedownRequest};

use crate::contract::catalog::{CatalogFixture, asset_id, at, dead_letter_flag, job, row, stored_asset, transition};

fn takedown_request(n: u64, revision: u32, at_ms: i64) -> TakedownRequest {
    TakedownRequest {
        asset_id: asset_id(n),
        revision: Revision(revision),
        reason: format!("reason {at_ms}"),
        actor: "operator@host".into(),
        at: at(at_ms),
        purge: false,
    }
}

pub async fn takedown_is_recorded_once_and_its_facts_are_cleared(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1)), row(2, job(1))]).await.unwrap();
    let facts = Some(AssetFacts { title: Some("a title".into()), ..AssetFacts::default() });
    f.port.advance(vec![StateTransition { facts, ..transition(1, AssetState::Enriched, 5) }]).await.unwrap();
    f.port.flag_dead_letters(vec![dead_letter_flag(1, Stage::Enrich)]).await.unwrap();
    let taken = Takedown {
        asset_id: asset_id(1),
        revision: Revision(1),
        reason: "reason 10".into(),
        actor: "operator@host".into(),
        revoked_at: at(10),
        completed_at: None,
        purged_at: None,
        lifted_at: None,
        lifted_by: None,
        lift_reason: None,
    };
    // A later request finds it down.
    for at_ms in [10, 20] {
        let requests = vec![takedown_request(77, 1, at_ms), takedown_request(1, 1, at_ms)];
        assert_eq!(f.port.revoke(requests).await.unwrap(), [None, Some(taken.clone())]);
    }
    let revoked = stored_asset(&f, 1).await;
    assert_eq!(
        (revoked.state, revoked.facts, revoked.dead_lettered),
        (AssetState::Revoked, AssetFacts::default(), None)
    );
    let summary = f.port.summary().await.unwrap();
    assert_eq!((summary.by_state["revoked"], summary.by_state["staged"], summary.dead_lettered), (1, 1, 0));
    for at_ms in [30, 40] {
        f.port.complete_takedowns(&[(asset_id(1), Revision(1))], at(at_ms)).await.unwrap();
    }
    let both = [asset_id(2), asset_id(1), asset_id(1)];
    let completed = Takedown { completed_at: Some(at(30)), ..taken };
    assert_eq!(f.port.takedowns(&both).await.unwrap(), [completed]);
    let last = vec![takedown_request(2, 1, 50), takedown_request(2, 1, 60)];
    let answers = f.port.revoke(last).await.unwrap();
    assert!(answers.iter().flatten().all(|takedown| takedown.reason == "reason 60"), "{answers:?}");
    let filter = AssetFilter { without_revoked: true, ..AssetFilter::default() };
    assert!(f.port.list(&filter, None, 10).await.unwrap().items.is_empty());
}

pub async fn request_for_another_revision_takes_nothing_down_and_lifts_nothing(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    assert_eq!(f.port.revoke(vec![takedown_request(1, 2, 5)]).await.unwrap(), [None]);
    f.port.lift(vec![takedown_request(1, 1, 6)]).await.unwrap();
    assert_eq!(
        (stored_asset(&f, 1).await.state, stored_asset(&f, 1).await.revision),
        (AssetState::Staged, Revision(1))
    );
    assert!(f.port.revoke(vec![takedown_request(1, 1, 7)]).await.unwrap()[0].is_some());
    f.port.lift(vec![takedown_request(1, 2, 8)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await.state, AssetState::Revoked);
    f.port.lift(vec![takedown_request(1, 1, 9)]).await.unwrap();
    // A request that was delayed until now.
    assert_eq!(f.port.revoke(vec![takedown_request(1, 1, 7)]).await.unwrap(), [None]);
    assert_eq!(stored_asset(&f, 1).await.state, AssetState::Staged);
    assert!(f.port.revoke(vec![takedown_request(1, 2, 10)]).await.unwrap()[0].is_some());
    f.port.lift(vec![takedown_request(1, 1, 9)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await.state, AssetState::Revoked);
    let latest = f.port.takedowns(&[asset_id(1)]).await.unwrap();
    assert_eq!((latest[0].revision, latest[0].lifted_at), (Revision(2), None));
}

pub async fn lift_starts_the_next_revision_as_staged(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    f.port.mark_published(&[(asset_id(1), Revision(1))], at(2)).await.unwrap();
    f.port.advance(vec![transition(1, AssetState::Enriched, 5)]).await.unwrap();
    let before = stored_asset(&f, 1).await;
    f.port.revoke(vec![takedown_request(1, 1, 10)]).await.unwrap();
    for at_ms in [20, 30] {
        f.port.lift(vec![takedown_request(1, 1, at_ms)]).await.unwrap();
        let lifted = stored_asset(&f, 1).await;
        let expected = Asset {
            revision: Revision(2),
            state: AssetState::Staged,
            staged_at: at(20),
            updated_at: at(20),
            published_at: None,
            ingested_at: None,
            enriched_at: None,
            ..before.clone()
        };
        assert_eq!(lifted, expected);
    }
    let takedown = f.port.takedowns(&[asset_id(1)]).await.unwrap().remove(0);
    assert_eq!((takedown.lifted_at, takedown.lift_reason.as_deref()), (Some(at(20)), Some("reason 20")));
    // What an earlier revision's records bring changes nothing.
    f.port.advance(vec![transition(1, AssetState::Enriched, 40)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await.state, AssetState::Staged);
    f.port
        .advance(vec![StateTransition { revision: Revision(2), ..transition(1, AssetState::Ingested, 50) }])
        .await
        .unwrap();
    let ingested = stored_asset(&f, 1).await;
    assert_eq!((ingested.state, ingested.ingested_at), (AssetState::Ingested, Some(at(50))));
}

pub async fn first_purge_is_recorded_and_keeps_the_asset_down(f: CatalogFixture) {
    f.port.stage((1..3).map(|n| row(n, job(1))).collect()).await.unwrap();
    let purge = |n, at_ms| TakedownRequest { purge: true, ..takedown_request(n, 1, at_ms) };
    f.port.revoke(vec![takedown_request(1, 1, 10)]).await.unwrap();
    for (request, purged_at) in [
        (takedown_request(1, 1, 20), None),
        (purge(1, 30), Some(at(30))),
        (purge(1, 40), Some(at(30))),
        (takedown_request(1, 1, 50), Some(at(30))),
        (purge(2, 60), Some(at(60))),
    ] {
        let takedown = f.port.revoke(vec![request]).await.unwrap().remove(0).unwrap();
        assert_eq!(takedown.purged_at, purged_at);
        assert_eq!(f.port.takedowns(&[takedown.asset_id]).await.unwrap(), [takedown]);
    }
    f.port.lift(vec![takedown_request(1, 1, 70), takedown_request(2, 1, 70)]).await.unwrap();
    assert!(f.port.takedowns(&[asset_id(1)]).await.unwrap()[0].lifted_at.is_none());
    for n in [1, 2] {
        assert_eq!(
            (stored_asset(&f, n).await.state, stored_asset(&f, n).await.revision),
            (AssetState::Revoked, Revision(1))
        );
    }
    let missed = TakedownRequest { revision: Revision(2), ..purge(1, 80) };
    assert_eq!(f.port.revoke(vec![missed]).await.unwrap(), [None]);
}

pub async fn event_of_an_earlier_revision_is_not_taken_for_that_of_the_next(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    f.port.revoke(vec![takedown_request(1, 1, 5)]).await.unwrap();
    f.port.lift(vec![takedown_request(1, 1, 6)]).await.unwrap();
    f.port.mark_published(&[(asset_id(1), Revision(1))], at(7)).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await.published_at, None);
    for at_ms in [8, 9] {
        f.port.mark_published(&[(asset_id(1), Revision(2)), (asset_id(1), Revision(1))], at(at_ms)).await.unwrap();
        assert_eq!(stored_asset(&f, 1).await.published_at, Some(at(8)));
    }
}

pub async fn transitions_of_revoked_assets_are_returned(f: CatalogFixture) {
    f.port.stage((1..5).map(|n| row(n, job(1))).collect()).await.unwrap();
    f.port.revoke(vec![takedown_request(3, 1, 5), takedown_request(1, 1, 5)]).await.unwrap();
    let late = |n| transition(n, AssetState::Ingested, 9);
    let mut expected = vec![asset_id(1), asset_id(3)];
    expected.sort_unstable();
    for _ in 0..2 {
        assert_eq!(f.port.advance(vec![late(3), late(2), late(1), late(3)]).await.unwrap(), expected);
    }
    assert!(f.port.advance(vec![late(4), late(77)]).await.unwrap().is_empty());
}
