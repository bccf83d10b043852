//! What a worker does when what it needs fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mfctl::pipeline::worker::{StepError, Tuning, WorkerEnd};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::ports::{Error, ErrorKind};

use super::faults::{Faulty, Settling};
use super::platform::{Act, Platform, tuned, until_drained};

fn port(kind: ErrorKind) -> Act {
    Act::Fail(StepError::Port(Error::new(kind, "as scripted")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependency_that_is_down_for_a_while_costs_no_dead_letter() {
    let platform = Platform::new().await;
    let assets = platform.ingest(60).await;
    let calls = AtomicU32::new(0);
    let step = platform.scripted(move |_, _| match calls.fetch_add(1, Ordering::SeqCst) {
        0..25 => port(ErrorKind::Unreachable),
        _ => Act::Go,
    });
    let outcome = platform.drain(step).await;
    assert_eq!((outcome.summary.dead_lettered, outcome.summary.emitted), (0, 60));
    assert_eq!(outcome.summary.retried, 25);
    platform.each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependency_that_stays_down_ends_the_worker_and_nothing_is_given_up() {
    let platform = Platform::new().await;
    let assets = platform.ingest(10).await;
    let options = tuned(Tuning { give_up_after: Duration::from_millis(300), ..Tuning::default() });
    let down = platform.scripted(|_, _| port(ErrorKind::Full));
    let outcome = platform.run(Arc::new(down), platform.worker_ports(), options).await;
    assert!(matches!(outcome.ended, WorkerEnd::OutageTooLong { .. }), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty());
    platform.drain(platform.persist()).await;
    platform.each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_may_recover_is_tried_five_times_and_one_that_cannot_once() {
    let platform = Platform::new().await;
    let assets = platform.ingest(4).await;
    let (recovers, never, hopeless, broken) = (assets[0], assets[1], assets[2], assets[3]);
    let step = platform.scripted(move |asset, runs| match asset {
        asset if asset == recovers && runs < 4 => port(ErrorKind::Internal),
        asset if asset == never => port(ErrorKind::Internal),
        asset if asset == hopeless => Act::Fail(StepError::permanent("malformed", "no")),
        asset if asset == broken => Act::Panic,
        _ => Act::Go,
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
    platform.each_emitted_once(&[recovers]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_rights_stop_the_worker_and_are_no_dead_letter() {
    let platform = Platform::new().await;
    platform.ingest(5).await;
    let outcome = platform.drain(platform.scripted(|_, _| port(ErrorKind::Denied))).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.kind == ErrorKind::Denied), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty());
}

/// Whatever becomes of a settlement, each asset is emitted once.
async fn settles_through(settling: Vec<Settling>) -> (Platform, mfctl::pipeline::worker::WorkerSummary) {
    let platform = Platform::new().await;
    let assets = platform.ingest(150).await;
    let log = Faulty::new(&platform.ports.log, settling);
    let ports = platform.worker_ports_on(Arc::clone(&log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert!(log.is_through());
    platform.each_emitted_once(&assets).await;
    (platform, outcome.summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_worker_does_its_work_again_and_emits_nothing_twice() {
    let fenced = Settling::Fails(ErrorKind::Fenced);
    let (_, summary) = settles_through(vec![fenced, fenced, fenced]).await;
    assert_eq!(summary.fenced, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_name_another_took_ends_rather_than_take_it_back() {
    let platform = Platform::new().await;
    platform.ingest(20).await;
    let log = Faulty::new(&platform.ports.log, vec![Settling::Fails(ErrorKind::Locked)]);
    let ports = platform.worker_ports_on(Arc::clone(&log) as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.kind == ErrorKind::Locked), "{outcome:?}");
    assert_eq!(outcome.summary.emitted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_was_applied_but_whose_reply_is_lost_is_not_made_again() {
    // One: what was applied may be all there was, so that nothing is left to settle a second time.
    settles_through(vec![Settling::AppliedReplyLost]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_full_for_a_while_loses_and_doubles_nothing() {
    let full = Settling::Fails(ErrorKind::Full);
    settles_through(vec![full, full, full, Settling::Fails(ErrorKind::Timeout)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_too_large_for_its_network_is_made_smaller_until_it_fits() {
    let platform = Platform::new().await;
    let assets = platform.ingest(200).await;
    let log = Faulty::slow(&platform.ports.log, 20);
    let ports = platform.worker_ports_on(log as _);
    let outcome = platform.run(Arc::new(platform.persist()), ports, until_drained()).await;
    assert_eq!((outcome.ended, outcome.summary.emitted), (WorkerEnd::Drained, 200));
    platform.each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_would_give_nearly_everything_up_stops_instead() {
    let platform = Platform::new().await;
    platform.ingest(400).await;
    let hopeless = || platform.scripted(|_, _| Act::Fail(StepError::permanent("malformed", "no")));
    let outcome = platform.drain(hopeless()).await;
    assert!(
        matches!(&outcome.ended, WorkerEnd::TooManyDeadLetters { mostly, .. } if mostly == "malformed"),
        "{outcome:?}"
    );
    assert!(platform.dead_letters().await.len() < 100);

    let unguarded = tuned(Tuning { dead_letter_ratio: None, ..Tuning::default() });
    let outcome = platform.run(Arc::new(hopeless()), platform.worker_ports(), unguarded).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert_eq!(platform.dead_letters().await.len(), 400);
}
