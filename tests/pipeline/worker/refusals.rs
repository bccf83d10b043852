//! What a worker does when the log refuses what it commits, for its size.

use std::sync::Arc;

use mfctl::pipeline::worker::WorkerEnd;
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::kept_record;
use mfctl_core::domain::record_limits::MAX_RECORD_BYTES;
use mfctl_core::domain::{AssetId, NewRecord, Record};
use mfctl_core::ports::ErrorKind;
use tokio::io::AsyncReadExt as _;

use super::faulty_log::FaultyLog;
use super::platform::{Platform, ScriptedAction, until_drained};

/// Publishes a record that is no event, with a value of this many bytes and a large header.
async fn publish_large(platform: &Platform, value_bytes: usize) -> NewRecord {
    let (_, mut record) = platform.stage(&["large".to_owned()]).await.remove(0);
    record.headers.push("note", vec![b'n'; 500_000]);
    record.value = Some(vec![b'v'; value_bytes].into());
    platform.ports.log.publish(vec![record.clone()]).await.unwrap();
    record
}

async fn kept_record_of(platform: &Platform, dead: &Record) -> kept_record::KeptRecord {
    let stub = DeadLetterStub::of(dead).unwrap();
    let mut bytes = Vec::new();
    platform.ports.objects.open(&stub.object).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    kept_record::decode(&bytes.into()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_beyond_the_limit_is_a_dead_letter_of_its_record() {
    let platform = Platform::new().await;
    let assets = platform.ingest(5).await;
    let large = assets[2];
    let step = platform.scripted(move |asset, _| match asset {
        asset if asset == large => ScriptedAction::GrowOutput(2 * MAX_RECORD_BYTES),
        _ => ScriptedAction::Proceed,
    });
    let outcome = platform.drain(step).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (4, 1));
    let dead = platform.dead_letters().await;
    let info = DeadLetterInfo::from_record(&dead[0]);
    assert_eq!((dead.len(), info.kind.as_str()), (1, "output_too_large"));
    assert!(info.message.contains("media.ingested") && info.message.contains("1048576"), "{}", info.message);
    let others: Vec<AssetId> = assets.into_iter().filter(|asset| *asset != large).collect();
    platform.assert_each_emitted_once(&others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_only_the_log_refuses_is_a_dead_letter_and_the_rest_is_emitted() {
    let platform = Platform::new().await;
    let assets = platform.ingest(40).await;
    let large = assets[17];
    let step = platform.scripted(move |asset, _| match asset {
        asset if asset == large => ScriptedAction::GrowOutput(300_000),
        _ => ScriptedAction::Proceed,
    });
    let log = FaultyLog::narrow(&platform.ports.log, 100_000);
    let outcome = platform.run(Arc::new(step), platform.worker_ports_on(log), until_drained()).await;
    assert_eq!(outcome.ended, WorkerEnd::Drained);
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (39, 1));
    let dead = platform.dead_letters().await;
    assert_eq!((dead.len(), DeadLetterInfo::from_record(&dead[0]).kind.as_str()), (1, "output_refused"));
    assert!(DeadLetterStub::of(&dead[0]).is_none(), "its dead letter is small");
    let others: Vec<AssetId> = assets.into_iter().filter(|asset| *asset != large).collect();
    platform.assert_each_emitted_once(&others).await;
}

/// A topic with a lower limit than it tells: the whole dead letter is refused, then the usual stub, and the smallest is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_that_the_log_refuses_is_written_as_a_smaller_stub() {
    for (limit, stub_bytes) in [(100_000, 16 << 10..64 << 10), (10_000, 0..8 << 10)] {
        let platform = Platform::new().await;
        let assets = platform.ingest(10).await;
        let record = publish_large(&platform, 100_000).await;
        let log = FaultyLog::narrow(&platform.ports.log, limit);
        let outcome = platform.run(Arc::new(platform.persist()), platform.worker_ports_on(log), until_drained()).await;
        assert_eq!(outcome.ended, WorkerEnd::Drained, "{limit}");
        assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (10, 1), "{limit}");
        let dead = platform.dead_letters().await;
        assert!(dead.len() == 1 && stub_bytes.contains(&dead[0].size_bytes()), "{limit}: {}", dead[0].size_bytes());
        let kept = kept_record_of(&platform, &dead[0]).await;
        assert!(kept.key == record.key && kept.value == record.value && kept.headers == record.headers, "{limit}");
        platform.assert_each_emitted_once(&assets).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_stops_if_not_even_the_smallest_stub_is_taken() {
    let platform = Platform::new().await;
    publish_large(&platform, 10).await;
    let log = FaultyLog::narrow(&platform.ports.log, 100);
    let outcome = platform.run(Arc::new(platform.persist()), platform.worker_ports_on(log), until_drained()).await;
    assert!(matches!(&outcome.ended, WorkerEnd::Failed(failure) if failure.kind == ErrorKind::Invalid), "{outcome:?}");
    assert!(platform.dead_letters().await.is_empty(), "and nothing was committed");
}
