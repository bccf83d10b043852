//! The contract of `Catalog`: staging and state transitions. Claims are in `catalog_claims`, listings and outcomes in
//! `catalog_lists`, takedowns in `catalog_takedowns`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mfctl_core::domain::asset::{AssetFacts, NO_REASON};
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{
    Asset, AssetId, AssetState, BucketName, EventId, JobId, ObjectKey, ObjectRef, Revision, Sha256, SourcePath, Stage,
    Tenant,
};
use mfctl_core::ports::{AssetFilter, Catalog, DeadLetterFlag, StagedRow, StateTransition, UnreadCount};
use uuid::Uuid;

use crate::contract::harness::{Fixture, random};

/// Every case of this suite, for a harness that returns an empty catalog.
macro_rules! catalog_suite {
    ($harness:path) => {
        mod writes {
            cases!($harness, crate::contract::catalog:
                staged_asset_round_trips,
                identical_content_becomes_one_asset_with_two_sources,
                duplicates_within_a_batch_return_the_first_row,
                every_write_is_idempotent,
                restage_replaces_the_object_only_while_the_asset_is_staged,
                asset_state_never_regresses_in_any_order_of_writes,
                revoked_asset_stays_revoked,
                writes_of_an_older_revision_are_ignored,
                new_facts_replace_stored_facts_and_absent_facts_keep_them,
                dead_letter_flag_is_cleared_only_by_its_own_stage,
                summary_matches_the_assets,
                assets_of_which_nothing_was_read_are_counted_by_reason,
            );
        }
        mod claims {
            cases!($harness, crate::contract::catalog_claims:
                claim_keeps_its_first_owner_and_assets_are_read_with_it,
                commit_completes_the_claims_of_its_epoch,
                evicted_member_changes_nothing,
                member_that_starts_over_fences_its_own_late_requests,
                dead_letter_is_taken_once_by_its_redrive_or_by_a_later_record,
                abandoned_claim_is_taken_only_from_the_named_record,
                record_whose_offset_was_reset_is_in_doubt,
                lower_generation_replaces_exactly_the_epoch_that_refused_it,
                concurrent_claims_agree_on_one_owner,
                random_requests_are_decided_by_the_rules,
            );
        }
        mod claim_folding {
            cases!($harness, crate::contract::catalog_claim_folding:
                folded_claim_is_answered_as_done_whoever_asks,
                claims_are_folded_by_their_age_too,
                claim_stays_while_it_may_still_be_taken,
                claims_are_folded_page_by_page_in_the_order_of_assets,
                claim_that_is_folded_meanwhile_is_not_given,
                random_claims_are_folded_by_the_rules,
                end_of_a_partition_is_known_since_it_was_first_seen,
            );
        }
        mod takedowns {
            cases!($harness, crate::contract::catalog_takedowns:
                takedown_is_recorded_once_and_its_facts_are_cleared,
                first_purge_is_recorded_and_keeps_the_asset_down,
                event_of_an_earlier_revision_is_not_taken_for_that_of_the_next,
                request_for_another_revision_takes_nothing_down_and_lifts_nothing,
                lift_starts_the_next_revision_as_staged,
                transitions_of_revoked_assets_are_returned,
            );
        }
        mod lists {
            cases!($harness, crate::contract::catalog_lists:
                assets_are_paged_by_id,
                each_filter_selects_the_matching_assets,
                filters_are_combined_with_and,
                pages_neither_skip_nor_repeat_assets_during_staging,
                sources_are_listed_latest_first,
                assets_are_found_by_event_and_by_path,
                last_outcome_of_a_file_in_a_job_wins,
                outcome_of_a_file_comes_from_the_latest_job_that_saw_it,
                outcomes_are_paged_by_tenant_and_path,
                first_job_and_path_name_an_asset_whatever_comes_later,
                history_keeps_every_ingest,
                assets_are_found_by_a_pattern_of_any_of_their_names,
                assets_are_sorted_by_each_key_in_pages,
                empty_catalog_returns_nothing,
            );
        }
    };
}
pub(crate) use catalog_suite;

pub type CatalogFixture = Fixture<dyn Catalog>;

pub fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

/// A job id; ids are ordered by their number.
pub fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n))
}

pub fn sha(n: u64) -> Sha256 {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    Sha256(digest)
}

