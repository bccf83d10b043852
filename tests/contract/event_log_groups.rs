//! The contract of `GroupConsumer`: assignment, revocation, eviction, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::{GroupName, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, FetchLimits, Poll, Subscription};

use crate::contract::event_log::{WIDE, all_records, record, spec, text, topic, topic_partition, wait_for_records};
use crate::contract::group_member::{
    MemberHistory, STEP, TIMEOUT, drive_both, group, join, join_with_session, next_offsets, publish_numbers,
};
use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns an empty log.
macro_rules! event_log_groups_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log_groups:
            new_group_starts_at_the_beginning_and_resumes_at_its_commit,
            commit_of_outputs_dead_letters_and_offsets_is_atomic,
            polling_continues_while_a_commit_is_in_flight,
            two_members_share_partitions_and_read_no_record_twice,
            partitions_of_a_dead_member_go_to_the_others,
            partitions_of_a_leaving_member_are_free_at_once,
            member_that_stops_polling_is_evicted_and_can_rejoin,
            revoked_partition_is_reassigned_only_after_its_release,
            member_without_partitions_receives_an_empty_assignment,
            rewind_rereads_from_the_committed_offset,
            paused_partition_returns_no_records_until_it_is_resumed,
            poll_respects_its_limits_and_starves_no_partition,
            poll_respects_the_limits_of_each_partition,
            waiting_poll_wakes_when_a_record_arrives,
            cancelled_poll_loses_no_records,
            progress_reports_whether_records_remain,
            group_can_be_deleted_only_without_members,
            subscribing_to_a_missing_topic_names_it,
        );
    };
}
pub(crate) use event_log_groups_suite;

pub async fn new_group_starts_at_the_beginning_and_resumes_at_its_commit(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 3)]).await.unwrap();
    publish_numbers(&f.port, 30).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "all records", |s| s.records.len() == 30).await;
    assert_eq!(history.owned.len(), 3);
    consumer.leave().await.unwrap();

    publish_numbers(&f.port, 5).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "the new records", |s| s.records.len() >= 5).await;
    history.step(&mut consumer).await;
    assert_eq!(history.records.len(), 5);
}

pub async fn commit_of_outputs_dead_letters_and_offsets_is_atomic(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1), spec("out", 1), spec("in.dlq", 1)]).await.unwrap();
    publish_numbers(&f.port, 3).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| !s.owned.is_empty()).await;
    let Poll::Records(records) = consumer.poll(WIDE, TIMEOUT).await.unwrap() else { panic!("no records") };
    let offsets = next_offsets(&records);
    let outputs = vec![record("out", "k", "emitted"), record("out", "k", "emitted too")];

    let bad = CommitRequest {
        outputs: vec![outputs[0].clone(), record("gone", "k", "v")],
        offsets: offsets.clone(),
        ..CommitRequest::default()
    };
    fails_as(consumer.commit(bad).await, ErrorKind::NotFound);
    let beyond = CommitRequest {
        outputs: outputs.clone(),
        offsets: [(topic_partition("in", 0), 999)].into(),
        ..Default::default()
    };
    assert!(consumer.commit(beyond).await.is_err());
    let not_its_own = CommitRequest {
        outputs: outputs.clone(),
        offsets: [(topic_partition("out", 0), 0)].into(),
        ..Default::default()
    };
    fails_as(consumer.commit(not_its_own).await, ErrorKind::Fenced);
    assert!(all_records(f.port.as_ref(), &topic_partition("out", 0)).await.is_empty());
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, None);

    let good = CommitRequest {
        outputs,
        dead_letters: vec![record("in.dlq", "k", "poison")],
        offsets,
        ..CommitRequest::default()
    };
    consumer.commit(good).await.unwrap();
    assert_eq!(wait_for_records(f.port.as_ref(), &topic_partition("out", 0), 2).await.len(), 2);
    assert_eq!(wait_for_records(f.port.as_ref(), &topic_partition("in.dlq", 0), 1).await.len(), 1);
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress[0].at_end && progress[0].committed.is_some());
}

