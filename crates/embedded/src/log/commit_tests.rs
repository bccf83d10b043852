//! Commits whose outcome is late or unknown: no record is committed twice.

use std::time::Duration;

use super::test_log::{POLL_WAIT, TestLog, TestProcess, copies, group, next_records, partition};
use crate::db::SqlContext as _;
use mfctl_core::domain::ClaimEpoch;
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog as _, FetchLimits, GroupCommit, GroupConsumer, Poll};
use mfctl_core::wait;

/// Until a write that cannot proceed has timed out.
const SHORT: Duration = Duration::from_millis(50);
/// Until a write has begun, which cannot end, and has timed out.
const BEGUN: Duration = Duration::from_secs(1);
/// Until a write that can proceed would have failed.
const LONG: Duration = Duration::from_secs(60);

async fn poll_until_revoked(member: &mut Box<dyn GroupConsumer>) {
    while !matches!(member.poll(FetchLimits::default(), POLL_WAIT).await.unwrap(), Poll::Revoking(_)) {}
}

/// Another process holds the writer's lock, and the commit times out before it has begun.
#[tokio::test]
async fn commit_that_timed_out_before_it_began_is_not_applied_later() {
    let site = TestLog::with_records(3).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 3).await.unwrap();
    let lock = site.hold_writer_lock();
    site.process.db.set_reply_timeout(SHORT);
    assert_eq!(member.commit(copies(&records)).await.unwrap_err().kind(), ErrorKind::Timeout);

    site.process.db.set_reply_timeout(LONG);
    member.rewind().await.unwrap();
    let again = next_records(&mut member, 3).await.unwrap();
    assert_eq!(again, records);
    member.begin_commit(copies(&again)).await.unwrap();
    drop(lock);
    member.finish_commit().await.unwrap();
    assert_eq!(site.outputs().await, ["0", "1", "2"]);
}

/// The commit times out when its transaction has begun; it is applied after the rewind.
#[tokio::test]
async fn commit_that_is_applied_after_the_rewind_fences_the_next_commit_of_the_same_records() {
    let site = TestLog::with_records(5).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 3).await.unwrap();
    let gate = site.process.db.commit_gate().close();
    site.process.db.set_reply_timeout(BEGUN);
    assert_eq!(member.commit(copies(&records)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(gate.is_waiting());

    site.process.db.set_reply_timeout(LONG);
    member.rewind().await.unwrap();
    let again = next_records(&mut member, 3).await.unwrap();
    assert_eq!(again, records);
    member.begin_commit(copies(&again)).await.unwrap();
    drop(gate);
    assert_eq!(member.finish_commit().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(site.outputs().await, ["0", "1", "2"]);

    member.rewind().await.unwrap();
    let rest = next_records(&mut member, 5).await.unwrap();
    member.commit(copies(&rest)).await.unwrap();
    assert_eq!(site.outputs().await, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn commits_in_a_row_each_start_from_the_one_before() {
    let site = TestLog::with_records(6).await;
    let mut member = site.process.join("a").await;
    for _ in 0..2 {
        let records = next_records(&mut member, 2).await.unwrap();
        member.commit(copies(&records)).await.unwrap();
    }
    // The second is begun before the caller has asked for the outcome of the first.
    let first = next_records(&mut member, 1).await.unwrap();
    member.begin_commit(copies(&first)).await.unwrap();
    let second = next_records(&mut member, 1).await.unwrap();
    member.begin_commit(copies(&second)).await.unwrap();
    member.finish_commit().await.unwrap();
    assert_eq!(site.outputs().await, ["0", "1", "2", "3", "4", "5"]);
}

/// The group's commit is out of range, as after a restored backup: the member starts at the first record.
#[tokio::test]
async fn commit_replaces_one_that_is_out_of_range() {
    let site = TestLog::with_records(3).await;
    let member = site.process.join("a").await;
    let commit = |tx: &rusqlite::Connection| {
        let sql = "INSERT INTO commits (group_id, part_id, \"offset\", committed_ms)
                   SELECT group_id, part_id, 5000, 0 FROM groups, partitions";
        tx.execute(sql, []).map(drop).during("commit")
    };
    site.process.db.write("commit", commit).await.unwrap();
    member.leave().await.unwrap();
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 2).await.unwrap();
    member.commit(copies(&records)).await.unwrap();
    let rest = next_records(&mut member, 2).await.unwrap();
    member.commit(copies(&rest)).await.unwrap();
    assert_eq!((site.committed().await, site.outputs().await.len()), (Some(3), 3));
}

#[tokio::test]
async fn records_before_the_commit_that_a_member_started_from_cannot_be_committed_again() {
    let site = TestLog::with_records(4).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 4).await.unwrap();
    member.commit(copies(&records)).await.unwrap();
    member.rewind().await.unwrap();
    let error = member.commit(copies(&records[..2])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.full());
    assert_eq!((site.committed().await, site.outputs().await.len()), (Some(4), 4));
}

/// Its partition was given to another member, which has committed nothing yet: the group's commit is the one that it
/// started from.
#[tokio::test]
async fn member_cannot_commit_records_of_a_partition_that_another_member_owns() {
    let site = TestLog::with_records(2).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 2).await.unwrap();
    let other_process = TestProcess::open(site.data.path());
    let _other = other_process.join("b").await;
    let give = |tx: &rusqlite::Connection| {
        let other = "SELECT member_id FROM members WHERE instance = 'b'";
        let sql = format!("UPDATE ownership SET owner = ({other}), target = ({other}), epoch = epoch + 1");
        tx.execute(&sql, []).map(drop).during("assign")
    };
    site.process.db.write("assign", give).await.unwrap();
    let error = member.commit(copies(&records)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.full());
    assert_eq!((site.committed().await, site.outputs().await.len()), (None, 0));
}

/// A member that keeps a partition which it was asked to release blocks it for as long as it lives.
#[tokio::test]
async fn release_that_timed_out_is_tried_again_by_the_next_poll() {
    let site = TestLog::with_records(1).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 1).await.unwrap();
    member.commit(copies(&records)).await.unwrap();
    // The member that joined first keeps an only partition; it is taken from it as from one that has more than its
    // share.
    let other_process = TestProcess::open(site.data.path());
    let mut other = other_process.join("b").await;
    let give = |tx: &rusqlite::Connection| {
        let other = "SELECT member_id FROM members WHERE instance = 'b'";
        tx.execute(&format!("UPDATE ownership SET target = ({other})"), []).during("assign")?;
        tx.execute("UPDATE groups SET generation = generation + 1", []).map(drop).during("assign")
    };
    site.process.db.write("assign", give).await.unwrap();
    poll_until_revoked(&mut member).await;
    let lock = site.hold_writer_lock();
    site.process.db.set_reply_timeout(SHORT);
    assert_eq!(member.release(&[partition("in")]).await.unwrap_err().kind(), ErrorKind::Timeout);
    site.process.db.set_reply_timeout(LONG);
    drop(lock);

    member.poll(FetchLimits::default(), Duration::ZERO).await.unwrap();
    let assigned = async {
        while !matches!(other.poll(FetchLimits::default(), POLL_WAIT).await.unwrap(), Poll::Assigned(partitions)
            if !partitions.is_empty())
        {}
    };
    tokio::time::timeout(LONG, assigned).await.unwrap();
}

