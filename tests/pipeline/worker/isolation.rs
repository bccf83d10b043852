//! One object or one tenant that fails leaves the others alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mfctl::pipeline::enrich::Enrich;
use mfctl::pipeline::persist::Persist;
use mfctl::pipeline::worker::{StepError, Tuning, WorkerEnd, WorkerOptions, WorkerOutcome};
use mfctl_core::breaker::RecordLimit;
use mfctl_core::domain::dead_letter::{DeadLetterInfo, FailureClass};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, ObjectRef, Tenant, object_keys};
use mfctl_core::ports::{ErrorKind, ObjectStore};
use mfctl_extract::sandbox::Parser;

use super::faulty_objects::{FaultyObjects, ReadCall};
use super::platform::{Platform, ScriptedAction, tuned, until_drained};

/// Options under which a record that fails alone is given up after a fraction of a second.
pub fn impatient(tuning: Tuning) -> WorkerOptions {
    let record_limit = RecordLimit { failures: 3, lasting: Duration::from_millis(100) };
    WorkerOptions { record_limit, ..tuned(tuning) }
}

/// Persists everything with a store that fails as scripted.
async fn persist_with_fault(
    platform: &Platform,
    tuning: Tuning,
    fault: impl Fn(&ObjectRef) -> Option<ErrorKind> + Send + Sync + 'static,
) -> WorkerOutcome {
    let fault = move |_, at: Option<&ObjectRef>| at.and_then(&fault);
    let objects = FaultyObjects::new(&platform.ports.objects, fault) as Arc<dyn ObjectStore>;
    let step = Persist { objects, ..platform.persist() };
    platform.run(Arc::new(step), platform.worker_ports(), impatient(tuning)).await
}

async fn staged_object(platform: &Platform, asset: AssetId) -> ObjectRef {
    platform.asset(asset).await.staging
}

/// Enriches everything with this store.
async fn enrich_from(platform: &Platform, objects: Arc<FaultyObjects>) -> WorkerOutcome {
    let step = Enrich { objects, ..platform.enrich(Parser::forked_by(env!("CARGO_BIN_EXE_mfctl"))) };
    platform.run(Arc::new(step), platform.worker_ports(), impatient(Tuning::default())).await
}

async fn original_object(platform: &Platform, asset: AssetId) -> ObjectRef {
    let asset = platform.asset(asset).await;
    let key = object_keys::original(&asset.tenant, &asset.sha256);
    ObjectRef { bucket: platform.buckets.originals.clone(), key }
}

/// The dead letter of the only record that enrich failed.
async fn only_dead_letter_of_enrich(platform: &Platform) -> DeadLetterInfo {
    let dead = platform.records(&topics::MEDIA_INGESTED.dead_letters()).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    DeadLetterInfo::from_record(&dead[0])
}

