//! Topics to which partitions were added: records of before stand where their key does not belong any more.

use mfctl::ops::trace::{self, AssetTrace, TraceStepKind};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{NewRecord, partition};
use mfctl_core::ports::ErrorKind;

use super::platform::Platform;

/// The record at the partition after the one that its key belongs to.
fn as_before(record: NewRecord, partitions: u32) -> NewRecord {
    let now = partition::partition_for_key(record.key.as_deref().unwrap(), partitions);
    NewRecord { partition: Some((now + 1) % partitions), ..record }
}

fn kinds(story: &AssetTrace) -> Vec<TraceStepKind> {
    story.steps.iter().map(|step| step.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_lacks_no_event_of_before_and_no_dead_letter() {
    let platform = Platform::new().await;
    let (asset, record) = platform.stage(&["grown".to_owned()]).await.remove(0);
    let dead = NewRecord { topic: topics::INGEST_RAW.dead_letters(), ..record.clone() };
    platform.ports.log.publish(vec![as_before(record, 3), as_before(dead, 3)]).await.unwrap();
    let story = trace::trace_asset(asset, &platform.ports).await.unwrap();
    let told = kinds(&story);
    assert!(told.contains(&TraceStepKind::Event) && told.contains(&TraceStepKind::DeadLetter), "{story:#?}");
    assert!(story.gaps.is_empty(), "{story:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_a_gap_in_the_story() {
    let platform = Platform::with_topics(|name| *name != topics::MEDIA_INGESTED.parked()).await;
    let asset = platform.ingest(1).await[0];
    let story = trace::trace_asset(asset, &platform.ports).await.unwrap();
    assert!(kinds(&story).contains(&TraceStepKind::Event), "{story:#?}");
    assert!(matches!(story.gaps.as_slice(), [gap] if gap.contains("media.ingested.parked")), "{story:#?}");
    let missing = platform.ports.log.offsets(&[topics::MEDIA_INGESTED.parked()]).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
