//! The contract of what claims are fenced with: topic ids, a group's commits with their epochs, generations, confirmed
//! memberships.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::{ClaimEpoch, GroupName, TopicPartition};
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, GroupCommit, Poll};

use crate::contract::event_log::{WIDE, spec, topic, topic_partition};
use crate::contract::group_member::{
    MemberHistory, STEP, TIMEOUT, group, join, join_with_session, next_offsets, publish_numbers,
};
use crate::contract::harness::{Fixture, eventually, fails_as};

/// Every case of this suite, for a harness that returns an empty log.
macro_rules! event_log_fencing_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::event_log_fencing:
            topic_ids_are_stable_and_differ,
            committed_returns_the_last_commits_with_their_epochs,
            next_owner_of_a_partition_has_a_higher_generation,
            membership_is_confirmed_until_the_member_is_evicted,
        );
    };
}
pub(crate) use event_log_fencing_suite;

pub async fn topic_ids_are_stable_and_differ(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1), spec("out", 1)]).await.unwrap();
    let both = [topic("in"), topic("out")];
    let ids = f.port.topic_ids(&both).await.unwrap();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].is_none() || ids[0] != ids[1], "{ids:?}");
    f.port.create_topics(&[spec("in", 1), spec("third", 1)]).await.unwrap();
    assert_eq!(f.port.topic_ids(&both).await.unwrap(), ids);
    let reversed = [topic("out"), topic("in")];
    assert!(f.port.topic_ids(&reversed).await.unwrap().iter().eq(ids.iter().rev()));
    fails_as(f.port.topic_ids(&[topic("nowhere")]).await, ErrorKind::NotFound);
}

/// Waits until these are the group's commits: in a cluster a commit is visible a moment later.
async fn wait_for_commits(log: &Arc<dyn EventLog>, partitions: &[TopicPartition], expected: &[GroupCommit]) {
    let read = async || log.committed(&group(), partitions).await.unwrap();
    eventually(TIMEOUT, &format!("the commits are {expected:?}"), async || read().await == expected).await;
}

pub async fn committed_returns_the_last_commits_with_their_epochs(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 2)]).await.unwrap();
    publish_numbers(&f.port, 40).await;
    let partitions = [topic_partition("in", 0), topic_partition("in", 1)];
    assert_eq!(f.port.committed(&GroupName::new("other").unwrap(), &partitions).await.unwrap(), []);
    let mut consumer = join(&f.port, "a").await;
    let mut owned = 0;
    while owned < 2 {
        match consumer.poll(WIDE, STEP).await.unwrap() {
            Poll::Assigned(assigned) => owned += assigned.len(),
            Poll::Idle => {}
            other => panic!("{other:?} before the assignment"),
        }
        // Records of one partition alone are read and committed.
        consumer.pause(&partitions[1..]);
    }
    let mut read = 0;
    while read < 3 {
        if let Poll::Records(records) = consumer.poll(WIDE, STEP).await.unwrap() {
            read += records.len();
        }
    }
    let commit = |offset, epoch: Option<i64>| CommitRequest {
        offsets: [(partitions[0].clone(), offset)].into(),
        epochs: epoch.map(|epoch| (partitions[0].clone(), ClaimEpoch(epoch))).into_iter().collect(),
        ..CommitRequest::default()
    };
    let stored =
        |offset, epoch: Option<i64>| GroupCommit { at: partitions[0].clone(), offset, epoch: epoch.map(ClaimEpoch) };
    for (offset, epoch) in [(1, Some(7)), (2, None), (3, Some(i64::MAX))] {
        consumer.commit(commit(offset, epoch)).await.unwrap();
        wait_for_commits(&f.port, &partitions, &[stored(offset, epoch)]).await;
    }
    consumer.leave().await.unwrap();
    wait_for_commits(&f.port, &partitions, &[stored(3, Some(i64::MAX))]).await;
    wait_for_commits(&f.port, &partitions[1..], &[]).await;
}

pub async fn next_owner_of_a_partition_has_a_higher_generation(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    let mut last = None;
    for instance in ["a", "b", "c"] {
        let mut consumer = join(&f.port, instance).await;
        let mut history = MemberHistory::default();
        history.until(&mut consumer, "the only partition", |s| s.owned.len() == 1).await;
        let standing = consumer.generation().unwrap();
        let before = last.replace(standing.clone());
        assert!(
            before
                .is_none_or(|before| before.generation < standing.generation && before.member_id != standing.member_id)
        );
        consumer.leave().await.unwrap();
    }
}

pub async fn membership_is_confirmed_until_the_member_is_evicted(f: Fixture<dyn EventLog>) {
    f.port.create_topics(&[spec("in", 1)]).await.unwrap();
    publish_numbers(&f.port, 5).await;
    let session = Duration::from_millis(1500);
    let mut stopped = join_with_session(&f.port, "stopped", session).await;
    let mut one = MemberHistory::default();
    one.until(&mut stopped, "an assignment", |s| s.owned.len() == 1).await;
    stopped.confirm().await.unwrap();
    let evicted = stopped.generation().unwrap();

    let mut other = join(&f.port, "other").await;
    let mut two = MemberHistory::default();
    two.until(&mut other, "the stopped member's partition", |s| s.owned.len() == 1 && s.records.len() == 5).await;
    fails_as(stopped.confirm().await, ErrorKind::Fenced);
    other.confirm().await.unwrap();
    assert!(other.generation().unwrap().generation > evicted.generation);
    let at = topic_partition("in", 0);
    let offset = next_offsets(&two.records)[&at];
    let unchanged = GroupCommit { at: at.clone(), offset, epoch: None };
    wait_for_commits(&f.port, &[at], &[unchanged]).await;

    // It joins again under another id.
    let end = Instant::now() + TIMEOUT;
    while stopped.generation().is_none_or(|standing| standing.member_id == evicted.member_id) {
        assert!(Instant::now() < end, "it never joined again");
        let _ = stopped.poll(WIDE, STEP).await.unwrap();
        two.step(&mut other).await;
    }
    stopped.confirm().await.unwrap();
}
