//! Consumer lag: how far each group is behind, partition by partition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::lag::lag;
use mfctl_core::domain::{EnvName, GroupName, Stage, TopicName};
use mfctl_core::ports::{Error, ErrorKind, EventLog, GroupMember, Result};

/// A partition as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionLag {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: u32,
    /// The next offset the group will read; `None` before its first commit.
    pub committed_offset: Option<i64>,
    /// The first offset still kept.
    pub low_offset: i64,
    /// The offset after the last record.
    pub end_offset: i64,
    /// Records between the two.
    pub lag: u64,
    /// Records that retention removed before the group read them.
    pub lost_to_retention: u64,
    /// The member that owns the partition.
    pub owner: Option<String>,
}

/// A group and how far it is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupLag {
    /// Its name.
    pub group: GroupName,
    /// Its members that are alive.
    pub members: Vec<GroupMember>,
    /// Records it is behind in all.
    pub lag: u64,
    /// What it committed, summed over partitions; grows by what it works off.
    pub committed_total: i64,
    /// Its partitions.
    pub partitions: Vec<PartitionLag>,
}

/// The pipeline's groups, each with its lag. Each is asked for by its name: no other group's broker has to answer.
///
/// # Errors
/// Those of the log.
pub async fn pipeline_groups(log: &dyn EventLog, env: &EnvName) -> Result<Vec<GroupLag>> {
    let mut lags = Vec::new();
    for stage in Stage::ALL {
        let group = stage.group(env).map_err(|e| Error::new(ErrorKind::Invalid, "name the group").because(e))?;
        let members = log.members(&group).await?;
        lags.push(group_lag(log, group, members, &[stage.input()]).await?);
    }
    Ok(lags)
}

/// Every group beside these that has members or commits, each with its lag.
///
/// # Errors
/// Those of the log.
pub async fn other_groups(log: &dyn EventLog, beside: &[GroupLag]) -> Result<Vec<GroupLag>> {
    let mut lags = Vec::new();
    for group in log.groups().await? {
        if beside.iter().any(|one| one.group == group.group) {
            continue;
        }
        let mut topics: Vec<_> = group.committed.iter().map(|commit| commit.at.topic.clone()).collect();
        topics.extend(group.members.iter().flat_map(|m| m.partitions.iter().map(|at| at.topic.clone())));
        topics.sort();
        topics.dedup();
        lags.push(group_lag(log, group.group, group.members, &topics).await?);
    }
    Ok(lags)
}

async fn group_lag(
    log: &dyn EventLog,
    group: GroupName,
    members: Vec<GroupMember>,
    topics: &[TopicName],
) -> Result<GroupLag> {
    let mut partitions = Vec::new();
    for progress in log.progress(&group, topics).await? {
        let owner = members.iter().find(|m| m.partitions.contains(&progress.at)).map(|m| m.instance.clone());
        let lost = progress.committed.map_or(0, |committed| progress.span.low - committed);
        partitions.push(PartitionLag {
            committed_offset: progress.committed,
            low_offset: progress.span.low,
            end_offset: progress.span.high,
            // The log knows of transaction markers that offsets alone do not show.
            lag: if progress.at_end { 0 } else { lag(progress.span, progress.committed) },
            lost_to_retention: u64::try_from(lost).unwrap_or(0),
            owner,
            topic: progress.at.topic,
            partition: progress.at.partition,
        });
    }
    Ok(GroupLag {
        group,
        members,
        lag: partitions.iter().map(|p| p.lag).sum(),
        committed_total: partitions.iter().filter_map(|p| p.committed_offset).sum(),
        partitions,
    })
}
