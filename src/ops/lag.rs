//! Consumer lag of each group, per partition.
//!
//! Offsets alone count the markers of transactions too, so that a short backlog is counted record by record: every verb then
//! shows the same number of records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mfctl_core::domain::{EnvName, GroupName, Stage, TopicName, TopicPartition};
use mfctl_core::events::pager::Pager;
use mfctl_core::humane;
use mfctl_core::ports::{Error, ErrorKind, EventLog, GroupMember, Result};

/// Records of a group that are counted one by one; with more, the offsets are taken for their number.
const MAX_COUNTED: u64 = 2_000;

/// A group's lag in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionLag {
    /// Topic name.
    pub topic: TopicName,
    /// Partition, counted from 0.
    pub partition: u32,
    /// Committed offset, the next one to be read; `None` before the first commit.
    pub committed_offset: Option<i64>,
    /// Low watermark.
    pub low_offset: i64,
    /// Offset after the last record.
    pub end_offset: i64,
    /// Number of records between the committed offset and the end, those behind an open transaction included.
    pub lag: u64,
    /// Those of them that an open transaction of a producer hides from the group until it ends.
    #[serde(default)]
    pub behind_open_transaction: u64,
    /// Number of records that retention removed before the group read them.
    pub lost_to_retention: u64,
    /// Whether the committed offset is beyond the end of the partition, which was truncated, restored or recreated. All of
    /// its records count as lag: a worker starts at the low watermark.
    #[serde(default)]
    pub committed_beyond_end: bool,
    /// Member that owns the partition.
    pub owner: Option<String>,
}

/// A consumer group with its lag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupLag {
    /// Group name.
    pub group: GroupName,
    /// Live members.
    pub members: Vec<GroupMember>,
    /// Total lag in records.
    pub lag: u64,
    /// Whether they were not counted one by one, because there are many or the group is not the pipeline's: the lag may then
    /// include markers of transactions.
    #[serde(default)]
    pub lag_is_estimate: bool,
    /// Sum of the committed offsets; it grows by the number of processed records.
    pub committed_total: i64,
    /// Lag per partition.
    pub partitions: Vec<PartitionLag>,
}

impl GroupLag {
    /// The lag for people, with a tilde before an estimate.
    #[must_use]
    pub fn lag_text(&self) -> String {
        let estimate = if self.lag_is_estimate { "~" } else { "" };
        format!("{estimate}{}", humane::count(self.lag))
    }

    /// Records that the group cannot read yet, because transactions of producers are open.
    #[must_use]
    pub fn behind_open_transactions(&self) -> u64 {
        self.partitions.iter().fold(0, |sum, partition| partition.behind_open_transaction.saturating_add(sum))
    }

    /// Counts the records that the group can read, if they are few.
    ///
    /// # Errors
    /// Errors of the log; the lag is then still the one by offsets.
    pub async fn count_records(&mut self, log: &dyn EventLog) -> Result<()> {
        if !self.lag_is_estimate || self.lag.saturating_sub(self.behind_open_transactions()) > MAX_COUNTED {
            return Ok(());
        }
        let mut counts = Vec::new();
        for partition in &self.partitions {
            counts.push(partition.count_records(log).await?);
        }
        for (partition, count) in self.partitions.iter_mut().zip(counts) {
            partition.lag = count.saturating_add(partition.behind_open_transaction);
        }
        self.lag = total(&self.partitions);
        self.lag_is_estimate = false;
        Ok(())
    }
}

impl PartitionLag {
    async fn count_records(&self, log: &dyn EventLog) -> Result<u64> {
        if self.lag == self.behind_open_transaction {
            return Ok(0);
        }
        let committed = self.committed_offset.filter(|_| !self.committed_beyond_end);
        let from = committed.unwrap_or(self.low_offset).max(self.low_offset);
        let at = TopicPartition::new(self.topic.clone(), self.partition);
        let mut pager = Pager::new(at, from, self.end_offset);
        let mut count = 0;
        while let Some(records) = pager.next_page(log).await? {
            count += records.len() as u64;
        }
        Ok(count)
    }
}

fn total(partitions: &[PartitionLag]) -> u64 {
    partitions.iter().fold(0, |sum, partition| partition.lag.saturating_add(sum))
}

/// Counts the records of groups that have few. A group whose records cannot be read keeps its estimate.
pub async fn count_records(log: &dyn EventLog, groups: impl IntoIterator<Item = &mut GroupLag>) {
    for group in groups {
        if let Err(error) = group.count_records(log).await {
            tracing::debug!(group = group.group.as_str(), error = error.full(), "the lag was not counted by record");
        }
    }
}

/// The pipeline's groups with their lag by offsets. They are described by name, so that only their own coordinators have to
/// answer.
///
/// # Errors
/// Errors of the log.
pub async fn pipeline_groups(log: &dyn EventLog, env: &EnvName) -> Result<Vec<GroupLag>> {
    let mut lags = Vec::new();
    for stage in Stage::ALL {
        lags.push(stage_group(log, env, *stage).await?);
    }
    Ok(lags)
}

/// The group of one stage with its lag by offsets.
///
/// # Errors
/// Errors of the log.
pub async fn stage_group(log: &dyn EventLog, env: &EnvName, stage: Stage) -> Result<GroupLag> {
    let group = stage.group(env).map_err(|e| Error::new(ErrorKind::Invalid, "name the group").because(e))?;
    let members = log.members(&group).await?;
    group_lag(log, group, members, &[stage.input()]).await
}

/// Every other group that has members or committed offsets, with its lag.
///
/// # Errors
/// Errors of the log.
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
        let lost = progress.committed.map_or(0, |committed| progress.span.low.saturating_sub(committed));
        partitions.push(PartitionLag {
            committed_offset: progress.committed,
            low_offset: progress.span.low,
            end_offset: progress.span.high,
            lag: progress.lag().saturating_add(progress.hidden),
            behind_open_transaction: progress.hidden,
            committed_beyond_end: progress.beyond_end,
            lost_to_retention: u64::try_from(lost).unwrap_or(0),
            owner,
            topic: progress.at.topic,
            partition: progress.at.partition,
        });
    }
    let lag = total(&partitions);
    Ok(GroupLag {
        group,
        members,
        lag,
        lag_is_estimate: lag > 0,
        committed_total: partitions.iter().filter_map(|p| p.committed_offset).fold(0, i64::saturating_add),
        partitions,
    })
}