fn was_down(platform: &Platform, dependency: &str) -> bool {
    platform.metrics.text().contains(&format!("mfctl_dependency_down{{stage=\"persist\",dependency=\"{dependency}\"}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_always_fails_is_its_records_failure_and_all_others_go_through() {
    for kind in [ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::Throttled] {
        let platform = Platform::new().await;
        let assets = platform.ingest(300).await;
        let bad = staged_object(&platform, assets[7]).await;
        let bad_key = bad.clone();
        let fault = move |at: &ObjectRef| (*at == bad_key).then_some(kind);
        // One slot: while the bad record waits for its next attempt, the others have it.
        let outcome = persist_with_fault(&platform, Tuning { concurrency: 1, ..Tuning::default() }, fault).await;
        assert_eq!(outcome.ended, WorkerEnd::Drained, "{kind:?}");
        assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (299, 1));
        let dead = DeadLetterInfo::from_record(&platform.dead_letters().await[0]);
        assert_eq!((dead.kind.as_str(), dead.class), (kind.as_str(), Some(FailureClass::Transient)));
        assert!(dead.message.contains(&bad.to_string()), "it names the object: {}", dead.message);
        assert!(dead.attempts >= Some(3) && dead.first_failed_at < dead.last_failed_at, "{dead:?}");
        assert!(!was_down(&platform, "objects"), "the breaker stayed closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_is_down_for_all_pauses_the_worker_and_nothing_is_dead_lettered() {
    let platform = Platform::new().await;
    let assets = platform.ingest(60).await;
    let tuning = Tuning { give_up_after: Duration::from_millis(600), ..Tuning::default() };
    let outcome = persist_with_fault(&platform, tuning, |_: &ObjectRef| Some(ErrorKind::Unreachable)).await;
    assert!(
        matches!(&outcome.ended, WorkerEnd::OutageTooLong { error } if error.starts_with("objects: ")),
        "{outcome:?}"
    );
    assert!(platform.dead_letters().await.is_empty() && was_down(&platform, "objects"));
    platform.drain(platform.persist()).await;
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_recovers_ends_the_pause_by_its_canary() {
    let platform = Platform::new().await;
    let assets = platform.ingest(60).await;
    let is_down = Arc::new(AtomicBool::new(true));
    let recovery = Arc::clone(&is_down);
    let fault = move |_: &ObjectRef| is_down.load(Ordering::SeqCst).then_some(ErrorKind::Timeout);
    let recovers = async {
        while !was_down(&platform, "objects") {
            mfctl_core::wait::pause(Duration::from_millis(10)).await;
        }
        recovery.store(false, Ordering::SeqCst);
    };
    let (outcome, ()) = tokio::join!(persist_with_fault(&platform, Tuning::default(), fault), recovers);
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (60, 0), "{outcome:?}");
    platform.assert_each_emitted_once(&assets).await;
}

/// The store answers, but not for any object of the topic: it is the records that fail, in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_all_fail_while_the_canary_succeeds_are_charged_after_the_time_for_an_outage() {
    let platform = Platform::new().await;
    platform.ingest(40).await;
    let staging = platform.buckets.staging.clone();
    let fault = move |at: &ObjectRef| (at.bucket == staging).then_some(ErrorKind::Unreachable);
    let tuning = Tuning { give_up_after: Duration::from_millis(600), ..Tuning::default() };
    let outcome = persist_with_fault(&platform, tuning, fault).await;
    assert_eq!((&outcome.ended, outcome.summary.dead_lettered), (&WorkerEnd::Drained, 40), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_whose_records_all_fail_does_not_stop_the_worker_for_another() {
    let platform = Platform::new().await;
    let texts = |name: &str, count: usize| (0..count).map(|at| format!("{name} {at}")).collect::<Vec<_>>();
    let good = platform.stage_as(&Tenant::new("good").unwrap(), "text/plain", &texts("good", 60)).await;
    let bad = platform.stage_as(&Tenant::new("bad").unwrap(), "text/plain", &texts("bad", 600)).await;
    let good_assets: Vec<AssetId> = good.iter().map(|(asset, _)| *asset).collect();
    let spared = good_assets.clone();
    for records in [&good[..30], &bad[..], &good[30..]] {
        platform.ports.log.publish(records.iter().map(|(_, record)| record.clone()).collect()).await.unwrap();
    }
    let step = platform.scripted(move |asset, _| match spared.contains(&asset) {
        true => ScriptedAction::Proceed,
        false => ScriptedAction::Fail(StepError::permanent("a_later_kind", "no")),
    });
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), until_drained()).await;
    assert_eq!((&outcome.ended, outcome.summary.dead_lettered), (&WorkerEnd::Drained, 600), "{outcome:?}");
    platform.assert_each_emitted_once(&good_assets).await;
}

/// The catalog answers, but never for this record: also when it is the only one of its batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_whose_write_is_never_answered_is_dead_lettered_and_its_batch_is_committed() {
    for count in [1, 80] {
        let platform = Platform::new().await;
        let assets = platform.ingest(count).await;
        let bad = assets[0];
        let step = platform.scripted(|_, _| ScriptedAction::Proceed);
        let step = step.writing(move |written| written.contains(&bad).then_some(ErrorKind::Timeout));
        let options = impatient(Tuning::default());
        let outcome = platform.run(Arc::new(step), platform.worker_ports(), options).await;
        assert_eq!((&outcome.ended, outcome.summary.dead_lettered), (&WorkerEnd::Drained, 1), "{outcome:?}");
        let dead = DeadLetterInfo::from_record(&platform.dead_letters().await[0]);
        assert_eq!((dead.kind.as_str(), dead.class), ("timeout", Some(FailureClass::Transient)));
        platform.assert_each_emitted_once(&assets[1..]).await;
    }
}

/// The catalog answers reads, but takes no write at all, as one that is read-only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalog_that_takes_no_write_is_an_outage() {
    let platform = Platform::new().await;
    let assets = platform.ingest(80).await;
    // The first record of each partition comes last, so that there is no batch of one record.
    let raw = platform.records(&topics::INGEST_RAW).await;
    let first: Vec<String> = raw
        .into_iter()
        .filter(|record| record.address.offset == 0)
        .map(|record| String::from_utf8(record.key.unwrap().to_vec()).unwrap())
        .collect();
    let step = platform.scripted(move |asset, _| match first.contains(&asset.to_string()) {
        true => ScriptedAction::Sleep(Duration::from_secs(2)),
        false => ScriptedAction::Proceed,
    });
    let step = step.writing(|_| Some(ErrorKind::Unreachable));
    let options = impatient(Tuning { give_up_after: Duration::from_millis(600), ..Tuning::default() });
    let outcome = platform.run(Arc::new(step), platform.worker_ports(), options).await;
    assert!(
        matches!(&outcome.ended, WorkerEnd::OutageTooLong { error } if error.starts_with("catalog: ")),
        "{outcome:?}"
    );
    assert!(platform.dead_letters().await.is_empty());
    platform.drain(platform.persist()).await;
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_the_store_denies_is_its_records_failure_and_all_others_go_through() {
    let platform = Platform::new().await;
    let assets = platform.ingest(40).await;
    let staged = staged_object(&platform, assets[7]).await;
    let denied = staged.clone();
    let fault = move |at: &ObjectRef| (*at == denied).then_some(ErrorKind::Denied);
    let outcome = persist_with_fault(&platform, Tuning::default(), fault).await;
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 39), "{outcome:?}");
    let dead = DeadLetterInfo::from_record(&platform.dead_letters().await[0]);
    let found = (dead.kind.as_str(), dead.class, dead.attempts);
    assert_eq!(found, ("object_denied", Some(FailureClass::Permanent), Some(1)));
    assert!(dead.message.contains(&staged.to_string()), "it names the object: {}", dead.message);

    let original = original_object(&platform, assets[11]).await;
    let denied = original.clone();
    let fault = move |_, at: Option<&ObjectRef>| (at == Some(&denied)).then_some(ErrorKind::Denied);
    let outcome = enrich_from(&platform, FaultyObjects::new(&platform.ports.objects, fault)).await;
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 38), "{outcome:?}");
    let dead = only_dead_letter_of_enrich(&platform).await;
    assert_eq!((dead.kind.as_str(), dead.class), ("object_denied", Some(FailureClass::Permanent)));
    assert!(dead.message.contains(&original.to_string()), "it names the object: {}", dead.message);
}

