//! The rows of a consumer group: members, assignments, owners, commits. Every function here is one step of a
//! transaction.
//!
//! A rebalance gives each partition a *target*, the member it is assigned to. Its *owner* stays until it releases the
//! partition or is evicted; then the target may claim it. So a partition never has two owners, and a settlement is
//! checked against the owner's epoch in its own transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::assign::{self, AssignablePartition, MemberTopics};
use super::liveness::MemberHeartbeat;
use super::topics;
use crate::db::SqlContext;
use mfctl_core::domain::ClaimEpoch;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// What a member joins a group with.
#[derive(Debug, Clone)]
pub(super) struct JoinRequest {
    pub(super) group: String,
    pub(super) member_id: String,
    pub(super) instance: String,
    pub(super) client: String,
    pub(super) topic_ids: Vec<i64>,
    pub(super) session_ms: i64,
}

/// A partition that one member owns or is assigned.
#[derive(Debug, Clone, Copy)]
pub(super) struct AssignmentRow {
    pub(super) part_id: i64,
    pub(super) state: AssignmentState,
    /// Counts the changes of owner; a settlement of an earlier epoch is fenced.
    pub(super) epoch: i64,
    /// Where its owner starts.
    pub(super) base: CommitBase,
}

/// What the owner's next commit in a partition starts from: the group's commit when it was last known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitBase {
    /// The stored commit; `None` if there is none.
    pub(super) stored: Option<i64>,
    /// The first offset to read: the stored commit, or the first record's where that is absent or out of range.
    pub(super) start_offset: i64,
}

impl CommitBase {
    /// After a commit of this offset.
    pub(super) fn committed(offset: i64) -> Self {
        Self { stored: Some(offset), start_offset: offset }
    }
}

/// The relation of a partition to one member, from its `owner` and `target`.
///
/// A rebalance makes `Claimable` and `Pending` rows appear and vanish, and moves rows between `Owned` and `Revoked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssignmentState {
    /// The member owns it and is assigned it. Exit: `Revoked`, by a rebalance.
    Owned,
    /// The member owns it, but it is assigned to another or to none. Left when the member releases it.
    Revoked,
    /// The member is assigned it, and none owns it. Exit: `Owned`, by [`claim_partitions`].
    Claimable,
    /// The member is assigned it, and another owns it. Exit: `Claimable`, when the owner releases it or is evicted.
    Pending,
}

impl AssignmentState {
    /// From the comparisons of a row: the owner is the member, there is no owner, the target is the member.
    fn from_row(is_owner: bool, has_no_owner: bool, is_target: bool) -> Self {
        debug_assert!(is_owner || is_target, "rows of other members are not read");
        match (is_owner, is_target) {
            (true, true) => Self::Owned,
            (true, false) => Self::Revoked,
            (false, _) if has_no_owner => Self::Claimable,
            (false, _) => Self::Pending,
        }
    }

    /// Whether the member owns the partition.
    pub(super) fn is_owned(self) -> bool {
        matches!(self, Self::Owned | Self::Revoked)
    }

    /// Whether the partition is assigned to the member.
    pub(super) fn is_assigned(self) -> bool {
        !matches!(self, Self::Revoked)
    }
}

/// A partition in the epoch in which a member owns it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnedEpoch {
    pub(super) part_id: i64,
    pub(super) epoch: i64,
}

/// The commit of one owned partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionCommit {
    pub(super) owned: OwnedEpoch,
    /// The commit that it replaces.
    pub(super) base: CommitBase,
    /// The next offset to read.
    pub(super) offset: i64,
    /// The claim epoch to keep with the commit.
    pub(super) claim_epoch: Option<ClaimEpoch>,
}

/// Adds a member with a heartbeat at `now_ms` and rebalances the group. Returns the group's row. Idempotent.
pub(super) fn join(tx: &Connection, member: &JoinRequest, now_ms: i64) -> Result<i64> {
    let what = "join a group";
    tx.execute("INSERT INTO groups (name) VALUES (?1) ON CONFLICT (name) DO NOTHING", [&member.group]).during(what)?;
    let group_id: i64 =
        tx.query_row("SELECT group_id FROM groups WHERE name = ?1", [&member.group], |row| row.get(0)).during(what)?;
    let sql = "INSERT INTO members (member_id, group_id, instance, client, heartbeat_ms, session_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (member_id) DO NOTHING";
    let values = (&member.member_id, group_id, &member.instance, &member.client, now_ms, member.session_ms);
    if tx.execute(sql, values).during(what)? == 0 {
        return Ok(group_id);
    }
    for topic_id in &member.topic_ids {
        let sql = "INSERT INTO member_topics (member_id, topic_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        tx.execute(sql, (&member.member_id, topic_id)).during(what)?;
    }
    rebalance(tx, group_id)?;
    Ok(group_id)
}

