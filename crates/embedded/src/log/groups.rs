//! Groups as outsiders see them: their members, their progress, and deleting one.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::liveness;
use super::topics::{self, Topic};
use crate::db::SqlContext;
use mfctl_core::domain::lag::lag;
use mfctl_core::domain::{ClaimEpoch, GroupName, Timestamp, TopicName, TopicPartition};
use mfctl_core::ports::{
    CommittedOffset, Error, ErrorKind, GroupCommit, GroupDescription, GroupMember, PartitionProgress, Result,
};

const WHAT: &str = "read groups";

/// See [`mfctl_core::ports::EventLog::groups`].
pub(super) fn groups(c: &Connection, members_dir: &Path) -> Result<Vec<GroupDescription>> {
    let mut statement = c.prepare_cached("SELECT group_id, name FROM groups ORDER BY name").during(WHAT)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).during(WHAT)?;
    let rows: Vec<(i64, String)> = rows.collect::<rusqlite::Result<_>>().during(WHAT)?;
    let mut groups = Vec::new();
    for (group_id, name) in rows {
        let group = GroupName::new(name).map_err(|error| Error::new(ErrorKind::Corrupt, WHAT).because(error))?;
        let members = live_members(c, group_id, members_dir)?;
        let committed = committed_offsets(c, group_id)?;
        if !members.is_empty() || !committed.is_empty() {
            groups.push(GroupDescription { group, members, committed });
        }
    }
    Ok(groups)
}

fn live_members(c: &Connection, group_id: i64, members_dir: &Path) -> Result<Vec<GroupMember>> {
    let dead = liveness::dead_members(c, group_id, members_dir)?;
    let sql = "SELECT member_id, instance, client FROM members WHERE group_id = ?1 ORDER BY instance, member_id";
    let mut statement = c.prepare_cached(sql).during(WHAT)?;
    let member = |row: &rusqlite::Row<'_>| {
        Ok(GroupMember { member_id: row.get(0)?, instance: row.get(1)?, client: row.get(2)?, partitions: Vec::new() })
    };
    let members = statement.query_map([group_id], member).during(WHAT)?;
    let mut members: Vec<GroupMember> = members.collect::<rusqlite::Result<_>>().during(WHAT)?;
    members.retain(|member| dead.iter().all(|dead| dead.member_id != member.member_id));
    for member in &mut members {
        member.partitions = owned_partitions(c, group_id, &member.member_id)?;
    }
    Ok(members)
}

fn owned_partitions(c: &Connection, group_id: i64, member_id: &str) -> Result<Vec<TopicPartition>> {
    let sql =
        "SELECT t.name, p.partition FROM ownership o JOIN partitions p USING (part_id) JOIN topics t USING (topic_id)
               WHERE o.group_id = ?1 AND o.owner = ?2 ORDER BY t.name, p.partition";
    let mut statement = c.prepare_cached(sql).during(WHAT)?;
    let mut rows = statement.query((group_id, member_id)).during(WHAT)?;
    let mut owned = Vec::new();
    while let Some(row) = rows.next().during(WHAT)? {
        owned.push(partition(row)?);
    }
    Ok(owned)
}

fn committed_offsets(c: &Connection, group_id: i64) -> Result<Vec<CommittedOffset>> {
    let sql = "SELECT t.name, p.partition, c.\"offset\", c.committed_ms
               FROM commits c JOIN partitions p USING (part_id) JOIN topics t USING (topic_id)
               WHERE c.group_id = ?1 ORDER BY t.name, p.partition";
    let mut statement = c.prepare_cached(sql).during(WHAT)?;
    let mut rows = statement.query([group_id]).during(WHAT)?;
    let mut commits = Vec::new();
    while let Some(row) = rows.next().during(WHAT)? {
        let committed_at = Timestamp::from_millisecond(row.get(3).during(WHAT)?).ok();
        commits.push(CommittedOffset { at: partition(row)?, offset: row.get(2).during(WHAT)?, committed_at });
    }
    Ok(commits)
}

/// See [`mfctl_core::ports::EventLog::committed`].
pub(super) fn committed(
    c: &Connection,
    group: &GroupName,
    partitions: Vec<(i64, TopicPartition)>,
) -> Result<Vec<GroupCommit>> {
    let what = "read a group's commits";
    // A process of an earlier format changes the offset alone: the epoch is that of an earlier commit.
    let sql = "SELECT c.\"offset\", CASE WHEN c.claim_epoch_offset = c.\"offset\" THEN c.claim_epoch END
               FROM commits c JOIN groups g USING (group_id) WHERE g.name = ?1 AND c.part_id = ?2";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let mut commits = Vec::new();
    for (part_id, at) in partitions {
        let commit = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(i64, Option<i64>)> =
            statement.query_row((group.as_str(), part_id), commit).optional().during(what)?;
        commits.extend(found.map(|(offset, epoch)| GroupCommit { at, offset, epoch: epoch.map(ClaimEpoch) }));
    }
    Ok(commits)
}

