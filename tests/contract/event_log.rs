//! The contract of `EventLog`: topics, order, offsets, limits, time, transactional producers. Groups and retention have
//! their own suites.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use mfctl_core::domain::{Header, Headers, NewRecord, Record, TopicName, TopicPartition};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{ErrorKind, EventLog, FetchLimits, TopicSpec};

use crate::contract::harness::{Fixture, eventually, fails_as};

/// Every case of this suite, for a harness that returns an empty log.
macro_rules! event_log_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log:
            creating_topics_again_leaves_existing_ones_unchanged,
            concurrent_creation_of_a_topic_succeeds_once,
            missing_topic_is_named_in_the_error,
            records_round_trip_byte_for_byte,
            records_of_a_key_keep_their_partition_and_order,
            keyless_records_are_spread_and_an_explicit_partition_is_used,
            records_over_one_mebibyte_are_refused,
            dead_letter_and_parked_topics_take_larger_records,
            more_headers_than_can_be_read_are_refused,
            fetch_respects_its_limits_but_returns_at_least_one_record,
            fetch_at_the_end_returns_no_records,
            records_appended_while_a_range_is_read_belong_to_the_next_range,
            offset_for_time_is_the_first_record_at_or_after_it,
            compacted_topic_refuses_keyless_records,
            newer_transactional_producer_fences_the_older_one,
            log_identity_is_stable,
        );
    };
}
pub(crate) use event_log_suite;

pub const WIDE: FetchLimits = FetchLimits { max_records: 10_000, max_bytes: 64 << 20 };

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: topic(name), partitions, retention: None, compacted: false }
}

pub fn topic_partition(name: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

pub fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

pub fn record(name: &str, key: &str, value: &str) -> NewRecord {
    NewRecord {
        topic: topic(name),
        partition: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::default(),
        timestamp: ms(1_700_000_000_000),
    }
}

pub fn record_at(name: &str, key: &str, time: i64) -> NewRecord {
    NewRecord { timestamp: ms(time), ..record(name, key, &time.to_string()) }
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

/// All current records of a partition.
pub async fn all_records(log: &dyn EventLog, at: &TopicPartition) -> Vec<Record> {
    let mut records = Vec::new();
    let mut from = 0;
    loop {
        let fetched = log.fetch(at, from, WIDE).await.unwrap();
        if fetched.records.is_empty() && fetched.next_offset >= fetched.span.high {
            return records;
        }
        assert!(fetched.next_offset > from, "a fetch makes no progress");
        from = fetched.next_offset;
        records.extend(fetched.records);
    }
}

/// Waits until a partition has `count` records and returns them. In a cluster the records of a transaction become visible a
/// moment after its commit.
pub async fn wait_for_records(log: &dyn EventLog, at: &TopicPartition, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    eventually(Duration::from_secs(10), "the records are visible", async || {
        records = all_records(log, at).await;
        records.len() >= count
    })
    .await;
    records
}

pub async fn creating_topics_again_leaves_existing_ones_unchanged(f: Fixture<dyn EventLog>) {
    assert!(f.port.topics().await.unwrap().is_empty());
    let week = Duration::from_secs(7 * 86_400);
    let specs = [TopicSpec { retention: Some(week), ..spec("b", 3) }, TopicSpec { compacted: true, ..spec("a", 1) }];
    assert_eq!(f.port.create_topics(&specs).await.unwrap(), [topic("b"), topic("a")]);
    assert_eq!(f.port.create_topics(&[spec("b", 9), spec("c", 1)]).await.unwrap(), [topic("c")]);
    let topics = f.port.topics().await.unwrap();
    let seen: Vec<_> =
        topics.iter().map(|t| (t.name.as_str(), t.partitions, t.retention_seconds, t.compacted)).collect();
    assert_eq!(seen, [("a", 1, None, true), ("b", 3, Some(7 * 86_400), false), ("c", 1, None, false)]);
}

pub async fn concurrent_creation_of_a_topic_succeeds_once(f: Fixture<dyn EventLog>) {
    let few = [spec("t", 3)];
    let many = [spec("t", 9)];
    let (one, other) = tokio::join!(f.port.create_topics(&few), f.port.create_topics(&many));
    let one = one.unwrap();
    let other = other.unwrap();
    let partitions = f.port.topics().await.unwrap()[0].partitions;
    let expected = if partitions == 3 { (1, 0) } else { (0, 1) };
    assert_eq!((one.len(), other.len()), expected, "{partitions} partitions");
}

pub async fn missing_topic_is_named_in_the_error(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("here", 1)]).await.unwrap();
    let error = f.port.publish(vec![record("gone", "k", "v")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.full().contains("gone"), "{}", error.full());
    fails_as(f.port.offsets(&[topic("here"), topic("gone")]).await, ErrorKind::NotFound);
    fails_as(f.port.fetch(&topic_partition("gone", 0), 0, WIDE).await, ErrorKind::NotFound);
    fails_as(f.port.fetch(&topic_partition("here", 7), 0, WIDE).await, ErrorKind::NotFound);
    fails_as(f.port.offset_for_time(&topic_partition("gone", 0), ms(0)).await, ErrorKind::NotFound);
    assert_eq!(f.port.topics().await.unwrap().len(), 1, "publishing creates no topic");
}

pub async fn records_round_trip_byte_for_byte(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1)]).await.unwrap();
    let mut headers = Headers::default();
    headers.push("twice", "1");
    headers.push("bytes", vec![0xff, 0x00, 0xc3, 0x28]);
    headers.0.push(Header { name: "null".into(), value: None });
    headers.push("empty", "");
    headers.push("twice", "2");
    headers.push("نام", "گزاره");
    let odd = NewRecord {
        topic: topic("t"),
        partition: None,
        key: Some(Bytes::from_static(&[0x00, 0xff])),
        value: Some(Bytes::from_static(&[0xde, 0xad, 0x00])),
        headers,
        timestamp: ms(1_700_000_000_123),
    };
    let bare = NewRecord { key: None, value: None, headers: Headers::default(), ..odd.clone() };
    let empty = NewRecord { key: Some(Bytes::new()), value: Some(Bytes::new()), ..bare.clone() };
    let sent = vec![odd, bare, empty];
    let addresses = f.port.publish(sent.clone()).await.unwrap();
    let read = all_records(f.port.as_ref(), &topic_partition("t", 0)).await;
    assert_eq!(read.len(), 3);
    for ((sent, address), read) in sent.iter().zip(&addresses).zip(&read) {
        assert_eq!(&read.address, address);
        assert_eq!((&read.key, &read.value, &read.headers), (&sent.key, &sent.value, &sent.headers));
        assert_eq!(read.timestamp, sent.timestamp);
    }
}