/// Evicts members, except those that sent a heartbeat since they were read. Returns how many were evicted.
pub(super) fn evict(tx: &Connection, group_id: i64, dead: &[MemberHeartbeat]) -> Result<usize> {
    let what = "evict members";
    let mut count = 0;
    for member in dead {
        let sql = "DELETE FROM members WHERE member_id = ?1 AND group_id = ?2 AND heartbeat_ms = ?3";
        let removed = tx.execute(sql, (&member.member_id, group_id, member.heartbeat_ms)).during(what)?;
        if removed == 1 {
            release_all(tx, group_id, &member.member_id)?;
            count += 1;
        }
    }
    if count > 0 {
        rebalance(tx, group_id)?;
    }
    Ok(count)
}

/// Removes a member that leaves.
pub(super) fn leave(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "DELETE FROM members WHERE member_id = ?1 AND group_id = ?2";
    if tx.execute(sql, (member_id, group_id)).during("leave a group")? == 1 {
        release_all(tx, group_id, member_id)?;
        rebalance(tx, group_id)?;
    }
    Ok(())
}

fn release_all(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "UPDATE ownership SET owner = NULL, epoch = epoch + 1 WHERE group_id = ?1 AND owner = ?2";
    tx.execute(sql, (group_id, member_id)).during("release a member's partitions").map(drop)
}

/// Assigns each partition of the group's topics to a member: its target.
fn rebalance(tx: &Connection, group_id: i64) -> Result<()> {
    let what = "rebalance a group";
    let members = member_topics(tx, group_id)?;
    let mut statement = tx
        .prepare_cached(
            "SELECT DISTINCT p.part_id, p.topic_id FROM members m
             JOIN member_topics t ON t.member_id = m.member_id JOIN partitions p ON p.topic_id = t.topic_id
             WHERE m.group_id = ?1 ORDER BY p.topic_id, p.partition",
        )
        .during(what)?;
    let partition = |row: &rusqlite::Row<'_>| Ok(AssignablePartition { part_id: row.get(0)?, topic_id: row.get(1)? });
    let partitions: Vec<AssignablePartition> =
        statement.query_map([group_id], partition).during(what)?.collect::<Result<_, _>>().during(what)?;

    let previous = previous_assignment(tx, group_id, &members)?;
    let assignment = assign::assign(&members, &partitions, &previous);
    tx.execute("UPDATE ownership SET target = NULL WHERE group_id = ?1", [group_id]).during(what)?;
    for (part_id, member) in assignment {
        let sql = "INSERT INTO ownership (group_id, part_id, target) VALUES (?1, ?2, ?3)
                   ON CONFLICT (group_id, part_id) DO UPDATE SET target = excluded.target";
        tx.execute(sql, (group_id, part_id, member)).during(what)?;
    }
    bump_generation(tx, group_id)
}

fn member_topics(tx: &Connection, group_id: i64) -> Result<MemberTopics> {
    let what = "read a group's members";
    let sql = "SELECT m.member_id, t.topic_id FROM members m JOIN member_topics t ON t.member_id = m.member_id
               WHERE m.group_id = ?1";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut rows = statement.query([group_id]).during(what)?;
    let mut members = MemberTopics::new();
    while let Some(row) = rows.next().during(what)? {
        members.entry(row.get(0).during(what)?).or_default().insert(row.get(1).during(what)?);
    }
    Ok(members)
}

/// The target of each partition, if that member is still in the group; else its owner.
fn previous_assignment(tx: &Connection, group_id: i64, members: &MemberTopics) -> Result<BTreeMap<i64, String>> {
    let what = "read a group's partitions";
    let sql = "SELECT part_id, target, owner FROM ownership WHERE group_id = ?1";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut rows = statement.query([group_id]).during(what)?;
    let mut assignment = BTreeMap::new();
    while let Some(row) = rows.next().during(what)? {
        let candidates: [Option<String>; 2] = [row.get(1).during(what)?, row.get(2).during(what)?];
        if let Some(member) = candidates.into_iter().flatten().find(|member| members.contains_key(member)) {
            assignment.insert(row.get(0).during(what)?, member);
        }
    }
    Ok(assignment)
}

fn bump_generation(tx: &Connection, group_id: i64) -> Result<()> {
    tx.prepare_cached("UPDATE groups SET generation = generation + 1 WHERE group_id = ?1")
        .and_then(|mut statement| statement.execute([group_id]))
        .during("raise a group's generation")
        .map(drop)
}

/// Makes the member the owner of every partition that it is assigned and none owns.
pub(super) fn claim_partitions(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "UPDATE ownership SET owner = ?2, epoch = epoch + 1
               WHERE group_id = ?1 AND target = ?2 AND owner IS NULL";
    if tx.execute(sql, (group_id, member_id)).during("claim partitions")? > 0 {
        bump_generation(tx, group_id)?;
    }
    Ok(())
}

/// Releases partitions. Those that the member no longer owns in that epoch are skipped. Idempotent.
pub(super) fn release(tx: &Connection, group_id: i64, member_id: &str, partitions: &[OwnedEpoch]) -> Result<()> {
    for owned in partitions {
        let sql = "UPDATE ownership SET owner = NULL, epoch = epoch + 1
                   WHERE group_id = ?1 AND part_id = ?2 AND owner = ?3 AND epoch = ?4";
        tx.execute(sql, (group_id, owned.part_id, member_id, owned.epoch)).during("release partitions")?;
    }
    bump_generation(tx, group_id)
}