/// Rights that the worker has lost, or never had: those to a bucket, or to write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_denies_a_bucket_or_writes_stops_the_worker_without_a_dead_letter() {
    let platform = Platform::new().await;
    let assets = platform.ingest(40).await;
    for only_writes in [false, true] {
        let staging = platform.buckets.staging.clone();
        let fault = move |call, at: Option<&ObjectRef>| {
            let is_denied =
                if only_writes { call == ReadCall::Copy } else { at.is_some_and(|at| at.bucket == staging) };
            is_denied.then_some(ErrorKind::Denied)
        };
        let objects = FaultyObjects::new(&platform.ports.objects, fault) as Arc<dyn ObjectStore>;
        let outcome = platform.drain(Persist { objects, ..platform.persist() }).await;
        assert!(matches!(&outcome.ended, WorkerEnd::Failed(halt) if halt.kind == ErrorKind::Denied), "{outcome:?}");
    }
    assert!(platform.dead_letters().await.is_empty());
    platform.drain(platform.persist()).await;
    platform.assert_each_emitted_once(&assets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_whose_bytes_cannot_be_read_is_named_and_not_taken_for_a_failure_of_the_parser() {
    let platform = Platform::new().await;
    let assets = platform.ingest(5).await;
    platform.drain(platform.persist()).await;
    let original = original_object(&platform, assets[2]).await;
    // It can be opened, and each read of its start ends with EIO.
    let unreadable = "/proc/self/mem".into();
    let objects = FaultyObjects::with_local_file(&platform.ports.objects, original.clone(), unreadable);
    let outcome = enrich_from(&platform, objects).await;
    assert_eq!((&outcome.ended, outcome.summary.emitted), (&WorkerEnd::Drained, 4), "{outcome:?}");
    let dead = only_dead_letter_of_enrich(&platform).await;
    assert_eq!((dead.kind.as_str(), dead.class), ("original_unreadable", Some(FailureClass::Transient)));
    assert!(dead.message.contains(&original.to_string()), "it names the object: {}", dead.message);
}
