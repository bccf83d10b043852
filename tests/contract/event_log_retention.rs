//! The contract of a log that has to be told to run retention, and that dates commits: the embedded one. One that does it
//! by itself, when it sees fit, has tests of its own for what a reader meets then.

use std::time::Duration;

use mfctl_core::domain::NewRecord;
use mfctl_core::ports::{EventLog, TopicSpec};

use crate::contract::event_log::{WIDE, all, at, dated, ms, spec, text, topic};
use crate::contract::event_log_groups::{Story, fill, group, member};
use crate::contract::harness::Fixture;

/// Every case of this suite, for a harness that answers a log with nothing in it.
macro_rules! event_log_retention_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log_retention:
            a_fetch_below_the_start_begins_there,
            retention_removes_the_old_from_the_beginning_and_nothing_else,
            compaction_keeps_each_keys_last_record_and_every_offset,
            records_that_retention_took_are_no_lag,
            commits_are_dated,
        );
    };
}
pub(crate) use event_log_retention_suite;

pub async fn a_fetch_below_the_start_begins_there(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { retention: Some(Duration::from_secs(1)), ..spec("t", 1) }]).await.unwrap();
    f.port.publish(vec![dated("t", "k", 1000), dated("t", "k", 2000), dated("t", "k", 100_000)]).await.unwrap();
    f.port.run_retention(ms(100_500)).await.unwrap();
    let fetched = f.port.fetch(&at("t", 0), 0, WIDE).await.unwrap();
    assert_eq!(fetched.records.len(), 1);
    assert_eq!(fetched.span.low, fetched.records[0].address.offset);
}

pub async fn retention_removes_the_old_from_the_beginning_and_nothing_else(f: Fixture<dyn EventLog>) {
    let short = TopicSpec { retention: Some(Duration::from_secs(10)), ..spec("short", 1) };
    f.port.create_topics(&[short, spec("ever", 1)]).await.unwrap();
    let times = [1_000, 2_000, 50_000, 3_000, 60_000];
    for name in ["short", "ever"] {
        f.port.publish(times.iter().map(|time| dated(name, "k", *time)).collect()).await.unwrap();
    }
    let report = f.port.run_retention(ms(30_000)).await.unwrap();
    assert_eq!(report.removed.get("short"), Some(&2));
    assert_eq!(report.removed.get("ever"), None);
    let kept: Vec<_> = all(f.port.as_ref(), &at("short", 0)).await.iter().map(text).collect();
    assert_eq!(kept, ["50000", "3000", "60000"], "an old record behind a young one stays");
    assert_eq!(all(f.port.as_ref(), &at("ever", 0)).await.len(), 5);
    assert!(f.port.run_retention(ms(30_000)).await.unwrap().removed.is_empty());

    // More than one step removes, and the end stays where it was.
    f.port.publish((0..12_000).map(|n| dated("short", "k", 70_000 + n)).collect()).await.unwrap();
    f.port.run_retention(ms(1_000_000)).await.unwrap();
    let span = f.port.offsets(&[topic("short")]).await.unwrap()[0].span;
    assert_eq!(span.low, span.high);
    assert!(span.high >= 12_005);
    let next = f.port.publish(vec![dated("short", "k", 1_000_000)]).await.unwrap();
    assert_eq!(next[0].offset, span.high, "offsets are never given again");
}

pub async fn compaction_keeps_each_keys_last_record_and_every_offset(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { compacted: true, ..spec("t", 1) }]).await.unwrap();
    const DAY: i64 = 86_400_000;
    let tombstone = |key| NewRecord { value: None, ..dated("t", key, 1_000) };
    let batch = vec![
        dated("t", "a", 1),
        dated("t", "b", 2),
        dated("t", "a", 3),
        tombstone("b"),
        dated("t", "c", 4),
        dated("t", "a", 5),
    ];
    let addresses = f.port.publish(batch).await.unwrap();
    f.port.run_retention(ms(2_000)).await.unwrap();
    let kept: Vec<_> = all(f.port.as_ref(), &at("t", 0)).await.iter().map(|r| r.address.offset).collect();
    let offset = |n: usize| addresses[n].offset;
    assert_eq!(kept, [offset(3), offset(4), offset(5)]);
    f.port.run_retention(ms(1_000 + DAY)).await.unwrap();
    let kept: Vec<_> = all(f.port.as_ref(), &at("t", 0)).await.iter().map(text).collect();
    assert_eq!(kept, ["4", "5"], "a tombstone goes after a day");
    let again = f.port.publish(vec![dated("t", "b", 9)]).await.unwrap();
    assert!(again[0].offset > offset(5));
}

pub async fn commits_are_dated(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    fill(&f.port, 3).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "all records", |s| s.records.len() == 3).await;
    let groups = f.port.groups().await.unwrap();
    assert!(groups[0].committed.iter().all(|c| c.committed_at.is_some()));
}

pub async fn records_that_retention_took_are_no_lag(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { retention: Some(Duration::from_secs(1)), ..spec("in", 1) }]).await.unwrap();
    fill(&f.port, 10).await;
    f.port.run_retention(ms(1_800_000_000_000)).await.unwrap();
    assert!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    fill(&f.port, 1).await;
    story.until(&mut consumer, "the record after", |s| s.records.len() == 1).await;
    assert_eq!(story.records[0].address.offset, 10);
}