/// Polls and releases during a commit do not affect it.
pub async fn polling_continues_while_a_commit_is_in_flight(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1), spec("out", 1)]).await.unwrap();
    publish_numbers(&f.port, 9).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| !s.owned.is_empty()).await;
    let few = FetchLimits { max_records: 3, ..WIDE };
    let Poll::Records(first) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    let batch = |records: &[Record], value: &str| {
        let outputs = vec![record("out", "k", value)];
        CommitRequest { outputs, offsets: next_offsets(records), ..CommitRequest::default() }
    };
    consumer.begin_commit(batch(&first, "first")).await.unwrap();
    let Poll::Records(second) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    consumer.finish_commit().await.unwrap();
    consumer.finish_commit().await.unwrap();
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, Some(3));

    // A commit that is begun during another one waits for it, and so does a release.
    consumer.begin_commit(batch(&second, "second")).await.unwrap();
    let Poll::Records(third) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    consumer.begin_commit(batch(&third, "third")).await.unwrap();
    consumer.release(&[topic_partition("in", 0)]).await.unwrap();
    consumer.finish_commit().await.unwrap();
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, Some(9));
    let out = wait_for_records(f.port.as_ref(), &topic_partition("out", 0), 3).await;
    assert_eq!(out.iter().map(text).collect::<Vec<_>>(), ["first", "second", "third"]);
}

pub async fn two_members_share_partitions_and_read_no_record_twice(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 6)]).await.unwrap();
    publish_numbers(&f.port, 600).await;
    let mut a = join(&f.port, "a").await;
    let mut b = join(&f.port, "b").await;
    let mut one = MemberHistory::default();
    let mut two = MemberHistory::default();
    drive_both((&mut one, &mut a), (&mut two, &mut b), "equal shares", |one, two| {
        one.owned.len() == 3 && two.owned.len() == 3 && one.records.len() + two.records.len() >= 600
    })
    .await;
    publish_numbers(&f.port, 600).await;
    drive_both((&mut one, &mut a), (&mut two, &mut b), "all records", |one, two| {
        one.records.len() + two.records.len() >= 1200
    })
    .await;
    let addresses: BTreeSet<_> = one.records.iter().chain(&two.records).map(|r| r.address.clone()).collect();
    assert_eq!((addresses.len(), one.records.len() + two.records.len()), (1200, 1200));
    assert!(one.owned.is_disjoint(&two.owned));
    let groups = f.port.groups().await.unwrap();
    assert_eq!(groups[0].members.len(), 2);
    assert_eq!(groups[0].members.iter().map(|m| m.partitions.len()).sum::<usize>(), 6);
    assert_eq!(groups[0].members[0].instance, "a");
    assert_eq!(f.port.members(&group()).await.unwrap(), groups[0].members);
    assert_eq!(f.port.members(&GroupName::new("other").unwrap()).await.unwrap(), []);
}

pub async fn partitions_of_a_dead_member_go_to_the_others(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 4)]).await.unwrap();
    let mut a = join(&f.port, "a").await;
    let mut b = join(&f.port, "b").await;
    let mut one = MemberHistory::default();
    let mut two = MemberHistory::default();
    drive_both((&mut one, &mut a), (&mut two, &mut b), "equal shares", |one, two| {
        one.owned.len() == 2 && two.owned.len() == 2
    })
    .await;
    publish_numbers(&f.port, 100).await;
    // It has read records but not committed them.
    while !matches!(a.poll(WIDE, STEP).await.unwrap(), Poll::Records(_)) {}
    drop(a);
    two.until(&mut b, "the dead member's records", |s| s.records.len() == 100).await;
    assert_eq!((two.owned.len(), two.values().len()), (4, 100));
    assert_eq!(f.port.groups().await.unwrap()[0].members.len(), 1);
}