pub fn asset_id(n: u64) -> AssetId {
    AssetId::of(&Tenant::default(), &sha(n))
}

/// The row of file `/n` with content `n`, staged by a job.
pub fn row(n: u64, job_id: JobId) -> StagedRow {
    let tenant = Tenant::default();
    let event_id = EventId(Uuid::new_v5(&job_id.0, &n.to_be_bytes()));
    let key = object_keys::staging(&tenant, job_id, event_id);
    StagedRow {
        asset_id: asset_id(n),
        sha256: sha(n),
        size_bytes: n * 10,
        media_type: "image/png".into(),
        event_id,
        job_id,
        staging: ObjectRef { bucket: BucketName::new("media-staging").unwrap(), key },
        staged_at: at(n as i64),
        metadata: Metadata::default(),
        source_path: SourcePath::from_text(format!("/{n}")),
        host: "host".into(),
        tenant,
    }
}

pub async fn stored_asset(f: &CatalogFixture, n: u64) -> Asset {
    f.port.assets(&[asset_id(n)]).await.unwrap().remove(0)
}

pub fn transition(n: u64, to: AssetState, at_ms: i64) -> StateTransition {
    let stage = if to == AssetState::Ingested { Stage::Persist } else { Stage::Enrich };
    StateTransition { asset_id: asset_id(n), revision: Revision::FIRST, to, at: at(at_ms), facts: None, stage }
}

pub fn dead_letter_flag(n: u64, stage: Stage) -> DeadLetterFlag {
    DeadLetterFlag { asset_id: asset_id(n), revision: Revision::FIRST, stage, at: at(500) }
}

fn metadata() -> Metadata {
    Metadata {
        title: Some("غزل".into()),
        collection: Some("poems".into()),
        tags: BTreeMap::from([("poet".into(), "حافظ".into()), ("bare".into(), String::new())]),
        custom: BTreeMap::from([("shelf".into(), serde_json::json!({ "n": [1, 2] }))]),
    }
}

pub async fn staged_asset_round_trips(f: CatalogFixture) {
    let staged = StagedRow { metadata: metadata(), ..row(7, job(1)) };
    let answer = f.port.stage(vec![staged.clone()]).await.unwrap().remove(0);
    assert_eq!(
        (answer.asset_id, answer.state, answer.revision),
        (staged.asset_id, AssetState::Staged, Revision::FIRST)
    );
    assert_eq!((answer.event_id, answer.job_id, answer.published), (staged.event_id, job(1), false));
    assert_eq!((&answer.staging, answer.staged_at), (&staged.staging, staged.staged_at));
    let asset = stored_asset(&f, 7).await;
    assert_eq!((asset.asset_id, asset.sha256, asset.size_bytes), (staged.asset_id, staged.sha256, 70));
    assert_eq!((asset.state, asset.revision, asset.dead_lettered), (AssetState::Staged, Revision::FIRST, None));
    assert_eq!((asset.event_id, asset.job_id, asset.staging), (staged.event_id, job(1), staged.staging));
    assert_eq!((asset.tenant, asset.media_type.as_str()), (Tenant::default(), "image/png"));
    assert_eq!((asset.staged_at, asset.published_at), (at(7), None));
    assert_eq!((asset.ingested_at, asset.enriched_at), (None, None));
    assert_eq!((asset.metadata, asset.facts), (metadata(), AssetFacts::default()));
    f.port.mark_published(&[(asset_id(7), Revision::FIRST)], at(9)).await.unwrap();
    assert_eq!(stored_asset(&f, 7).await.published_at, Some(at(9)));
}

pub async fn identical_content_becomes_one_asset_with_two_sources(f: CatalogFixture) {
    let first = row(1, job(1));
    f.port.stage(vec![first.clone()]).await.unwrap();
    f.port.mark_published(&[(asset_id(1), Revision::FIRST)], at(9)).await.unwrap();
    let second = StagedRow { source_path: SourcePath::from_text("/copy"), metadata: metadata(), ..row(1, job(2)) };
    let answer = f.port.stage(vec![second]).await.unwrap().remove(0);
    assert_eq!((answer.event_id, answer.job_id, answer.published), (first.event_id, job(1), true));
    assert_eq!(answer.staging, first.staging);
    assert_eq!(stored_asset(&f, 1).await.metadata, Metadata::default());
    let sources = f.port.sources(asset_id(1), 10).await.unwrap();
    let mut paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/1", "/copy"]);
}

