//! Topics to which partitions were added: earlier records are in partitions that their keys no longer map to.

use mfctl::ops::trace::{AssetTrace, TraceStepKind, trace_asset};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{NewRecord, partition};
use mfctl_core::ports::ErrorKind;

use super::platform::Platform;

/// The record in another partition than its key maps to now.
fn misplaced(record: NewRecord, partitions: u32) -> NewRecord {
    let now = partition::partition_for_key(record.key.as_deref().unwrap(), partitions);
    NewRecord { partition: Some((now + 1) % partitions), ..record }
}

fn kinds(trace: &AssetTrace) -> Vec<TraceStepKind> {
    trace.steps.iter().map(|step| step.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_finds_records_of_the_former_partitioning() {
    let platform = Platform::new().await;
    let (asset, record) = platform.stage(&["text".to_owned()]).await.remove(0);
    let dead = NewRecord { topic: topics::INGEST_RAW.dead_letters(), ..record.clone() };
    platform.ports.log.publish(vec![misplaced(record, 3), misplaced(dead, 3)]).await.unwrap();
    let trace = trace_asset(asset, &platform.ports).await.unwrap();
    let kinds = kinds(&trace);
    assert!(kinds.contains(&TraceStepKind::Event) && kinds.contains(&TraceStepKind::DeadLetter), "{trace:#?}");
    assert!(trace.gaps.is_empty(), "{trace:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topic_is_a_gap_in_the_trace() {
    let platform = Platform::with_topics(|name| *name != topics::MEDIA_INGESTED.parked()).await;
    let asset = platform.ingest(1).await[0];
    let trace = trace_asset(asset, &platform.ports).await.unwrap();
    assert!(kinds(&trace).contains(&TraceStepKind::Event), "{trace:#?}");
    assert!(matches!(trace.gaps.as_slice(), [gap] if gap.contains("media.ingested.parked")), "{trace:#?}");
    let missing = platform.ports.log.offsets(&[topics::MEDIA_INGESTED.parked()]).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