pub async fn partitions_of_a_leaving_member_are_free_at_once(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut a = join_with_session(&f.port, "a", Duration::from_secs(3600)).await;
    let mut one = MemberHistory::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 2).await;
    a.leave().await.unwrap();
    let mut b = join_with_session(&f.port, "b", Duration::from_secs(3600)).await;
    let mut two = MemberHistory::default();
    two.until(&mut b, "the freed partitions", |s| s.owned.len() == 2).await;
}

pub async fn member_that_stops_polling_is_evicted_and_can_rejoin(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2), spec("out", 1)]).await.unwrap();
    publish_numbers(&f.port, 20).await;
    let session = Duration::from_millis(1500);
    let mut stopped = join_with_session(&f.port, "stopped", session).await;
    let mut one = MemberHistory::default();
    one.until(&mut stopped, "an assignment", |s| s.owned.len() == 2).await;
    let Poll::Records(unsettled) = stopped.poll(WIDE, TIMEOUT).await.unwrap() else { panic!("no records") };

    let mut other = join(&f.port, "other").await;
    let mut two = MemberHistory::default();
    two.until(&mut other, "the stopped member's partitions", |s| s.owned.len() == 2 && s.records.len() == 20).await;
    let settlement = CommitRequest {
        outputs: vec![record("out", "k", "zombie")],
        offsets: next_offsets(&unsettled),
        ..CommitRequest::default()
    };
    fails_as(stopped.commit(settlement).await, ErrorKind::Fenced);
    assert!(all_records(f.port.as_ref(), &topic_partition("out", 0)).await.is_empty());

    one.owned.clear();
    drive_both((&mut one, &mut stopped), (&mut two, &mut other), "its return", |one, two| {
        one.lost.len() == 2 && one.owned.len() == 1 && two.owned.len() == 1
    })
    .await;
}

pub async fn revoked_partition_is_reassigned_only_after_its_release(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut a = join(&f.port, "a").await;
    let mut one = MemberHistory::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 2).await;
    publish_numbers(&f.port, 50).await;
    // A poll may return records of only one of the two partitions.
    let mut unsettled = Vec::new();
    while next_offsets(&unsettled).len() < 2 {
        let Poll::Records(records) = a.poll(WIDE, TIMEOUT).await.unwrap() else { panic!("no records") };
        unsettled.extend(records);
    }

    let mut b = join(&f.port, "b").await;
    let mut two = MemberHistory::default();
    let revoked = loop {
        two.step(&mut b).await;
        match a.poll(WIDE, STEP).await.unwrap() {
            Poll::Revoking(partitions) => break partitions,
            Poll::Idle | Poll::Records(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(revoked.len(), 1);
    publish_numbers(&f.port, 50).await;
    for _ in 0..5 {
        two.step(&mut b).await;
        if let Poll::Records(records) = a.poll(WIDE, STEP).await.unwrap() {
            assert!(
                records.iter().all(|r| !revoked.contains(&r.topic_partition())),
                "no more records of the revoked partition"
            );
        }
    }
    assert!(two.owned.is_empty(), "it is owned until it is released");
    // Records in flight may still be committed, and are not redelivered.
    let offsets = next_offsets(&unsettled);
    a.commit(CommitRequest { offsets: offsets.clone(), ..CommitRequest::default() }).await.unwrap();
    a.release(&revoked).await.unwrap();
    fails_as(a.commit(CommitRequest { offsets, ..CommitRequest::default() }).await, ErrorKind::Fenced);
    two.until(&mut b, "the released partition", |s| s.owned.iter().eq(&revoked) && !s.records.is_empty()).await;
    let settled: BTreeSet<_> = unsettled.iter().map(|r| &r.address).collect();
    assert!(two.records.iter().all(|r| !settled.contains(&r.address)));
}

pub async fn member_without_partitions_receives_an_empty_assignment(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    let mut a = join(&f.port, "a").await;
    let mut one = MemberHistory::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 1).await;
    let mut b = join(&f.port, "b").await;
    let mut two = MemberHistory::default();
    two.until(&mut b, "an empty assignment", |s| s.was_assigned).await;
    assert!(two.owned.is_empty());
    drop(a);
    two.until(&mut b, "the only partition", |s| s.owned.len() == 1).await;
}

pub async fn rewind_rereads_from_the_committed_offset(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    publish_numbers(&f.port, 10).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    let few = FetchLimits { max_records: 4, ..WIDE };
    let Poll::Records(first) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    consumer.commit(CommitRequest { offsets: next_offsets(&first[..2]), ..CommitRequest::default() }).await.unwrap();
    let Poll::Records(second) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    assert_eq!(second[0].address.offset, first[3].address.offset + 1);
    consumer.rewind().await.unwrap();
    let Poll::Records(again) = consumer.poll(few, TIMEOUT).await.unwrap() else { panic!("no records") };
    assert_eq!(again[..2], first[2..]);
}

pub async fn paused_partition_returns_no_records_until_it_is_resumed(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 2).await;
    consumer.pause(&[topic_partition("in", 0), topic_partition("elsewhere", 3)]);
    publish_numbers(&f.port, 40).await;
    let open = all_records(f.port.as_ref(), &topic_partition("in", 1)).await.len();
    history.until(&mut consumer, "the open partition", |s| s.records.len() == open).await;
    assert!(matches!(consumer.poll(WIDE, STEP).await.unwrap(), Poll::Idle));
    consumer.resume(&[topic_partition("in", 0), topic_partition("elsewhere", 3)]);
    history.until(&mut consumer, "the other one", |s| s.records.len() == 40).await;
}

