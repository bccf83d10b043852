//! What a worker does with records while its dependencies work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mfctl::pipeline::worker::{self, Tuning, Until, WorkerEnd, WorkerHealth, WorkerOptions};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::event::header;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetState, Stage};
use mfctl_core::stop::{Stop, StopReason};
use tokio::sync::watch;

use super::platform::{Platform, ScriptedAction, tuned, until_drained};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persisted_files_leave_no_staged_objects() {
    let platform = Platform::new().await;
    let assets = platform.ingest(700).await;
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert_eq!((outcome.summary.processed, outcome.summary.emitted), (700, 700));
    platform.assert_each_emitted_once(&assets).await;
    for asset in [assets[0], assets[699]] {
        assert_eq!(platform.asset(asset).await.state, AssetState::Ingested);
    }
    let staged = platform.ports.objects.usage(&platform.buckets.staging, 1000).await.unwrap();
    assert_eq!(staged.objects, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_without_records_drains_at_once() {
    let platform = Platform::new().await;
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!((outcome.ended, outcome.summary.processed), (WorkerEnd::Drained, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_input_is_emitted_once() {
    let platform = Platform::new().await;
    let texts: Vec<String> = (0..20).map(|at| at.to_string()).collect();
    let (assets, records): (Vec<_>, Vec<_>) = platform.stage(&texts).await.into_iter().unzip();
    platform.ports.log.publish(records.clone()).await.unwrap();
    platform.ports.log.publish(records.clone()).await.unwrap();
    let first = platform.drain(platform.persist()).await;
    assert_eq!((first.summary.emitted, first.summary.skipped_duplicates), (20, 20));
    platform.ports.log.publish(records).await.unwrap();
    let second = platform.drain(platform.persist()).await;
    assert_eq!((second.summary.emitted, second.summary.skipped_duplicates), (0, 20));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_group_offsets_cause_no_duplicates() {
    let platform = Platform::new().await;
    let assets = platform.ingest(50).await;
    platform.drain(platform.persist()).await;
    let group = Stage::Persist.group(&platform.env).unwrap();
    platform.ports.log.delete_group(&group).await.unwrap();
    let again = platform.drain(platform.persist()).await;
    assert_eq!((again.summary.processed, again.summary.emitted), (50, 0));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_record_is_dead_lettered_unchanged_and_the_partition_advances() {
    let platform = Platform::new().await;
    let mut staged = platform.stage(&["a".to_owned(), "b".to_owned()]).await;
    let mut poison = staged[0].1.clone();
    poison.value = Some(bytes::Bytes::from_static(b"\x00\x00\x00\x00\x01{not json"));
    poison.headers.push("their.own", "kept");
    let after = staged.remove(1);
    platform.ports.log.publish(vec![poison.clone(), after.1]).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!((outcome.summary.dead_lettered, outcome.summary.emitted), (1, 1));
    platform.assert_each_emitted_once(&[after.0]).await;
    let dead = platform.dead_letters().await;
    assert_eq!((&dead[0].key, &dead[0].value), (&poison.key, &poison.value));
    assert_eq!(dead[0].headers.text("their.own"), Some("kept"));
    assert_eq!(dead[0].headers.last(header::EVENT_ID), poison.headers.last(header::EVENT_ID));
    let why = DeadLetterInfo::from_record(&dead[0]);
    assert_eq!((why.kind.as_str(), why.attempts), ("invalid_json", Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_staged_object_is_dead_lettered_and_can_be_redriven() {
    let platform = Platform::new().await;
    let staged = platform.stage(&["gone".to_owned()]).await;
    let asset = platform.asset(staged[0].0).await;
    platform.ports.objects.delete(std::slice::from_ref(&asset.staging)).await.unwrap();
    platform.ports.log.publish(vec![staged[0].1.clone()]).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!(outcome.summary.dead_lettered, 1);
    let why = DeadLetterInfo::from_record(&platform.dead_letters().await[0]);
    assert_eq!(why.kind, "staged_object_missing");
    assert_eq!(platform.asset(asset.asset_id).await.dead_lettered, Some(Stage::Persist));

    // The object is restored and the record redriven.
    let bytes = Arc::new(bytes::Bytes::from_static(b"gone"));
    platform.ports.objects.put(&asset.staging, bytes, Default::default()).await.unwrap();
    platform.ports.log.publish(vec![staged[0].1.clone()]).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.skipped_duplicates), (1, 0));
    let asset = platform.asset(asset.asset_id).await;
    assert_eq!((asset.state, asset.dead_lettered), (AssetState::Ingested, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_record_does_not_block_other_records() {
    let platform = Platform::new().await;
    let assets = platform.ingest(300).await;
    let slow = assets[0];
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let before = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&before);
    let step = platform.scripted(move |asset, _| {
        if asset == slow {
            return ScriptedAction::Sleep(Duration::from_millis(1500));
        }
        counted.fetch_add(1, Ordering::SeqCst);
        seen.store(counted.load(Ordering::SeqCst), Ordering::SeqCst);
        ScriptedAction::Proceed
    });
    let options = tuned(Tuning { concurrency: 2, ..Tuning::default() });
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), options).await;
    assert_eq!((outcome.summary.emitted, before.load(Ordering::SeqCst)), (300, 299));
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_partitions_and_both_drain() {
    let platform = Platform::new().await;
    let assets = platform.ingest(600).await;
    let named = |name: &str| WorkerOptions { instance: name.into(), ..until_drained() };
    let (one, two) = tokio::join!(
        platform.run(Arc::new(platform.persist()), platform.worker_ports(), named("host/0")),
        platform.run(Arc::new(platform.persist()), platform.worker_ports(), named("host/1")),
    );
    assert_eq!((&one.ended, &two.ended), (&WorkerEnd::Drained, &WorkerEnd::Drained));
    assert_eq!(one.summary.emitted + two.summary.emitted, 600);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stage_is_drained_only_after_the_preceding_stage() {
    let platform = Platform::new().await;
    let (before, after) = watch::channel(false);
    let options = WorkerOptions { until: Until::Drained { after: Some(after) }, ..until_drained() };
    let run = platform.run(Arc::new(platform.persist()), platform.worker_ports(), options);
    tokio::pin!(run);
    assert!(tokio::time::timeout(Duration::from_millis(600), &mut run).await.is_err());
    let assets = platform.ingest(3).await;
    before.send_replace(true);
    assert_eq!(run.await.summary.emitted, 3);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_worker_settles_in_flight_records_and_leaves_the_rest() {
    let platform = Platform::new().await;
    let assets = platform.ingest(200).await;
    let (stopper, stop) = Stop::channel();
    let step = platform.scripted(move |_, _| {
        stopper.stop(StopReason::Terminated);
        ScriptedAction::Sleep(Duration::from_millis(100))
    });
    let options = WorkerOptions { until: Until::Stopped, ..tuned(Tuning { concurrency: 4, ..Tuning::default() }) };
    let health = WorkerHealth::default();
    let outcome = worker::run(Arc::new(step), platform.worker_ports(), options, health.clone(), &stop).await.unwrap();
    assert_eq!(outcome.ended, WorkerEnd::Stopped(StopReason::Terminated));
    assert!(outcome.summary.emitted < 200, "{:?}", outcome.summary);
    assert_eq!(health.not_ready(), Some("stopping"));
    let rest = platform.drain(platform.persist()).await;
    assert_eq!(outcome.summary.emitted + rest.summary.emitted, 200);
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_of_another_environment_stops_the_worker_without_a_dead_letter() {
    let platform = Platform::new().await;
    let (_, mut record) = platform.stage(&["x".to_owned()]).await.remove(0);
    record.headers.remove_where(|name| name == header::DEPLOYMENT_ENV);
    record.headers.push(header::DEPLOYMENT_ENV, "prod");
    platform.ports.log.publish(vec![record]).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.reason.contains("prod")), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty());
    assert!(platform.records(&topics::MEDIA_INGESTED).await.is_empty());
}