pub async fn records_of_a_key_keep_their_partition_and_order(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 6)]).await.unwrap();
    for round in 0..5 {
        let batch =
            (0..200).map(|n| record("t", &format!("k{}", n % 20), &format!("{:04}", round * 200 + n))).collect();
        let addresses = f.port.publish(batch).await.unwrap();
        for (n, address) in addresses.iter().enumerate() {
            let key = format!("k{}", n % 20);
            assert_eq!(address.partition, mfctl_core::domain::partition::partition_for_key(key.as_bytes(), 6));
        }
    }
    let mut total = 0;
    for partition in 0..6 {
        let records = all_records(f.port.as_ref(), &topic_partition("t", partition)).await;
        total += records.len();
        assert!(records.windows(2).all(|pair| pair[0].address.offset < pair[1].address.offset));
        for key in records.iter().map(|r| r.key.clone()).collect::<std::collections::HashSet<_>>() {
            let values: Vec<_> = records.iter().filter(|r| r.key == key).map(text).collect();
            assert!(values.is_sorted(), "{key:?}: {values:?}");
        }
    }
    assert_eq!(total, 1000);
    let spans = f.port.offsets(&[topic("t")]).await.unwrap();
    assert_eq!(spans.len(), 6);
    assert!(spans.iter().all(|p| p.span.low == 0 && p.span.high > 0));
}

pub async fn keyless_records_are_spread_and_an_explicit_partition_is_used(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 4)]).await.unwrap();
    let keyless = NewRecord { key: None, ..record("t", "", "v") };
    let addresses = f.port.publish(vec![keyless.clone(); 400]).await.unwrap();
    for partition in 0..4 {
        assert!(addresses.iter().any(|a| a.partition == partition), "all 400 avoid partition {partition}");
    }
    let fixed = NewRecord { partition: Some(2), ..record("t", "k", "v") };
    assert_eq!(f.port.publish(vec![fixed.clone()]).await.unwrap()[0].partition, 2);
    assert!(f.port.publish(vec![NewRecord { partition: Some(4), ..fixed }]).await.is_err());
}

