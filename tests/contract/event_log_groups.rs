//! The contract of `GroupConsumer`: sharing, handing over, dying, settling.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::{GroupName, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, FetchLimits, GroupConsumer, Poll, Subscription};

use crate::contract::event_log::{WIDE, all, at, record, soon, spec, text, topic};
use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that answers a log with nothing in it.
macro_rules! event_log_groups_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log_groups:
            a_group_begins_at_the_beginning_and_goes_on_where_it_committed,
            a_settlement_is_seen_whole_or_not_at_all,
            polling_goes_on_beside_a_settlement,
            two_members_share_and_nothing_is_read_twice,
            what_a_dead_member_had_goes_to_the_others,
            what_a_leaving_member_had_is_free_at_once,
            a_member_that_stops_polling_is_put_out_and_comes_back,
            a_partition_is_handed_over_only_when_it_is_released,
            a_member_without_partitions_is_told_so,
            a_rewind_reads_again_from_the_commit,
            a_paused_partition_brings_nothing_until_it_is_resumed,
            a_poll_keeps_its_limits_and_lets_no_partition_wait,
            a_waiting_poll_wakes_when_a_record_comes,
            a_poll_that_is_cut_off_loses_nothing,
            progress_tells_what_is_left,
            a_group_is_forgotten_only_without_members,
            a_subscription_to_a_missing_topic_names_it,
        );
    };
}
pub(crate) use event_log_groups_suite;

pub type Consumer = Box<dyn GroupConsumer>;

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(200);

pub fn group() -> GroupName {
    GroupName::new("mfctl.test.stage").unwrap()
}

async fn join(log: &Arc<dyn EventLog>, instance: &str, session: Duration) -> Consumer {
    let subscription =
        Subscription { group: group(), topics: vec![topic("in")], instance: instance.into(), session_timeout: session };
    log.subscribe(subscription).await.unwrap()
}

pub async fn member(log: &Arc<dyn EventLog>, instance: &str) -> Consumer {
    join(log, instance, Duration::from_secs(10)).await
}

pub async fn fill(log: &Arc<dyn EventLog>, count: usize) {
    let batch = (0..count).map(|n| record("in", &format!("k{n}"), &n.to_string())).collect();
    log.publish(batch).await.unwrap();
}

/// What a member did while a test drove it.
#[derive(Default)]
pub struct Story {
    pub owned: BTreeSet<TopicPartition>,
    pub lost: BTreeSet<TopicPartition>,
    pub records: Vec<Record>,
    pub told: bool,
}

impl Story {
    /// One poll, with what a worker does about it: settle what came, release what is asked for.
    pub async fn step(&mut self, consumer: &mut Consumer) {
        match consumer.poll(WIDE, STEP).await.unwrap() {
            Poll::Records(records) => {
                let offsets = next_offsets(&records);
                assert!(offsets.keys().all(|at| self.owned.contains(at)), "records of a partition that is another's");
                consumer.commit(CommitRequest { offsets, ..CommitRequest::default() }).await.unwrap();
                self.records.extend(records);
            }
            Poll::Assigned(partitions) => {
                self.told = true;
                self.owned.extend(partitions);
            }
            Poll::Revoking(partitions) => {
                consumer.release(&partitions).await.unwrap();
                self.owned.retain(|at| !partitions.contains(at));
            }
            Poll::Lost(partitions) => {
                self.owned.retain(|at| !partitions.contains(at));
                self.lost.extend(partitions);
            }
            Poll::Idle => {}
        }
    }

    pub async fn until(&mut self, consumer: &mut Consumer, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}; owned {:?}", self.owned);
            self.step(consumer).await;
        }
    }

    fn values(&self) -> BTreeSet<String> {
        self.records.iter().map(text).collect()
    }
}

fn next_offsets(records: &[Record]) -> BTreeMap<TopicPartition, i64> {
    records.iter().map(|record| (record.topic_partition(), record.address.offset + 1)).collect()
}