/// The group's generation, if the member is in it.
pub(super) fn generation(c: &Connection, member_id: &str) -> Result<Option<i64>> {
    c.prepare_cached("SELECT g.generation FROM members m JOIN groups g USING (group_id) WHERE m.member_id = ?1")
        .and_then(|mut statement| statement.query_row([member_id], |row| row.get(0)).optional())
        .during("read a group's generation")
}

/// `Fenced` unless the member is in its group and the group has this generation. Counts as a heartbeat.
pub(super) fn confirm(tx: &Connection, member_id: &str, seen: Option<i64>, now_ms: i64) -> Result<()> {
    match generation(tx, member_id)? {
        None => Err(fenced("this member was evicted from its group")),
        current if current != seen => Err(fenced("the group has a generation that this member has not seen")),
        Some(_) => heartbeat(tx, member_id, now_ms).map(drop),
    }
}

/// Every partition that the member owns or is assigned.
pub(super) fn assignment(c: &Connection, group_id: i64, member_id: &str) -> Result<Vec<AssignmentRow>> {
    let what = "read a member's partitions";
    let sql = "SELECT o.part_id, o.owner IS ?2, o.owner IS NULL, o.target IS ?2, o.epoch, c.\"offset\",
                      CASE WHEN c.\"offset\" BETWEEN p.low AND p.next_offset THEN c.\"offset\" ELSE p.low END
               FROM ownership o JOIN partitions p USING (part_id)
               LEFT JOIN commits c ON c.group_id = o.group_id AND c.part_id = o.part_id
               WHERE o.group_id = ?1 AND (o.owner IS ?2 OR o.target IS ?2) ORDER BY o.part_id";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let assignment = |row: &rusqlite::Row<'_>| {
        Ok(AssignmentRow {
            part_id: row.get(0)?,
            state: AssignmentState::from_row(row.get(1)?, row.get(2)?, row.get(3)?),
            epoch: row.get(4)?,
            base: CommitBase { stored: row.get(5)?, start_offset: row.get(6)? },
        })
    };
    statement.query_map((group_id, member_id), assignment).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// Records a heartbeat. Returns whether the member is still in the group.
pub(super) fn heartbeat(tx: &Connection, member_id: &str, now_ms: i64) -> Result<bool> {
    tx.prepare_cached("UPDATE members SET heartbeat_ms = ?2 WHERE member_id = ?1")
        .and_then(|mut statement| statement.execute((member_id, now_ms)))
        .during("send a heartbeat")
        .map(|rows| rows == 1)
}

/// `Fenced` unless the member owns the partition in this epoch.
pub(super) fn check_owner(tx: &Connection, group_id: i64, member_id: &str, owned: OwnedEpoch) -> Result<()> {
    let sql = "SELECT 1 FROM ownership WHERE group_id = ?1 AND part_id = ?2 AND owner = ?3 AND epoch = ?4";
    let is_owner = tx
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists((group_id, owned.part_id, member_id, owned.epoch)))
        .during("check a partition's owner")?;
    if is_owner { Ok(()) } else { Err(fenced("another member owns a partition of this settlement")) }
}

/// Replaces the group's commit of a partition: compare-and-set. `Fenced` if it is not the one that the commit starts
/// from, as when an earlier try was applied after all; `Invalid` beyond the partition's end.
pub(super) fn commit(tx: &Connection, group_id: i64, commit: PartitionCommit, now_ms: i64) -> Result<()> {
    let what = "commit an offset";
    let PartitionCommit { owned: OwnedEpoch { part_id, .. }, base, offset, claim_epoch } = commit;
    let stored: Option<i64> = tx
        .prepare_cached("SELECT \"offset\" FROM commits WHERE group_id = ?1 AND part_id = ?2")
        .and_then(|mut statement| statement.query_row((group_id, part_id), |row| row.get(0)).optional())
        .during(what)?;
    if stored != base.stored {
        return Err(fenced("the group's commit has changed since the records of this settlement were read"));
    }
    let high = topics::span(tx, part_id)?.high;
    if !(0..=high).contains(&offset) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("commit offset {offset} of a partition that ends at {high}"),
        ));
    }
    tx.prepare_cached(
        "INSERT INTO commits (group_id, part_id, \"offset\", committed_ms, claim_epoch, claim_epoch_offset)
         VALUES (?1, ?2, ?3, ?4, ?5, ?3)
         ON CONFLICT (group_id, part_id) DO UPDATE SET \"offset\" = excluded.\"offset\",
            committed_ms = excluded.committed_ms, claim_epoch = excluded.claim_epoch,
            claim_epoch_offset = excluded.claim_epoch_offset",
    )
    .and_then(|mut statement| statement.execute((group_id, part_id, offset, now_ms, claim_epoch.map(|epoch| epoch.0))))
    .during(what)
    .map(drop)
}

/// The error of a member that was evicted or does not own what it settles.
pub(super) fn fenced(why: &str) -> Error {
    Error::new(ErrorKind::Fenced, why)
}