fn partition(row: &rusqlite::Row<'_>) -> Result<TopicPartition> {
    let name: String = row.get(0).during(WHAT)?;
    let name = TopicName::new(name).map_err(|error| Error::new(ErrorKind::Corrupt, WHAT).because(error))?;
    Ok(TopicPartition::new(name, row.get(1).during(WHAT)?))
}

/// See [`mfctl_core::ports::EventLog::progress`]. A group that does not exist has no commits.
pub(super) fn progress(c: &Connection, group: &GroupName, topics: &[Arc<Topic>]) -> Result<Vec<PartitionProgress>> {
    let what = "read a group's progress";
    let sql = "SELECT c.\"offset\" FROM commits c JOIN groups g USING (group_id) WHERE g.name = ?1 AND c.part_id = ?2";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let mut progress = Vec::new();
    for (part_id, at) in topics.iter().flat_map(|topic| topic.partitions()) {
        let span = topics::span(c, part_id)?;
        let committed: Option<i64> =
            statement.query_row((group.as_str(), part_id), |row| row.get(0)).optional().during(what)?;
        let beyond_end = committed.is_some_and(|committed| committed > span.high);
        // This log has no transaction markers and no open transactions, so a lag of 0 is the end.
        let at_end = lag(span, committed.filter(|_| !beyond_end)) == 0;
        progress.push(PartitionProgress { at, committed, span, at_end, beyond_end, hidden: 0 });
    }
    Ok(progress)
}

/// See [`mfctl_core::ports::EventLog::delete_group`].
pub(super) fn delete_group(tx: &Connection, group: &GroupName, members_dir: &Path) -> Result<()> {
    let what = "delete a group";
    let sql = "SELECT group_id FROM groups WHERE name = ?1";
    let group_id: Option<i64> = tx.query_row(sql, [group.as_str()], |row| row.get(0)).optional().during(what)?;
    let group_id = group_id.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no group {group}")))?;
    let members = live_members(tx, group_id, members_dir)?;
    if let Some(member) = members.first() {
        let message = format!("group {group} has {} members, such as {}", members.len(), member.client);
        return Err(Error::new(ErrorKind::Conflict, message).hint("stop its workers first"));
    }
    for table in ["ownership", "commits", "members", "groups"] {
        tx.execute(&format!("DELETE FROM {table} WHERE group_id = ?1"), [group_id]).during(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;

    use crate::db::SqlContext as _;
    use crate::{DataFolder, EmbeddedLog, OpenMode};
    use mfctl_core::domain::record::Headers;
    use mfctl_core::domain::{GroupName, NewRecord, TopicName};
    use mfctl_core::ports::{Clock, EventLog, FetchLimits, Poll, Subscription, TopicSpec};

    #[derive(Debug)]
    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn all_records_remain_to_be_read_when_the_commit_is_beyond_the_end() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
        let log = EmbeddedLog::new(&folder, Arc::new(StoppedClock));
        let topic = TopicName::new("in").unwrap();
        let group = GroupName::new("group").unwrap();
        let spec = TopicSpec { name: topic.clone(), partitions: 1, retention: None, compacted: false };
        log.create_topics(&[spec]).await.unwrap();
        let subscription = || Subscription {
            group: group.clone(),
            topics: vec![topic.clone()],
            instance: "a".to_owned(),
            session_timeout: Duration::from_secs(30),
            prefetch_bytes: 1 << 20,
        };
        let poll_time = Duration::from_secs(1);
        let mut member = log.subscribe(subscription()).await.unwrap();
        while !matches!(member.poll(FetchLimits::default(), poll_time).await.unwrap(), Poll::Assigned(_)) {}
        member.leave().await.unwrap();
        let record = NewRecord {
            topic: topic.clone(),
            partition: None,
            key: None,
            value: Some("value".into()),
            headers: Headers::default(),
            timestamp: Timestamp::UNIX_EPOCH,
        };
        log.publish(vec![record]).await.unwrap();
        let commit_beyond_end = |tx: &rusqlite::Connection| {
            let sql = "INSERT INTO commits (group_id, part_id, \"offset\", committed_ms)
                       SELECT group_id, part_id, 5000, 0 FROM groups, partitions";
            tx.execute(sql, []).map(drop).during("commit")
        };
        folder.db().write("commit", commit_beyond_end).await.unwrap();

        let progress = log.progress(&group, std::slice::from_ref(&topic)).await.unwrap();
        assert!(progress[0].beyond_end && !progress[0].at_end && progress[0].lag() == 1, "{progress:?}");
        let mut member = log.subscribe(subscription()).await.unwrap();
        loop {
            if let Poll::Records(records) = member.poll(FetchLimits::default(), poll_time).await.unwrap() {
                assert_eq!(records.len(), 1);
                break;
            }
        }
    }
}