async fn both(
    a: (&mut Story, &mut Consumer),
    b: (&mut Story, &mut Consumer),
    what: &str,
    done: fn(&Story, &Story) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    while !done(a.0, b.0) {
        assert!(Instant::now() < end, "{what}: {:?} and {:?}", a.0.owned, b.0.owned);
        a.0.step(a.1).await;
        b.0.step(b.1).await;
    }
}

pub async fn a_group_begins_at_the_beginning_and_goes_on_where_it_committed(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 3)]).await.unwrap();
    fill(&f.port, 30).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "all records", |s| s.records.len() == 30).await;
    assert_eq!(story.owned.len(), 3);
    consumer.leave().await.unwrap();

    fill(&f.port, 5).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "the new records", |s| s.records.len() >= 5).await;
    story.step(&mut consumer).await;
    assert_eq!(story.records.len(), 5);
}

pub async fn a_settlement_is_seen_whole_or_not_at_all(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1), spec("out", 1), spec("in.dlq", 1)]).await.unwrap();
    fill(&f.port, 3).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| !s.owned.is_empty()).await;
    let Poll::Records(records) = consumer.poll(WIDE, PATIENCE).await.unwrap() else { panic!("no records") };
    let offsets = next_offsets(&records);
    let outputs = vec![record("out", "k", "emitted"), record("out", "k", "emitted too")];

    let bad = CommitRequest {
        outputs: vec![outputs[0].clone(), record("gone", "k", "v")],
        dead_letters: vec![],
        offsets: offsets.clone(),
    };
    fails_as(consumer.commit(bad).await, ErrorKind::NotFound);
    let beyond = CommitRequest { outputs: outputs.clone(), offsets: [(at("in", 0), 999)].into(), ..Default::default() };
    assert!(consumer.commit(beyond).await.is_err());
    let not_its_own =
        CommitRequest { outputs: outputs.clone(), offsets: [(at("out", 0), 0)].into(), ..Default::default() };
    fails_as(consumer.commit(not_its_own).await, ErrorKind::Fenced);
    assert!(all(f.port.as_ref(), &at("out", 0)).await.is_empty());
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, None);

    let good = CommitRequest { outputs, dead_letters: vec![record("in.dlq", "k", "poison")], offsets };
    consumer.commit(good).await.unwrap();
    assert_eq!(soon(f.port.as_ref(), &at("out", 0), 2).await.len(), 2);
    assert_eq!(soon(f.port.as_ref(), &at("in.dlq", 0), 1).await.len(), 1);
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress[0].at_end && progress[0].committed.is_some());
}

/// What is polled and released while a commit is under way changes nothing of it.
pub async fn polling_goes_on_beside_a_settlement(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1), spec("out", 1)]).await.unwrap();
    fill(&f.port, 9).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| !s.owned.is_empty()).await;
    let few = FetchLimits { max_records: 3, ..WIDE };
    let Poll::Records(first) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    let batch = |records: &[Record], value: &str| {
        let outputs = vec![record("out", "k", value)];
        CommitRequest { outputs, offsets: next_offsets(records), ..CommitRequest::default() }
    };
    consumer.begin_commit(batch(&first, "first")).await.unwrap();
    let Poll::Records(second) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    consumer.finish_commit().await.unwrap();
    consumer.finish_commit().await.unwrap();
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, Some(3));

    // One that is begun behind another waits for it; a release does, too.
    consumer.begin_commit(batch(&second, "second")).await.unwrap();
    let Poll::Records(third) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    consumer.begin_commit(batch(&third, "third")).await.unwrap();
    consumer.release(&[at("in", 0)]).await.unwrap();
    consumer.finish_commit().await.unwrap();
    assert_eq!(f.port.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, Some(9));
    let out = soon(f.port.as_ref(), &at("out", 0), 3).await;
    assert_eq!(out.iter().map(text).collect::<Vec<_>>(), ["first", "second", "third"]);
}

