//! Removes the old claims of a stage's group, a bounded number at a time.

use std::time::Duration;

use uuid::Uuid;

use crate::pipeline::partition_ends::see_partition_ends;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::{AssetId, GroupName, Stage, Timestamp, TopicPartition};
use mfctl_core::ports::{Catalog, EventLog, GroupMember, Result};

/// Claims that one call of the catalog looks at. No record is claimed meanwhile.
const PAGE: usize = 500;
/// Calls of one run.
const PAGES_PER_RUN: usize = 200;
/// The first partition of a stage's input: its owner does for the group what one member does for all.
const FIRST_PARTITION: u32 = 0;

/// Whether this member does the periodic work of its group: it is assigned the first partition of the input. For a
/// moment, at a rebalance, two members or none may be.
#[must_use]
pub fn does_periodic_work(members: &[GroupMember], stage: Stage, instance: &str) -> bool {
    let first = TopicPartition::new(stage.input(), FIRST_PARTITION);
    members.iter().any(|member| member.instance == instance && member.partitions.contains(&first))
}

/// The folding of a group's claims, which continues where the run before ended.
#[derive(Debug, Default)]
pub struct ClaimFolding {
    /// The last asset of that run; `None` to begin with the first one.
    after: Option<AssetId>,
}

impl ClaimFolding {
    /// Begins anywhere: a process that never lives long enough for all claims of the group would else look at the same
    /// ones each time.
    #[must_use]
    pub fn from_anywhere() -> Self {
        Self { after: Some(AssetId(Uuid::new_v4())) }
    }

    /// Looks at the next 100,000 claims of the group, and folds those that are old at `now`: their records are removed
    /// from the input, or they were taken more than twice its retention ago. Returns how many were folded.
    ///
    /// # Errors
    /// Those of the log and the catalog. The next run continues.
    pub async fn run(
        &mut self,
        log: &dyn EventLog,
        catalog: &dyn Catalog,
        (stage, group): (Stage, &GroupName),
        now: Timestamp,
    ) -> Result<u64> {
        // A claim is decided by what was written since an end was last seen: see `OutputSearch`.
        see_partition_ends(log, catalog, &[stage.output(), stage.input().dead_letters()]).await?;
        let limits = fold_limits(log, stage, now).await?;
        let mut folded = 0;
        for _ in 0..PAGES_PER_RUN {
            let page = catalog.fold_claims(group, &limits, self.after, PAGE).await?;
            folded += page.folded;
            self.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        Ok(folded)
    }
}

/// Which claims of a stage are old at `now`.
async fn fold_limits(log: &dyn EventLog, stage: Stage, now: Timestamp) -> Result<FoldLimits> {
    let topic = stage.input();
    // The id comes first: the low watermarks of a topic that is created again in between are 0.
    let topic_id = log.topic_ids(std::slice::from_ref(&topic)).await?.into_iter().next().flatten();
    let offsets = log.offsets(std::slice::from_ref(&topic)).await?;
    let described = log.topics().await?.into_iter().find(|described| described.name == topic);
    let retention = described.and_then(|described| described.retention_seconds).map(Duration::from_secs);
    Ok(FoldLimits {
        topic,
        topic_id,
        retained_from: offsets.into_iter().map(|one| (one.at.partition, one.span.low)).collect(),
        claimed_before: retention.and_then(|retention| now.checked_sub(retention.saturating_mul(2)).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_with_the_first_partition_of_the_input_does_periodic_work() {
        let member = |instance: &str, topic, partition| GroupMember {
            member_id: "id".to_owned(),
            instance: instance.to_owned(),
            client: String::new(),
            partitions: vec![TopicPartition::new(topic, partition)],
        };
        let members = [
            member("a/0", Stage::Persist.input(), 1),
            member("b/0", Stage::Persist.input(), 0),
            member("c/0", Stage::Enrich.input(), 0),
        ];
        let does = ["a/0", "b/0", "c/0", "d/0"].map(|instance| does_periodic_work(&members, Stage::Persist, instance));
        assert_eq!(does, [false, true, false, false]);
    }
}