pub async fn duplicates_within_a_batch_return_the_first_row(f: CatalogFixture) {
    let copies: Vec<StagedRow> = (0..3)
        .map(|n| StagedRow {
            event_id: EventId::fresh(),
            source_path: SourcePath::from_text(format!("/copy-{n}")),
            ..row(1, job(1))
        })
        .collect();
    let mut batch = copies.clone();
    batch.insert(1, row(2, job(1)));
    let answers = f.port.stage(batch).await.unwrap();
    assert_eq!(answers.iter().map(|one| one.asset_id).collect::<Vec<_>>(), [1, 2, 1, 1].map(asset_id));
    assert!([0, 2, 3].iter().all(|n| answers[*n].event_id == copies[0].event_id));
    assert_eq!(f.port.sources(asset_id(1), 10).await.unwrap().len(), 3);
}

/// Everything that can be read of assets 1 and 2.
async fn readable_state(f: &CatalogFixture) -> impl PartialEq + std::fmt::Debug {
    let assets = f.port.assets(&[asset_id(1), asset_id(2)]).await.unwrap();
    let sources = f.port.sources(asset_id(1), 10).await.unwrap();
    (assets, sources, f.port.summary().await.unwrap())
}

pub async fn every_write_is_idempotent(f: CatalogFixture) {
    for _ in 0..2 {
        f.port.stage(vec![row(1, job(1)), row(2, job(1))]).await.unwrap();
    }
    let before = readable_state(&f).await;
    f.port.stage(vec![row(2, job(1)), row(1, job(1))]).await.unwrap();
    assert_eq!(readable_state(&f).await, before, "stage");
    let elsewhere = ObjectRef { key: ObjectKey::new("new").unwrap(), ..row(1, job(1)).staging };
    macro_rules! twice {
        ($write:expr) => {
            $write.await.unwrap();
            let before = readable_state(&f).await;
            $write.await.unwrap();
            assert_eq!(readable_state(&f).await, before, "{}", stringify!($write));
        };
    }
    twice!(f.port.restage(vec![(asset_id(1), elsewhere.clone())]));
    twice!(f.port.mark_published(&[1, 2].map(|n| (asset_id(n), Revision::FIRST)), at(100)));
    twice!(f.port.restage(vec![(asset_id(1), elsewhere.clone())]));
    twice!(f.port.flag_dead_letters(vec![dead_letter_flag(1, Stage::Persist)]));
    twice!(f.port.advance(vec![transition(1, AssetState::Ingested, 200), transition(2, AssetState::Ingested, 200)]));
    let facts = Some(AssetFacts { pages: Some(3), ..AssetFacts::default() });
    twice!(f.port.advance(vec![StateTransition { facts: facts.clone(), ..transition(1, AssetState::Enriched, 300) }]));
    let done = stored_asset(&f, 1).await;
    assert_eq!((done.ingested_at, done.enriched_at, done.updated_at), (Some(at(200)), Some(at(300)), at(500)));
}

pub async fn restage_replaces_the_object_only_while_the_asset_is_staged(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1)), row(2, job(1))]).await.unwrap();
    f.port.mark_published(&[1, 2].map(|n| (asset_id(n), Revision::FIRST)), at(5)).await.unwrap();
    f.port.advance(vec![transition(2, AssetState::Ingested, 6)]).await.unwrap();
    let new =
        |n| (asset_id(n), ObjectRef { key: ObjectKey::new(format!("new/{n}")).unwrap(), ..row(n, job(1)).staging });
    f.port.restage(vec![new(1), new(2)]).await.unwrap();
    let moved = stored_asset(&f, 1).await;
    assert_eq!((moved.staging.key.as_str(), moved.event_id), ("new/1", row(1, job(1)).event_id));
    assert_eq!(moved.published_at, None, "the event of the new object is not acknowledged yet");
    let kept = stored_asset(&f, 2).await;
    assert_eq!((kept.staging, kept.published_at), (row(2, job(1)).staging, Some(at(5))));
}

