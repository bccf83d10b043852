//! The rows of a consumer group: members, targets, owners, commits. Every function here is one step of a transaction.
//!
//! A change of members gives each partition a *target*. Its *owner* stays until it releases the partition or is put
//! out; then the target may claim it. So a partition never has two owners, and what a member settles is checked against
//! the owner's epoch in the same transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::assign::{self, Part, Wishes};
use super::liveness::Seen;
use crate::db::SqlContext;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// A member that wants to join.
#[derive(Debug, Clone)]
pub(super) struct Joining {
    pub(super) group: String,
    pub(super) member_id: String,
    pub(super) instance: String,
    pub(super) client: String,
    pub(super) topic_ids: Vec<i64>,
    pub(super) session_ms: i64,
}

/// A partition as one member sees it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) part_id: i64,
    pub(super) mine: bool,
    pub(super) free: bool,
    pub(super) meant_for_me: bool,
    pub(super) epoch: i64,
    /// Where its owner begins: at the commit, else at the first record.
    pub(super) begin: i64,
}

/// Adds a member (again, if it is there), heard of at `now_ms`, and shares the partitions out anew. Returns the group's
/// row.
pub(super) fn join(tx: &Connection, member: &Joining, now_ms: i64) -> Result<i64> {
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
    share_out(tx, group_id)?;
    Ok(group_id)
}

/// Puts members out, unless they were heard of since they were seen. Returns how many went.
pub(super) fn evict(tx: &Connection, group_id: i64, gone: &[Seen]) -> Result<usize> {
    let what = "put members out of a group";
    let mut count = 0;
    for member in gone {
        let sql = "DELETE FROM members WHERE member_id = ?1 AND group_id = ?2 AND heartbeat_ms = ?3";
        let removed = tx.execute(sql, (&member.member_id, group_id, member.heartbeat_ms)).during(what)?;
        if removed == 1 {
            free_all(tx, group_id, &member.member_id)?;
            count += 1;
        }
    }
    if count > 0 {
        share_out(tx, group_id)?;
    }
    Ok(count)
}

/// Removes a member that leaves.
pub(super) fn leave(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "DELETE FROM members WHERE member_id = ?1 AND group_id = ?2";
    if tx.execute(sql, (member_id, group_id)).during("leave a group")? == 1 {
        free_all(tx, group_id, member_id)?;
        share_out(tx, group_id)?;
    }
    Ok(())
}

fn free_all(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "UPDATE ownership SET owner = NULL, epoch = epoch + 1 WHERE group_id = ?1 AND owner = ?2";
    tx.execute(sql, (group_id, member_id)).during("free a member's partitions").map(drop)
}

/// Gives each partition of the group's topics its target.
fn share_out(tx: &Connection, group_id: i64) -> Result<()> {
    let what = "share out a group's partitions";
    let wishes = wishes(tx, group_id)?;
    let mut statement = tx
        .prepare_cached(
            "SELECT DISTINCT p.part_id, p.topic_id FROM members m
             JOIN member_topics t ON t.member_id = m.member_id JOIN partitions p ON p.topic_id = t.topic_id
             WHERE m.group_id = ?1 ORDER BY p.topic_id, p.partition",
        )
        .during(what)?;
    let part = |row: &rusqlite::Row<'_>| Ok(Part { part_id: row.get(0)?, topic_id: row.get(1)? });
    let parts: Vec<Part> =
        statement.query_map([group_id], part).during(what)?.collect::<Result<_, _>>().during(what)?;

    let before = targets(tx, group_id, &wishes)?;
    let after = assign::share(&wishes, &parts, &before);
    tx.execute("UPDATE ownership SET target = NULL WHERE group_id = ?1", [group_id]).during(what)?;
    for (part_id, member) in after {
        let sql = "INSERT INTO ownership (group_id, part_id, target) VALUES (?1, ?2, ?3)
                   ON CONFLICT (group_id, part_id) DO UPDATE SET target = excluded.target";
        tx.execute(sql, (group_id, part_id, member)).during(what)?;
    }
    changed(tx, group_id)
}

fn wishes(tx: &Connection, group_id: i64) -> Result<Wishes> {
    let what = "read a group's members";
    let sql = "SELECT m.member_id, t.topic_id FROM members m JOIN member_topics t ON t.member_id = m.member_id
               WHERE m.group_id = ?1";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut rows = statement.query([group_id]).during(what)?;
    let mut wishes = Wishes::new();
    while let Some(row) = rows.next().during(what)? {
        wishes.entry(row.get(0).during(what)?).or_default().insert(row.get(1).during(what)?);
    }
    Ok(wishes)
}

/// Who was to have each partition, if that member is still there; else who has it.
fn targets(tx: &Connection, group_id: i64, members: &Wishes) -> Result<BTreeMap<i64, String>> {
    let what = "read a group's partitions";
    let sql = "SELECT part_id, target, owner FROM ownership WHERE group_id = ?1";
    let mut statement = tx.prepare_cached(sql).during(what)?;
    let mut rows = statement.query([group_id]).during(what)?;
    let mut targets = BTreeMap::new();
    while let Some(row) = rows.next().during(what)? {
        let both: [Option<String>; 2] = [row.get(1).during(what)?, row.get(2).during(what)?];
        if let Some(member) = both.into_iter().flatten().find(|member| members.contains_key(member)) {
            targets.insert(row.get(0).during(what)?, member);
        }
    }
    Ok(targets)
}