pub async fn poll_respects_its_limits_and_starves_no_partition(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 4)]).await.unwrap();
    publish_numbers(&f.port, 4000).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 4).await;
    let limits = FetchLimits { max_records: 10, max_bytes: 1 << 20 };
    // Until each partition has returned a record; they may arrive late.
    let mut polled = BTreeSet::new();
    while polled.len() < 4 {
        let Poll::Records(records) = consumer.poll(limits, TIMEOUT).await.unwrap() else { panic!("no records") };
        let partitions: BTreeSet<_> = records.iter().map(Record::topic_partition).collect();
        consumer.pause(&partitions.iter().cloned().collect::<Vec<_>>());
        polled.extend(partitions);
    }
    for _ in 0..5 {
        assert!(matches!(consumer.poll(WIDE, STEP).await.unwrap(), Poll::Idle));
    }
    consumer.resume(&polled.into_iter().collect::<Vec<_>>());
    let mut early = BTreeSet::new();
    for _ in 0..16 {
        let Poll::Records(records) = consumer.poll(limits, TIMEOUT).await.unwrap() else { panic!("no records") };
        assert!(records.len() <= 10);
        early.extend(records.iter().map(Record::topic_partition));
    }
    assert_eq!(early.len(), 4, "160 of 4000 records must include every partition");
    let Poll::Records(one) = consumer.poll(FetchLimits { max_records: 50, max_bytes: 1 }, STEP).await.unwrap() else {
        panic!("no records")
    };
    assert_eq!(one.len(), 1);
}

pub async fn poll_respects_the_limits_of_each_partition(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 3)]).await.unwrap();
    publish_numbers(&f.port, 300).await;
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 3).await;
    let record_limits = FetchLimits { max_records: 7, ..WIDE };
    let byte_limits = FetchLimits { max_bytes: 40, ..WIDE };
    let single = FetchLimits { max_records: 1, max_bytes: 1 };
    for limits in [record_limits, byte_limits, single] {
        consumer.limit_each_partition(limits);
        for _ in 0..4 {
            let Poll::Records(records) = consumer.poll(WIDE, TIMEOUT).await.unwrap() else { panic!("no records") };
            let mut held: BTreeMap<TopicPartition, (usize, usize)> = BTreeMap::new();
            for record in &records {
                let (count, bytes) = held.entry(record.topic_partition()).or_default();
                *count += 1;
                *bytes += record.size_bytes();
            }
            let is_within = |(count, bytes): &(usize, usize)| {
                *count == 1 || (*count <= limits.max_records && *bytes <= limits.max_bytes)
            };
            assert!(held.values().all(is_within), "{held:?} with {limits:?}");
            history.records.extend(records);
        }
    }
    consumer.limit_each_partition(WIDE);
    history.until(&mut consumer, "the others", |s| s.records.len() == 300).await;
    assert_eq!(history.values().len(), 300);
}