pub async fn records_over_one_mebibyte_are_refused(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1)]).await.unwrap();
    let large = |bytes| NewRecord { value: Some(Bytes::from(vec![7; bytes])), ..record("t", "k", "") };
    fails_as(f.port.publish(vec![large((1 << 20) + 1)]).await, ErrorKind::Invalid);
    f.port.publish(vec![large((1 << 20) - 1024)]).await.unwrap();
    let tight = FetchLimits { max_records: 1, max_bytes: 10 };
    let fetched = f.port.fetch(&topic_partition("t", 0), 0, tight).await.unwrap();
    assert_eq!(fetched.records[0].value.as_ref().map(Bytes::len), Some((1 << 20) - 1024));
}

/// Bytes that do not compress: Kafka limits the compressed size.
fn noise(bytes: usize) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

pub async fn dead_letter_and_parked_topics_take_larger_records(f: Fixture<dyn EventLog>) {
    const LIMIT: usize = (1 << 20) + (64 << 10);
    f.port.create_topics(&[spec("t.dlq", 1), spec("t.parked", 1)]).await.unwrap();
    for name in ["t.dlq", "t.parked"] {
        let large = |bytes| NewRecord { value: Some(noise(bytes - 1)), ..record(name, "k", "") };
        fails_as(f.port.publish(vec![large(LIMIT + 1)]).await, ErrorKind::Invalid);
        f.port.publish(vec![large(LIMIT)]).await.unwrap();
        let read = all_records(f.port.as_ref(), &topic_partition(name, 0)).await;
        assert_eq!(read[0].value, large(LIMIT).value);
        assert!(f.port.max_message_bytes(&topic(name)).await.unwrap() > LIMIT);
    }
}

pub async fn more_headers_than_can_be_read_are_refused(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1), spec("t.dlq", 1)]).await.unwrap();
    let with = |name: &str, count: usize| {
        let mut many = record(name, "k", "v");
        (0..count).for_each(|_| many.headers.push("a", "b"));
        many
    };
    for (name, limit) in [("t", 99_900), ("t.dlq", 100_000)] {
        fails_as(f.port.publish(vec![with(name, limit + 1)]).await, ErrorKind::Invalid);
        f.port.publish(vec![with(name, limit)]).await.unwrap();
        let read = all_records(f.port.as_ref(), &topic_partition(name, 0)).await;
        assert_eq!((read.len(), read[0].headers.0.len()), (1, limit));
    }
}

pub async fn fetch_respects_its_limits_but_returns_at_least_one_record(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1)]).await.unwrap();
    let hundred = "x".repeat(100);
    f.port.publish((0..10).map(|_| record("t", "k", &hundred)).collect()).await.unwrap();
    let fetch = |from, max_records, max_bytes| {
        let log = f.port.clone();
        async move { log.fetch(&topic_partition("t", 0), from, FetchLimits { max_records, max_bytes }).await.unwrap() }
    };
    let few = fetch(0, 3, 1 << 20).await;
    assert_eq!((few.records.len(), few.records[2].address.offset + 1), (3, few.next_offset));
    let light = fetch(few.next_offset, 100, 250).await;
    assert_eq!(light.records.len(), 2, "101 bytes each");
    let one = fetch(light.next_offset, 100, 1).await;
    assert_eq!(one.records.len(), 1);
    assert_eq!(one.next_offset, one.records[0].address.offset + 1);
    let rest = fetch(one.next_offset, 100, 1 << 20).await;
    assert_eq!((rest.records.len(), rest.next_offset), (4, rest.span.high));
}

pub async fn fetch_at_the_end_returns_no_records(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1), spec("empty", 1)]).await.unwrap();
    f.port.publish(vec![record("t", "k", "1"), record("t", "k", "2")]).await.unwrap();
    let span = f.port.fetch(&topic_partition("t", 0), 0, WIDE).await.unwrap().span;
    assert_eq!((span.low, span.high), (0, 2));
    for from in [span.high, span.high + 10] {
        assert!(f.port.fetch(&topic_partition("t", 0), from, WIDE).await.unwrap().records.is_empty());
    }
    let empty = f.port.fetch(&topic_partition("empty", 0), 0, WIDE).await.unwrap();
    assert_eq!((empty.records.len(), empty.next_offset, empty.span.high), (0, 0, 0));
}