fn changed(tx: &Connection, group_id: i64) -> Result<()> {
    tx.prepare_cached("UPDATE groups SET generation = generation + 1 WHERE group_id = ?1")
        .and_then(|mut statement| statement.execute([group_id]))
        .during("note a group's change")
        .map(drop)
}

/// Takes every free partition that is meant for this member.
pub(super) fn claim(tx: &Connection, group_id: i64, member_id: &str) -> Result<()> {
    let sql = "UPDATE ownership SET owner = ?2, epoch = epoch + 1
               WHERE group_id = ?1 AND target = ?2 AND owner IS NULL";
    if tx.execute(sql, (group_id, member_id)).during("take partitions")? > 0 {
        changed(tx, group_id)?;
    }
    Ok(())
}

/// Gives partitions up. Those that are another's by now are let be.
pub(super) fn release(tx: &Connection, group_id: i64, member_id: &str, parts: &[i64]) -> Result<()> {
    for part_id in parts {
        let sql = "UPDATE ownership SET owner = NULL, epoch = epoch + 1
                   WHERE group_id = ?1 AND part_id = ?2 AND owner = ?3";
        tx.execute(sql, (group_id, part_id, member_id)).during("release partitions")?;
    }
    changed(tx, group_id)
}

/// The group's generation, if the member is in it.
pub(super) fn generation(c: &Connection, member_id: &str) -> Result<Option<i64>> {
    c.prepare_cached("SELECT g.generation FROM members m JOIN groups g USING (group_id) WHERE m.member_id = ?1")
        .and_then(|mut statement| statement.query_row([member_id], |row| row.get(0)).optional())
        .during("read a group's generation")
}

/// Every partition that this member has or is to have.
pub(super) fn held(c: &Connection, group_id: i64, member_id: &str) -> Result<Vec<Held>> {
    let what = "read a member's partitions";
    let sql = "SELECT o.part_id, o.owner IS ?2, o.owner IS NULL, o.target IS ?2, o.epoch,
                      max(p.low, coalesce(c.\"offset\", p.low))
               FROM ownership o JOIN partitions p USING (part_id)
               LEFT JOIN commits c ON c.group_id = o.group_id AND c.part_id = o.part_id
               WHERE o.group_id = ?1 AND (o.owner IS ?2 OR o.target IS ?2) ORDER BY o.part_id";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let held = |row: &rusqlite::Row<'_>| {
        Ok(Held {
            part_id: row.get(0)?,
            mine: row.get(1)?,
            free: row.get(2)?,
            meant_for_me: row.get(3)?,
            epoch: row.get(4)?,
            begin: row.get(5)?,
        })
    };
    statement.query_map((group_id, member_id), held).during(what)?.collect::<rusqlite::Result<_>>().during(what)
}

/// Says that the member lives. Whether it is still in the group.
pub(super) fn heartbeat(tx: &Connection, member_id: &str, now_ms: i64) -> Result<bool> {
    tx.prepare_cached("UPDATE members SET heartbeat_ms = ?2 WHERE member_id = ?1")
        .and_then(|mut statement| statement.execute((member_id, now_ms)))
        .during("send a heartbeat")
        .map(|rows| rows == 1)
}

/// Fails unless the member has the partition in this epoch.
pub(super) fn check_owner(tx: &Connection, group_id: i64, member_id: &str, part_id: i64, epoch: i64) -> Result<()> {
    let sql = "SELECT 1 FROM ownership WHERE group_id = ?1 AND part_id = ?2 AND owner = ?3 AND epoch = ?4";
    let owned = tx
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists((group_id, part_id, member_id, epoch)))
        .during("check a partition's owner")?;
    if owned { Ok(()) } else { Err(fenced("another member has a partition of this settlement")) }
}

/// Commits the next offset to read.
pub(super) fn commit(tx: &Connection, group_id: i64, part_id: i64, offset: i64, now_ms: i64) -> Result<()> {
    let what = "commit an offset";
    let high = super::topics::span(tx, part_id)?.high;
    if !(0..=high).contains(&offset) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("commit offset {offset} of a partition that ends at {high}"),
        ));
    }
    tx.prepare_cached(
        "INSERT INTO commits (group_id, part_id, \"offset\", committed_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (group_id, part_id) DO UPDATE SET \"offset\" = excluded.\"offset\",
            committed_ms = excluded.committed_ms",
    )
    .and_then(|mut statement| statement.execute((group_id, part_id, offset, now_ms)))
    .during(what)
    .map(drop)
}

/// The error of a member whose place another took.
pub(super) fn fenced(why: &str) -> Error {
    Error::new(ErrorKind::Fenced, why)
}