/// Its reply is lost: the partition may be another member's by the time of the second try.
#[tokio::test]
async fn release_that_was_applied_is_not_applied_to_the_next_ownership() {
    let site = TestLog::with_records(2).await;
    let mut member = site.process.join("a").await;
    next_records(&mut member, 1).await.unwrap();
    let gate = site.process.db.commit_gate().close();
    site.process.db.set_reply_timeout(BEGUN);
    assert_eq!(member.release(&[partition("in")]).await.unwrap_err().kind(), ErrorKind::Timeout);
    site.process.db.set_reply_timeout(LONG);
    drop(gate);
    // The partition is still assigned to the only member, which claims it again.
    let records = next_records(&mut member, 2).await.unwrap();
    member.commit(copies(&records)).await.unwrap();
    assert_eq!(site.outputs().await, ["0", "1"]);
}

/// As when the worker's loop gives up a call at the end of its drain.
#[tokio::test]
async fn commit_that_is_in_flight_when_its_member_leaves_is_applied_or_fenced() {
    let site = TestLog::with_records(2).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 2).await.unwrap();
    let gate = site.process.db.commit_gate().close();
    member.begin_commit(copies(&records)).await.unwrap();
    while !gate.is_waiting() {
        wait::pause(Duration::from_millis(1)).await;
    }
    assert!(tokio::time::timeout(SHORT, member.leave()).await.is_err(), "it waits for the commit");
    drop(gate);
    // Whatever was not committed is read by the next member.
    let mut next = TestProcess::open(site.data.path()).join("b").await;
    loop {
        match next.poll(FetchLimits::default(), POLL_WAIT).await.unwrap() {
            Poll::Records(records) => next.commit(copies(&records)).await.unwrap(),
            Poll::Idle => break,
            _ => {}
        }
    }
    assert_eq!(site.outputs().await, ["0", "1"]);
}

/// A process of an earlier format does not know the columns of the epoch, and leaves them as they are.
#[tokio::test]
async fn commit_of_an_earlier_format_has_no_epoch() {
    let site = TestLog::with_records(3).await;
    let mut member = site.process.join("a").await;
    let records = next_records(&mut member, 1).await.unwrap();
    let epochs = [(partition("in"), ClaimEpoch(4))].into();
    member.commit(CommitRequest { epochs, ..copies(&records) }).await.unwrap();
    let committed = async || site.process.log.committed(&group(), &[partition("in")]).await.unwrap().pop();
    let commit = |offset, epoch| Some(GroupCommit { at: partition("in"), offset, epoch });
    assert_eq!(committed().await, commit(1, Some(ClaimEpoch(4))));
    let earlier = |tx: &rusqlite::Connection| {
        tx.execute("UPDATE commits SET \"offset\" = 2, committed_ms = 0", []).map(drop).during("commit")
    };
    site.process.db.write("commit", earlier).await.unwrap();
    assert_eq!(committed().await, commit(2, None));
}

#[tokio::test]
async fn membership_is_not_confirmed_in_a_generation_that_the_member_has_not_seen() {
    let site = TestLog::with_records(1).await;
    let mut member = site.process.join("a").await;
    assert_eq!(member.confirm().await.unwrap_err().kind(), ErrorKind::Fenced, "it has not polled");
    next_records(&mut member, 1).await.unwrap();
    member.confirm().await.unwrap();
    let _other = TestProcess::open(site.data.path()).join("b").await;
    assert_eq!(member.confirm().await.unwrap_err().kind(), ErrorKind::Fenced);
    member.poll(FetchLimits::default(), Duration::ZERO).await.unwrap();
    member.confirm().await.unwrap();
}