/// A ledger grows while it is read range by range. A record lost between two ranges would be redriven twice.
pub async fn records_appended_while_a_range_is_read_belong_to_the_next_range(f: Fixture<dyn EventLog>) {
    async fn read(log: &dyn EventLog, mut pager: Pager) -> (Vec<Option<Bytes>>, i64) {
        let mut values = Vec::new();
        while let Some(records) = pager.next_page(log).await.unwrap() {
            values.extend(records.into_iter().map(|record| record.value));
        }
        (values, pager.position())
    }
    let log = f.port.as_ref();
    log.create_topics(&[spec("t", 1)]).await.unwrap();
    log.publish(vec![record("t", "k", "1")]).await.unwrap();
    let first = log.offsets(&[topic("t")]).await.unwrap().remove(0);
    log.publish(vec![record("t", "k", "2"), record("t", "k", "3")]).await.unwrap();
    let (values, position) = read(log, Pager::whole(&first)).await;
    assert_eq!((values, position), (vec![Some(Bytes::from("1"))], first.span.high));
    let now = log.offsets(&[topic("t")]).await.unwrap().remove(0);
    let (values, _) = read(log, Pager::new(now.at, position, now.span.high)).await;
    assert_eq!(values, ["2", "3"].map(|value| Some(Bytes::from(value))));
}

pub async fn offset_for_time_is_the_first_record_at_or_after_it(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1), spec("empty", 1)]).await.unwrap();
    // Times sometimes jump back, and there are more records than one index entry covers.
    let time = |n: i64| 10_000 + n * 10 - if n % 7 == 0 { 500 } else { 0 };
    for chunk in (0..5000).collect::<Vec<i64>>().chunks(1000) {
        f.port.publish(chunk.iter().map(|n| record_at("t", "k", time(*n))).collect()).await.unwrap();
    }
    let records = all_records(f.port.as_ref(), &topic_partition("t", 0)).await;
    for wanted in [0, 9_500, 10_000, 10_001, 22_222, 35_000, 59_980, 59_990] {
        let expected = records.iter().find(|r| r.timestamp >= ms(wanted)).map(|r| r.address.offset).unwrap();
        assert_eq!(f.port.offset_for_time(&topic_partition("t", 0), ms(wanted)).await.unwrap(), expected, "{wanted}");
    }
    let high = f.port.offsets(&[topic("t")]).await.unwrap()[0].span.high;
    assert_eq!(f.port.offset_for_time(&topic_partition("t", 0), ms(60_000)).await.unwrap(), high);
    assert_eq!(f.port.offset_for_time(&topic_partition("empty", 0), ms(0)).await.unwrap(), 0);
}

pub async fn compacted_topic_refuses_keyless_records(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[TopicSpec { compacted: true, ..spec("t", 1) }]).await.unwrap();
    fails_as(f.port.publish(vec![NewRecord { key: None, ..record("t", "", "v") }]).await, ErrorKind::Invalid);
    f.port.publish(vec![record("t", "k", "v")]).await.unwrap();
}

pub async fn newer_transactional_producer_fences_the_older_one(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("t", 1)]).await.unwrap();
    let mut first = f.port.transactional_producer("mfctl.dev.redrive.t").await.unwrap();
    let mut other = f.port.transactional_producer("mfctl.dev.redrive.u").await.unwrap();
    assert_eq!(first.send(vec![record("t", "k", "1"), record("t", "k", "2")]).await.unwrap().len(), 2);
    let mut second = f.port.transactional_producer("mfctl.dev.redrive.t").await.unwrap();
    fails_as(first.send(vec![record("t", "k", "lost")]).await, ErrorKind::Fenced);
    second.send(vec![record("t", "k", "3")]).await.unwrap();
    other.send(vec![record("t", "k", "4")]).await.unwrap();
    fails_as(second.send(vec![record("t", "k", "no"), record("gone", "k", "no")]).await, ErrorKind::NotFound);
    let values: Vec<_> =
        wait_for_records(f.port.as_ref(), &topic_partition("t", 0), 4).await.iter().map(text).collect();
    assert_eq!(values, ["1", "2", "3", "4"]);
}

pub async fn log_identity_is_stable(f: Fixture<dyn EventLog>) {
    let identity = f.port.identity().await.unwrap();
    assert!(!identity.is_empty());
    assert_eq!(f.port.identity().await.unwrap(), identity);
}