pub async fn two_members_share_and_nothing_is_read_twice(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 6)]).await.unwrap();
    fill(&f.port, 600).await;
    let (mut a, mut b) = (member(&f.port, "a").await, member(&f.port, "b").await);
    let (mut one, mut two) = (Story::default(), Story::default());
    both((&mut one, &mut a), (&mut two, &mut b), "even shares", |one, two| {
        one.owned.len() == 3 && two.owned.len() == 3 && one.records.len() + two.records.len() >= 600
    })
    .await;
    fill(&f.port, 600).await;
    both((&mut one, &mut a), (&mut two, &mut b), "all records", |one, two| {
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
    assert_eq!(f.port.members(&GroupName::new("nobody").unwrap()).await.unwrap(), []);
}

pub async fn what_a_dead_member_had_goes_to_the_others(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 4)]).await.unwrap();
    let (mut a, mut b) = (member(&f.port, "a").await, member(&f.port, "b").await);
    let (mut one, mut two) = (Story::default(), Story::default());
    both((&mut one, &mut a), (&mut two, &mut b), "even shares", |one, two| {
        one.owned.len() == 2 && two.owned.len() == 2
    })
    .await;
    fill(&f.port, 100).await;
    // It has read, but not settled.
    while !matches!(a.poll(WIDE, STEP).await.unwrap(), Poll::Records(_)) {}
    drop(a);
    two.until(&mut b, "the dead member's records", |s| s.records.len() == 100).await;
    assert_eq!((two.owned.len(), two.values().len()), (4, 100));
    assert_eq!(f.port.groups().await.unwrap()[0].members.len(), 1);
}

pub async fn what_a_leaving_member_had_is_free_at_once(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut a = join(&f.port, "a", Duration::from_secs(3600)).await;
    let mut one = Story::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 2).await;
    a.leave().await.unwrap();
    let mut b = join(&f.port, "b", Duration::from_secs(3600)).await;
    let mut two = Story::default();
    two.until(&mut b, "the freed partitions", |s| s.owned.len() == 2).await;
}

pub async fn a_member_that_stops_polling_is_put_out_and_comes_back(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2), spec("out", 1)]).await.unwrap();
    fill(&f.port, 20).await;
    let session = Duration::from_millis(1500);
    let mut stopped = join(&f.port, "stopped", session).await;
    let mut one = Story::default();
    one.until(&mut stopped, "an assignment", |s| s.owned.len() == 2).await;
    let Poll::Records(unsettled) = stopped.poll(WIDE, PATIENCE).await.unwrap() else { panic!("no records") };

    let mut other = member(&f.port, "other").await;
    let mut two = Story::default();
    two.until(&mut other, "the silent member's partitions", |s| s.owned.len() == 2 && s.records.len() == 20).await;
    let settlement = CommitRequest {
        outputs: vec![record("out", "k", "zombie")],
        offsets: next_offsets(&unsettled),
        ..CommitRequest::default()
    };
    fails_as(stopped.commit(settlement).await, ErrorKind::Fenced);
    assert!(all(f.port.as_ref(), &at("out", 0)).await.is_empty());

    one.owned.clear();
    both((&mut one, &mut stopped), (&mut two, &mut other), "its return", |one, two| {
        one.lost.len() == 2 && one.owned.len() == 1 && two.owned.len() == 1
    })
    .await;
}

