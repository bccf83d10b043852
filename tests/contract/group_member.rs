//! Members of a consumer group, driven by tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::{GroupName, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, EventLog, GroupConsumer, Poll, Subscription};

use crate::contract::event_log::{WIDE, record, text, topic};

pub type Consumer = Box<dyn GroupConsumer>;

/// How long a member may take for anything.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long one poll waits for records.
pub const STEP: Duration = Duration::from_millis(200);

/// The group of all members.
pub fn group() -> GroupName {
    GroupName::new("mfctl.test.stage").unwrap()
}

pub async fn join_with_session(log: &Arc<dyn EventLog>, instance: &str, session: Duration) -> Consumer {
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: instance.into(),
        session_timeout: session,
        prefetch_bytes: 24 << 20,
    };
    log.subscribe(subscription).await.unwrap()
}

/// Joins the group with a session timeout of 10 s; subscribes to the topic `in`.
pub async fn join(log: &Arc<dyn EventLog>, instance: &str) -> Consumer {
    join_with_session(log, instance, Duration::from_secs(10)).await
}

/// Publishes the numbers from 0 to `count` to the topic `in`, each with its own key.
pub async fn publish_numbers(log: &Arc<dyn EventLog>, count: usize) {
    let batch = (0..count).map(|n| record("in", &format!("k{n}"), &n.to_string())).collect();
    log.publish(batch).await.unwrap();
}

/// What a member received while a test drove it.
#[derive(Default)]
pub struct MemberHistory {
    pub owned: BTreeSet<TopicPartition>,
    pub lost: BTreeSet<TopicPartition>,
    pub records: Vec<Record>,
    /// Whether it received an assignment, even an empty one.
    pub was_assigned: bool,
}

impl MemberHistory {
    /// Polls once and reacts as a worker does: commits records, releases revoked partitions.
    pub async fn step(&mut self, consumer: &mut Consumer) {
        match consumer.poll(WIDE, STEP).await.unwrap() {
            Poll::Records(records) => {
                let offsets = next_offsets(&records);
                assert!(
                    offsets.keys().all(|at| self.owned.contains(at)),
                    "records of a partition that another member owns"
                );
                consumer.commit(CommitRequest { offsets, ..CommitRequest::default() }).await.unwrap();
                self.records.extend(records);
            }
            Poll::Assigned(partitions) => {
                self.was_assigned = true;
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

    /// Polls until a condition holds; fails after [`TIMEOUT`].
    pub async fn until(&mut self, consumer: &mut Consumer, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + TIMEOUT;
        while !done(self) {
            assert!(Instant::now() < end, "{what}: not within {TIMEOUT:?}; owned {:?}", self.owned);
            self.step(consumer).await;
        }
    }

    pub fn values(&self) -> BTreeSet<String> {
        self.records.iter().map(text).collect()
    }
}

/// The offsets that commit these records.
pub fn next_offsets(records: &[Record]) -> BTreeMap<TopicPartition, i64> {
    records.iter().map(|record| (record.topic_partition(), record.address.offset + 1)).collect()
}

/// Polls two members in turn until a condition holds; fails after [`TIMEOUT`].
pub async fn drive_both(
    a: (&mut MemberHistory, &mut Consumer),
    b: (&mut MemberHistory, &mut Consumer),
    what: &str,
    done: fn(&MemberHistory, &MemberHistory) -> bool,
) {
    let end = Instant::now() + TIMEOUT;
    while !done(a.0, b.0) {
        assert!(Instant::now() < end, "{what}: {:?} and {:?}", a.0.owned, b.0.owned);
        a.0.step(a.1).await;
        b.0.step(b.1).await;
    }
}