pub async fn asset_state_never_regresses_in_any_order_of_writes(f: CatalogFixture) {
    let mut random = random();
    f.port.stage((0..10).map(|n| row(n, job(1))).collect()).await.unwrap();
    let mut reached = [AssetState::Staged; 10];
    for _ in 0..60 {
        let batch: Vec<StateTransition> = (0..random.usize(1..6))
            .map(|_| {
                let n = random.u64(0..10);
                let to = *random.choice(&[AssetState::Staged, AssetState::Ingested, AssetState::Enriched]).unwrap();
                reached[n as usize] = reached[n as usize].max(to);
                transition(n, to, random.i64(0..1000))
            })
            .collect();
        if random.bool() {
            f.port.stage(vec![row(random.u64(0..10), job(2))]).await.unwrap();
        }
        f.port.advance(batch).await.unwrap();
        for n in 0..10 {
            let asset = stored_asset(&f, n).await;
            assert_eq!(asset.state, reached[n as usize], "asset {n}");
            assert!(asset.state < AssetState::Enriched || asset.enriched_at.is_some());
        }
    }
}

pub async fn revoked_asset_stays_revoked(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    f.port.advance(vec![transition(1, AssetState::Revoked, 5)]).await.unwrap();
    let revoked = stored_asset(&f, 1).await;
    assert_eq!(revoked.state, AssetState::Revoked);
    f.port.advance(vec![transition(1, AssetState::Enriched, 9), transition(1, AssetState::Ingested, 9)]).await.unwrap();
    f.port.flag_dead_letters(vec![dead_letter_flag(1, Stage::Enrich)]).await.unwrap();
    f.port.stage(vec![row(1, job(2))]).await.unwrap();
    f.port.restage(vec![(asset_id(1), row(1, job(2)).staging)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await, revoked);
}

pub async fn writes_of_an_older_revision_are_ignored(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    f.port.advance(vec![transition(1, AssetState::Enriched, 5)]).await.unwrap();
    f.port
        .advance(vec![StateTransition { revision: Revision(2), ..transition(1, AssetState::Ingested, 6) }])
        .await
        .unwrap();
    let second = stored_asset(&f, 1).await;
    assert_eq!((second.revision, second.state), (Revision(2), AssetState::Ingested), "a newer revision starts over");
    let late = StateTransition { facts: Some(AssetFacts::default()), ..transition(1, AssetState::Enriched, 7) };
    f.port.advance(vec![late]).await.unwrap();
    f.port.flag_dead_letters(vec![dead_letter_flag(1, Stage::Enrich)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await, second);
}

pub async fn new_facts_replace_stored_facts_and_absent_facts_keep_them(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    let first =
        AssetFacts { title: Some("ت".into()), pages: Some(2), notes: vec!["x".into()], ..AssetFacts::default() };
    f.port
        .advance(vec![StateTransition { facts: Some(first.clone()), ..transition(1, AssetState::Enriched, 5) }])
        .await
        .unwrap();
    f.port.advance(vec![transition(1, AssetState::Enriched, 6), transition(1, AssetState::Ingested, 6)]).await.unwrap();
    assert_eq!(stored_asset(&f, 1).await.facts, first);
    let other = AssetFacts { language: Some("fa".into()), ..AssetFacts::default() };
    f.port
        .advance(vec![StateTransition { facts: Some(other.clone()), ..transition(1, AssetState::Enriched, 7) }])
        .await
        .unwrap();
    assert_eq!(stored_asset(&f, 1).await.facts, other);
    f.port
        .advance(vec![StateTransition { facts: Some(AssetFacts::default()), ..transition(1, AssetState::Enriched, 8) }])
        .await
        .unwrap();
    assert_eq!(stored_asset(&f, 1).await.facts, AssetFacts::default());
}

pub async fn dead_letter_flag_is_cleared_only_by_its_own_stage(f: CatalogFixture) {
    f.port.stage(vec![row(1, job(1))]).await.unwrap();
    f.port.advance(vec![transition(1, AssetState::Ingested, 5)]).await.unwrap();
    f.port.flag_dead_letters(vec![dead_letter_flag(1, Stage::Enrich)]).await.unwrap();
    let flagged = stored_asset(&f, 1).await;
    assert_eq!((flagged.state, flagged.dead_lettered), (AssetState::Ingested, Some(Stage::Enrich)));
    f.port.advance(vec![transition(1, AssetState::Ingested, 6)]).await.unwrap();
    assert_eq!(
        stored_asset(&f, 1).await.dead_lettered,
        Some(Stage::Enrich),
        "another stage's success does not clear it"
    );
    f.port.advance(vec![transition(1, AssetState::Enriched, 7)]).await.unwrap();
    assert_eq!(
        (stored_asset(&f, 1).await.dead_lettered, stored_asset(&f, 1).await.state),
        (None, AssetState::Enriched)
    );
    f.port.flag_dead_letters(vec![dead_letter_flag(99, Stage::Enrich)]).await.unwrap();
}

pub async fn summary_matches_the_assets(f: CatalogFixture) {
    let mut random = random();
    for _ in 0..60 {
        let n = random.u64(0..12);
        match random.u8(0..4) {
            0 | 1 => drop(f.port.stage(vec![row(n, job(1)), row(random.u64(0..12), job(1))]).await.unwrap()),
            2 => {
                let to = *random.choice(AssetState::ALL).unwrap();
                f.port.advance(vec![transition(n, to, 5)]).await.unwrap();
            }
            _ => {
                let stage = *random.choice(Stage::ALL).unwrap();
                f.port.flag_dead_letters(vec![dead_letter_flag(n, stage)]).await.unwrap();
            }
        }
    }
    let assets = f.port.list(&AssetFilter::default(), None, 100).await.unwrap().items;
    let summary = f.port.summary().await.unwrap();
    assert_eq!(summary.assets, assets.len() as u64);
    assert_eq!(summary.bytes, assets.iter().map(|asset| asset.size_bytes).sum::<u64>());
    assert_eq!(summary.dead_lettered, assets.iter().filter(|asset| asset.dead_lettered.is_some()).count() as u64);
    for state in AssetState::ALL {
        let count = assets.iter().filter(|asset| asset.state == *state).count() as u64;
        assert_eq!(summary.by_state.get(state.as_str()), Some(&count), "{state}");
        let flagged =
            assets.iter().filter(|asset| asset.state == *state && asset.dead_lettered.is_some()).count() as u64;
        assert_eq!(summary.dead_lettered_by_state.get(state.as_str()).copied().unwrap_or(0), flagged, "{state}");
    }
}

pub async fn assets_of_which_nothing_was_read_are_counted_by_reason(f: CatalogFixture) {
    let noted = |notes: &[&str]| AssetFacts {
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        ..AssetFacts::default()
    };
    let docx = noted(&["no extractor for DOCX"]);
    let read = AssetFacts { text_key: Some("a/1/text.txt".into()), ..noted(&["3 of 9 characters have no text"]) };
    let seen = AssetFacts { thumbnail_key: Some("a/1/thumb.webp".into()), ..AssetFacts::default() };
    let facts = [
        (AssetState::Enriched, docx.clone()),
        (AssetState::Enriched, docx.clone()),
        (AssetState::Enriched, noted(&["no text layer", "the PDF is truncated"])),
        (AssetState::Enriched, AssetFacts::default()),
        (AssetState::Enriched, read),
        (AssetState::Enriched, seen),
        (AssetState::Ingested, docx),
    ];
    assert!(f.port.unread().await.unwrap().is_empty());
    f.port.stage((0..8).map(|n| row(n, job(1))).collect()).await.unwrap();
    let steps = facts
        .into_iter()
        .zip(0..)
        .map(|((state, facts), n)| StateTransition { facts: Some(facts), ..transition(n, state, 5) });
    f.port.advance(steps.collect()).await.unwrap();
    let count = |reason: &str, assets| UnreadCount { reason: reason.to_owned(), assets };
    let counts = f.port.unread().await.unwrap();
    assert_eq!(counts, [count("no extractor for DOCX", 2), count(NO_REASON, 1), count("no text layer", 1)]);
    let assets = f.port.list(&AssetFilter::default(), None, 100).await.unwrap().items;
    for UnreadCount { reason, assets: counted } in counts {
        assert_eq!(
            assets.iter().filter(|asset| asset.unread() == Some(reason.as_str())).count() as u64,
            counted,
            "{reason}"
        );
    }
    f.port.advance(vec![transition(0, AssetState::Revoked, 6)]).await.unwrap();
    assert_eq!(f.port.unread().await.unwrap().iter().map(|count| count.assets).sum::<u64>(), 3);
}
