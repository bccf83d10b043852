//! What a worker does when a dependency, a record or a commit fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mfctl::pipeline::persist::Persist;
use mfctl::pipeline::worker::{StepError, Tuning, WorkerEnd, WorkerOptions};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::{AssetId, AssetState, Revision, Stage};
use mfctl_core::ports::{Error, ErrorKind, StateTransition};

use super::faulty_log::{FaultyLog, LateMoment, ScriptedCommit};
use super::late_catalog::{CatalogWrite, LateCatalog};
use super::platform::{Platform, ScriptedAction, tuned, until_drained};

fn port_error(kind: ErrorKind) -> ScriptedAction {
    ScriptedAction::Fail(StepError::Port(Error::new(kind, "as scripted")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_outage_causes_no_dead_letters() {
    let platform = Platform::new().await;
    let assets = platform.ingest(60).await;
    let calls = AtomicU32::new(0);
    let step = platform.scripted(move |_, _| match calls.fetch_add(1, Ordering::SeqCst) {
        0..25 => port_error(ErrorKind::Unreachable),
        _ => ScriptedAction::Proceed,
    });
    let outcome = platform.drain(step).await;
    assert_eq!((outcome.summary.dead_lettered, outcome.summary.emitted), (0, 60));
    assert_eq!(outcome.summary.retried, 25);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_outage_ends_the_worker_without_dead_letters() {
    let platform = Platform::new().await;
    let assets = platform.ingest(10).await;
    let options = tuned(Tuning { give_up_after: Duration::from_millis(300), ..Tuning::default() });
    let down = platform.scripted(|_, _| port_error(ErrorKind::Full));
    let outcome = platform.run(Arc::new(down), platform.worker_ports(), options).await;
    assert!(matches!(outcome.ended, WorkerEnd::OutageTooLong { .. }), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty());
    platform.drain(platform.persist()).await;
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_failures_are_tried_five_times_and_permanent_ones_once() {
    let platform = Platform::new().await;
    let assets = platform.ingest(4).await;
    let recovering = assets[0];
    let keeps_failing = assets[1];
    let malformed = assets[2];
    let panicking = assets[3];
    let step = platform.scripted(move |asset, runs| match asset {
        asset if asset == recovering && runs < 4 => port_error(ErrorKind::Internal),
        asset if asset == keeps_failing => port_error(ErrorKind::Internal),
        asset if asset == malformed => ScriptedAction::Fail(StepError::permanent("malformed", "no")),
        asset if asset == panicking => ScriptedAction::Panic,
        _ => ScriptedAction::Proceed,
    });
    let outcome = platform.drain(step).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered, outcome.summary.retried), (1, 3, 8));
    let mut why: Vec<(String, Option<u32>)> = platform
        .dead_letters()
        .await
        .iter()
        .map(DeadLetterInfo::from_record)
        .map(|info| (info.kind, info.attempts))
        .collect();
    why.sort();
    assert_eq!(why, [("internal".into(), Some(5)), ("malformed".into(), Some(1)), ("panic".into(), Some(1))]);
    platform.assert_each_emitted_once(&[recovering]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_access_stops_the_worker_without_a_dead_letter() {
    let platform = Platform::new().await;
    platform.ingest(5).await;
    let outcome = platform.drain(platform.scripted(|_, _| port_error(ErrorKind::Denied))).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.kind == ErrorKind::Denied), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty());
}

/// Drains 150 records while commits fail as scripted; each asset must be emitted once.
async fn drain_with_commit_faults(script: Vec<ScriptedCommit>) -> (Platform, mfctl::pipeline::worker::WorkerSummary) {
    let platform = Platform::new().await;
    let assets = platform.ingest(150).await;
    let log = FaultyLog::new(&platform.ports.log, script);
    let ports = platform.worker_ports_on(Arc::clone(&log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert!(log.is_exhausted());
    platform.assert_each_emitted_once(&assets).await;
    (platform, outcome.summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fenced_worker_repeats_its_work_without_duplicates() {
    let fenced = ScriptedCommit::Fails(ErrorKind::Fenced);
    let (_, summary) = drain_with_commit_faults(vec![fenced, fenced, fenced]).await;
    assert_eq!(summary.fenced, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_ends_when_another_takes_its_instance_name() {
    let platform = Platform::new().await;
    platform.ingest(20).await;
    let log = FaultyLog::new(&platform.ports.log, vec![ScriptedCommit::Fails(ErrorKind::Locked)]);
    let ports = platform.worker_ports_on(Arc::clone(&log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.kind == ErrorKind::Locked), "{outcome:?}");
    assert_eq!(outcome.summary.emitted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_commit_whose_reply_is_lost_is_not_repeated() {
    // Only one: the applied commit may have covered all records, so that no second commit happens.
    drain_with_commit_faults(vec![ScriptedCommit::AppliedReplyLost]).await;
}

/// A worker that repeats a record after its commit was applied after all would emit it twice: its claim is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_that_is_applied_late_emits_no_record_twice() {
    for moment in [LateMoment::BeforeRewind, LateMoment::AfterRewind, LateMoment::BeforeNextCommit] {
        let platform = Platform::new().await;
        let assets = platform.ingest(20).await;
        let log = FaultyLog::new(&platform.ports.log, [ScriptedCommit::AppliedLate(moment)]);
        let ports = platform.worker_ports_on(Arc::clone(&log) as _);
        // One record in each commit, so that the next one is of the same record.
        let options = WorkerOptions { commit_records: 1, ..until_drained() };
        let outcome = platform.run(Arc::new(platform.persist()), ports, options).await;
        assert_eq!(outcome.ended, WorkerEnd::Drained, "{moment:?}");
        assert!(log.is_exhausted(), "{moment:?}");
        platform.assert_each_emitted_once(&assets).await;
    }
}

/// A state that a worker sets after its call has timed out does not undo what came after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transition_that_is_applied_late_does_not_move_an_asset_backwards() {
    let platform = Platform::new().await;
    let assets = platform.ingest(20).await;
    let catalog = LateCatalog::new(&platform.ports.catalog, CatalogWrite::Advance);
    let persist = Persist { catalog: Arc::clone(&catalog) as _, ..platform.persist() };
    let outcome = platform.drain(persist).await;
    assert_eq!((outcome.ended, outcome.summary.emitted), (WorkerEnd::Drained, 20));
    let enriched = |asset_id: &AssetId| StateTransition {
        asset_id: *asset_id,
        revision: Revision::FIRST,
        to: AssetState::Enriched,
        at: platform.ports.clock.now(),
        facts: None,
        stage: Stage::Enrich,
    };
    platform.ports.catalog.advance(assets.iter().map(enriched).collect()).await.unwrap();
    catalog.apply_late().await.unwrap();
    let states = platform.ports.catalog.assets(&assets).await.unwrap();
    assert!(states.len() == 20 && states.iter().all(|asset| asset.state == AssetState::Enriched), "{states:?}");
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporarily_full_log_loses_and_duplicates_nothing() {
    let full = ScriptedCommit::Fails(ErrorKind::Full);
    drain_with_commit_faults(vec![full, full, full, ScriptedCommit::Fails(ErrorKind::Timeout)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_that_times_out_is_split_until_it_succeeds() {
    let platform = Platform::new().await;
    let assets = platform.ingest(200).await;
    let log = FaultyLog::slow(&platform.ports.log, 20);
    let ports = platform.worker_ports_on(log as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!((outcome.ended, outcome.summary.emitted), (WorkerEnd::Drained, 200));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_stops_when_the_dead_letter_ratio_is_exceeded() {
    let platform = Platform::new().await;
    platform.ingest(400).await;
    let panicking = || platform.scripted(|_, _| ScriptedAction::Panic);
    let outcome = platform.drain(panicking()).await;
    assert!(matches!(&outcome.ended, WorkerEnd::TooManyDeadLetters { mostly, .. } if mostly == "panic"), "{outcome:?}");
    let reason = outcome.ended.to_string();
    assert!(reason.contains("kind panic") && reason.contains("tenant "), "{reason}");
    assert!(platform.dead_letters().await.len() < 100);

    let unguarded = tuned(Tuning { dead_letter_ratio: None, ..Tuning::default() });
    let outcome = platform.run(Arc::new(panicking()), platform.worker_ports(), unguarded).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert_eq!(platform.dead_letters().await.len(), 400);
}

/// Each record is refused by itself after its batch was refused: a catalog that takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_made_record_by_record_count_for_the_ratio() {
    let platform = Platform::new().await;
    let assets = platform.ingest(400).await;
    let outcome =
        platform.drain(platform.scripted(|_, _| ScriptedAction::Proceed).writing(|_| Some(ErrorKind::Invalid))).await;
    assert!(
        matches!(&outcome.ended, WorkerEnd::TooManyDeadLetters { mostly, .. } if mostly == "invalid"),
        "{outcome:?}"
    );
    assert!(platform.dead_letters().await.len() < 100);
    platform.drain(platform.persist()).await;
    assert_eq!(platform.emitted().await.len() + platform.dead_letters().await.len(), assets.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_assets_that_the_catalog_does_not_know_stop_the_worker() {
    let platform = Platform::new().await;
    let other = Platform::new().await;
    let texts: Vec<String> = (0..400).map(|at| at.to_string()).collect();
    let records = other.stage(&texts).await.into_iter().map(|(_, record)| record).collect();
    platform.ports.log.publish(records).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert!(
        matches!(&outcome.ended, WorkerEnd::TooManyDeadLetters { mostly, .. } if mostly == "unknown_asset"),
        "{outcome:?}"
    );
}
