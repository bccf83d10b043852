//! The contract of a log that runs retention on request and records the time of commits: the embedded one. A log that
//! removes records by itself has its own tests of what readers see then.

use std::time::Duration;

use mfctl_core::domain::NewRecord;
use mfctl_core::ports::{EventLog, TopicSpec};

use crate::contract::event_log::{WIDE, all_records, ms, record_at, spec, text, topic, topic_partition};
use crate::contract::group_member::{MemberHistory, group, join, publish_numbers};
use crate::contract::harness::Fixture;

/// Every case of this suite, for a harness that returns an empty log.
macro_rules! event_log_retention_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log_retention:
            fetch_below_the_first_offset_starts_there,
            retention_removes_expired_records_from_the_start_only,
            compaction_keeps_the_last_record_of_each_key_at_its_offset,
            records_removed_by_retention_do_not_count_as_lag,
            commits_have_timestamps,
        );
    };
}
pub(crate) use event_log_retention_suite;

pub async fn fetch_below_the_first_offset_starts_there(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { retention: Some(Duration::from_secs(1)), ..spec("t", 1) }]).await.unwrap();
    f.port
        .publish(vec![record_at("t", "k", 1000), record_at("t", "k", 2000), record_at("t", "k", 100_000)])
        .await
        .unwrap();
    f.port.run_retention(ms(100_500)).await.unwrap();
    let fetched = f.port.fetch(&topic_partition("t", 0), 0, WIDE).await.unwrap();
    assert_eq!(fetched.records.len(), 1);
    assert_eq!(fetched.span.low, fetched.records[0].address.offset);
}

pub async fn retention_removes_expired_records_from_the_start_only(f: Fixture<dyn EventLog>) {
    let short = TopicSpec { retention: Some(Duration::from_secs(10)), ..spec("short", 1) };
    f.port.create_topics(&[short, spec("ever", 1)]).await.unwrap();
    let times = [1_000, 2_000, 50_000, 3_000, 60_000];
    for name in ["short", "ever"] {
        f.port.publish(times.iter().map(|time| record_at(name, "k", *time)).collect()).await.unwrap();
    }
    let report = f.port.run_retention(ms(30_000)).await.unwrap();
    assert_eq!(report.removed.get("short"), Some(&2));
    assert_eq!(report.removed.get("ever"), None);
    let kept: Vec<_> = all_records(f.port.as_ref(), &topic_partition("short", 0)).await.iter().map(text).collect();
    assert_eq!(kept, ["50000", "3000", "60000"], "an expired record after a fresh one stays");
    assert_eq!(all_records(f.port.as_ref(), &topic_partition("ever", 0)).await.len(), 5);
    assert!(f.port.run_retention(ms(30_000)).await.unwrap().removed.is_empty());

    // More records than one step removes; the high watermark stays.
    f.port.publish((0..12_000).map(|n| record_at("short", "k", 70_000 + n)).collect()).await.unwrap();
    f.port.run_retention(ms(1_000_000)).await.unwrap();
    let span = f.port.offsets(&[topic("short")]).await.unwrap()[0].span;
    assert_eq!(span.low, span.high);
    assert!(span.high >= 12_005);
    let next = f.port.publish(vec![record_at("short", "k", 1_000_000)]).await.unwrap();
    assert_eq!(next[0].offset, span.high, "offsets are never reused");
}

pub async fn compaction_keeps_the_last_record_of_each_key_at_its_offset(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { compacted: true, ..spec("t", 1) }]).await.unwrap();
    const DAY: i64 = 86_400_000;
    let tombstone = |key| NewRecord { value: None, ..record_at("t", key, 1_000) };
    let batch = vec![
        record_at("t", "a", 1),
        record_at("t", "b", 2),
        record_at("t", "a", 3),
        tombstone("b"),
        record_at("t", "c", 4),
        record_at("t", "a", 5),
    ];
    let addresses = f.port.publish(batch).await.unwrap();
    f.port.run_retention(ms(2_000)).await.unwrap();
    let kept: Vec<_> =
        all_records(f.port.as_ref(), &topic_partition("t", 0)).await.iter().map(|r| r.address.offset).collect();
    let offset = |n: usize| addresses[n].offset;
    assert_eq!(kept, [offset(3), offset(4), offset(5)]);
    f.port.run_retention(ms(1_000 + DAY)).await.unwrap();
    let kept: Vec<_> = all_records(f.port.as_ref(), &topic_partition("t", 0)).await.iter().map(text).collect();
    assert_eq!(kept, ["4", "5"], "a tombstone is removed after a day");
    let again = f.port.publish(vec![record_at("t", "b", 9)]).await.unwrap();
    assert!(again[0].offset > offset(5));
}

pub async fn commits_have_timestamps(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    publish_numbers(&f.port, 3).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "all records", |s| s.records.len() == 3).await;
    let groups = f.port.groups().await.unwrap();
    assert!(groups[0].committed.iter().all(|c| c.committed_at.is_some()));
}

pub async fn records_removed_by_retention_do_not_count_as_lag(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { retention: Some(Duration::from_secs(1)), ..spec("in", 1) }]).await.unwrap();
    publish_numbers(&f.port, 10).await;
    f.port.run_retention(ms(1_800_000_000_000)).await.unwrap();
    assert!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    publish_numbers(&f.port, 1).await;
    history.until(&mut consumer, "the record after", |s| s.records.len() == 1).await;
    assert_eq!(history.records[0].address.offset, 10);
}