pub async fn a_partition_is_handed_over_only_when_it_is_released(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut a = member(&f.port, "a").await;
    let mut one = Story::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 2).await;
    fill(&f.port, 50).await;
    // Of both partitions: a poll may bring what is there of one.
    let mut unsettled = Vec::new();
    while next_offsets(&unsettled).len() < 2 {
        let Poll::Records(records) = a.poll(WIDE, PATIENCE).await.unwrap() else { panic!("no records") };
        unsettled.extend(records);
    }

    let mut b = member(&f.port, "b").await;
    let mut two = Story::default();
    let asked_for = loop {
        two.step(&mut b).await;
        match a.poll(WIDE, STEP).await.unwrap() {
            Poll::Revoking(partitions) => break partitions,
            Poll::Idle | Poll::Records(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked_for.len(), 1);
    fill(&f.port, 50).await;
    for _ in 0..5 {
        two.step(&mut b).await;
        if let Poll::Records(records) = a.poll(WIDE, STEP).await.unwrap() {
            assert!(records.iter().all(|r| !asked_for.contains(&r.topic_partition())), "no more of what is asked for");
        }
    }
    assert!(two.owned.is_empty(), "it has an owner until it is released");
    // What is in flight may still be settled, and is not read again.
    let offsets = next_offsets(&unsettled);
    a.commit(CommitRequest { offsets: offsets.clone(), ..CommitRequest::default() }).await.unwrap();
    a.release(&asked_for).await.unwrap();
    fails_as(a.commit(CommitRequest { offsets, ..CommitRequest::default() }).await, ErrorKind::Fenced);
    two.until(&mut b, "the released partition", |s| s.owned.iter().eq(&asked_for) && !s.records.is_empty()).await;
    let settled: BTreeSet<_> = unsettled.iter().map(|r| &r.address).collect();
    assert!(two.records.iter().all(|r| !settled.contains(&r.address)));
}

pub async fn a_member_without_partitions_is_told_so(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    let mut a = member(&f.port, "a").await;
    let mut one = Story::default();
    one.until(&mut a, "an assignment", |s| s.owned.len() == 1).await;
    let mut b = member(&f.port, "b").await;
    let mut two = Story::default();
    two.until(&mut b, "an empty assignment", |s| s.told).await;
    assert!(two.owned.is_empty());
    drop(a);
    two.until(&mut b, "the only partition", |s| s.owned.len() == 1).await;
}

pub async fn a_rewind_reads_again_from_the_commit(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    fill(&f.port, 10).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    let few = FetchLimits { max_records: 4, ..WIDE };
    let Poll::Records(first) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    consumer.commit(CommitRequest { offsets: next_offsets(&first[..2]), ..CommitRequest::default() }).await.unwrap();
    let Poll::Records(second) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    assert_eq!(second[0].address.offset, first[3].address.offset + 1);
    consumer.rewind().await.unwrap();
    let Poll::Records(again) = consumer.poll(few, PATIENCE).await.unwrap() else { panic!("no records") };
    assert_eq!(again[..2], first[2..]);
}

pub async fn a_paused_partition_brings_nothing_until_it_is_resumed(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| s.owned.len() == 2).await;
    consumer.pause(&[at("in", 0), at("elsewhere", 3)]);
    fill(&f.port, 40).await;
    let open = all(f.port.as_ref(), &at("in", 1)).await.len();
    story.until(&mut consumer, "the open partition", |s| s.records.len() == open).await;
    assert!(matches!(consumer.poll(WIDE, STEP).await.unwrap(), Poll::Idle));
    consumer.resume(&[at("in", 0), at("elsewhere", 3)]);
    story.until(&mut consumer, "the other one", |s| s.records.len() == 40).await;
}

pub async fn a_poll_keeps_its_limits_and_lets_no_partition_wait(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 4)]).await.unwrap();
    fill(&f.port, 4000).await;
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| s.owned.len() == 4).await;
    let limits = FetchLimits { max_records: 10, max_bytes: 1 << 20 };
    // Until there is something of every partition, however late each comes from where it is kept.
    let mut heard = BTreeSet::new();
    while heard.len() < 4 {
        let Poll::Records(records) = consumer.poll(limits, PATIENCE).await.unwrap() else { panic!("no records") };
        let partitions: BTreeSet<_> = records.iter().map(Record::topic_partition).collect();
        consumer.pause(&partitions.iter().cloned().collect::<Vec<_>>());
        heard.extend(partitions);
    }
    for _ in 0..5 {
        assert!(matches!(consumer.poll(WIDE, STEP).await.unwrap(), Poll::Idle));
    }
    consumer.resume(&heard.into_iter().collect::<Vec<_>>());
    let mut early = BTreeSet::new();
    for _ in 0..16 {
        let Poll::Records(records) = consumer.poll(limits, PATIENCE).await.unwrap() else { panic!("no records") };
        assert!(records.len() <= 10);
        early.extend(records.iter().map(Record::topic_partition));
    }
    assert_eq!(early.len(), 4, "160 of 4000 records, and not of every partition");
    let Poll::Records(one) = consumer.poll(FetchLimits { max_records: 50, max_bytes: 1 }, STEP).await.unwrap() else {
        panic!("no records")
    };
    assert_eq!(one.len(), 1);
}