pub async fn waiting_poll_wakes_when_a_record_arrives(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    assert!(matches!(consumer.poll(WIDE, Duration::ZERO).await.unwrap(), Poll::Idle));
    let log = Arc::clone(&f.port);
    let publishing = tokio::spawn(async move { publish_numbers(&log, 1).await });
    let started = Instant::now();
    let polled = consumer.poll(WIDE, TIMEOUT).await.unwrap();
    assert!(matches!(polled, Poll::Records(_)), "{polled:?}");
    assert!(started.elapsed() < TIMEOUT / 2, "the poll did not wake before its timeout");
    publishing.await.unwrap();
}

pub async fn cancelled_poll_loses_no_records(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 3)]).await.unwrap();
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    publish_numbers(&f.port, 300).await;
    let end = Instant::now() + TIMEOUT;
    let mut timeout = Duration::from_micros(10);
    while history.records.len() < 300 {
        assert!(Instant::now() < end, "{} of 300 records", history.records.len());
        // Cancelled at some await, as by a worker's `select!`.
        let limits = FetchLimits { max_records: 7, ..WIDE };
        let Ok(polled) = tokio::time::timeout(timeout, consumer.poll(limits, STEP)).await else {
            timeout = (timeout * 2).min(Duration::from_millis(500));
            continue;
        };
        timeout = Duration::from_micros(10);
        match polled.unwrap() {
            Poll::Records(records) => history.records.extend(records),
            Poll::Assigned(partitions) => history.owned.extend(partitions),
            Poll::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((history.values().len(), history.owned.len()), (300, 3));
}

pub async fn progress_reports_whether_records_remain(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress.iter().all(|p| p.at_end && p.committed.is_none()), "an empty topic has nothing remaining");
    publish_numbers(&f.port, 40).await;
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress.iter().all(|p| !p.at_end && p.span.high > 0));
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "all records", |s| s.records.len() == 40).await;
    // In a cluster a commit is visible a moment later.
    let end = Instant::now() + TIMEOUT;
    loop {
        let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
        if progress.iter().all(|p| p.at_end) {
            break;
        }
        assert!(Instant::now() < end, "{progress:?}");
        tokio::task::yield_now().await;
    }
    let groups = f.port.groups().await.unwrap();
    assert!(groups[0].committed.iter().all(|c| c.offset > 0));
}

pub async fn group_can_be_deleted_only_without_members(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    publish_numbers(&f.port, 3).await;
    fails_as(f.port.delete_group(&group()).await, ErrorKind::NotFound);
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "all records", |s| s.records.len() == 3).await;
    fails_as(f.port.delete_group(&group()).await, ErrorKind::Conflict);
    consumer.leave().await.unwrap();
    f.port.delete_group(&group()).await.unwrap();
    assert!(f.port.groups().await.unwrap().is_empty());
    let mut consumer = join(&f.port, "a").await;
    let mut history = MemberHistory::default();
    history.until(&mut consumer, "all records again", |s| s.records.len() == 3).await;
    assert!(!f.port.progress(&group(), &[topic("in")]).await.unwrap().is_empty());
}

pub async fn subscribing_to_a_missing_topic_names_it(f: Fixture<dyn EventLog>) {
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("nowhere")],
        instance: "a".into(),
        session_timeout: Duration::from_secs(10),
        prefetch_bytes: 1 << 20,
    };
    let Err(error) = f.port.subscribe(subscription).await else { panic!("it joined") };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.full().contains("nowhere"), "{}", error.full());
}