pub async fn a_waiting_poll_wakes_when_a_record_comes(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "an assignment", |s| s.owned.len() == 1).await;
    assert!(matches!(consumer.poll(WIDE, Duration::ZERO).await.unwrap(), Poll::Idle));
    let log = Arc::clone(&f.port);
    let publishing = tokio::spawn(async move { fill(&log, 1).await });
    let started = Instant::now();
    let polled = consumer.poll(WIDE, PATIENCE).await.unwrap();
    assert!(matches!(polled, Poll::Records(_)), "{polled:?}");
    assert!(started.elapsed() < PATIENCE / 2, "it slept until its wait was over");
    publishing.await.unwrap();
}

pub async fn a_poll_that_is_cut_off_loses_nothing(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 3)]).await.unwrap();
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    fill(&f.port, 300).await;
    let end = Instant::now() + PATIENCE;
    let mut patience = Duration::from_micros(10);
    while story.records.len() < 300 {
        assert!(Instant::now() < end, "{} of 300 came", story.records.len());
        // Cut off at some await, as a worker's `select!` does.
        let limits = FetchLimits { max_records: 7, ..WIDE };
        let Ok(polled) = tokio::time::timeout(patience, consumer.poll(limits, STEP)).await else {
            patience = (patience * 2).min(Duration::from_millis(500));
            continue;
        };
        patience = Duration::from_micros(10);
        match polled.unwrap() {
            Poll::Records(records) => story.records.extend(records),
            Poll::Assigned(partitions) => story.owned.extend(partitions),
            Poll::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((story.values().len(), story.owned.len()), (300, 3));
}

pub async fn progress_tells_what_is_left(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress.iter().all(|p| p.at_end && p.committed.is_none()), "nothing there is nothing left");
    fill(&f.port, 40).await;
    let progress = f.port.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress.iter().all(|p| !p.at_end && p.span.high > 0));
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "all records", |s| s.records.len() == 40).await;
    // What was settled is seen a moment later in a cluster.
    let end = Instant::now() + PATIENCE;
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

pub async fn a_group_is_forgotten_only_without_members(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    fill(&f.port, 3).await;
    fails_as(f.port.delete_group(&group()).await, ErrorKind::NotFound);
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "all records", |s| s.records.len() == 3).await;
    fails_as(f.port.delete_group(&group()).await, ErrorKind::Conflict);
    consumer.leave().await.unwrap();
    f.port.delete_group(&group()).await.unwrap();
    assert!(f.port.groups().await.unwrap().is_empty());
    let mut consumer = member(&f.port, "a").await;
    let mut story = Story::default();
    story.until(&mut consumer, "all records again", |s| s.records.len() == 3).await;
    assert!(!f.port.progress(&group(), &[topic("in")]).await.unwrap().is_empty());
}

pub async fn a_subscription_to_a_missing_topic_names_it(f: Fixture<dyn EventLog>) {
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("nowhere")],
        instance: "a".into(),
        session_timeout: Duration::from_secs(10),
    };
    let Err(error) = f.port.subscribe(subscription).await else { panic!("it joined") };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.full().contains("nowhere"), "{}", error.full());
}
