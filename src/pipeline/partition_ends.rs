//! Where the topics that a stage writes end, and since when the catalog knows it: so it is known later what the log
//! shows of the time since a claim.

use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Catalog, EventLog, PartitionEnd, PartitionEndSeen, PartitionOffsets, Result};

/// A partition as it is now.
#[derive(Debug, Clone)]
pub(crate) struct SeenPartition {
    pub(crate) offsets: PartitionOffsets,
    /// `None` where the log has no topic ids, and for a topic that was created again meanwhile.
    pub(crate) seen: Option<PartitionEndSeen>,
}

/// Tells the catalog where the partitions of these topics end now.
///
/// # Errors
/// Those of the log and the catalog.
pub(crate) async fn see_partition_ends(
    log: &dyn EventLog,
    catalog: &dyn Catalog,
    topics: &[TopicName],
) -> Result<Vec<SeenPartition>> {
    let ids = log.topic_ids(topics).await?;
    let offsets = log.offsets(topics).await?;
    let ids_after = log.topic_ids(topics).await?;
    let end = |one: &PartitionOffsets| {
        let topic = topics.iter().position(|topic| *topic == one.at.topic)?;
        let topic_id = ids.get(topic)?.clone().filter(|id| ids_after.get(topic) == Some(&Some(id.clone())))?;
        Some(PartitionEnd { at: one.at.clone(), topic_id, offset: one.span.high })
    };
    let ends: Vec<PartitionEnd> = offsets.iter().filter_map(end).collect();
    let seen = catalog.see_partition_ends(ends.clone()).await?;
    let seen_of =
        |one: &PartitionOffsets| ends.iter().zip(&seen).find(|(end, _)| end.at == one.at).map(|(_, seen)| *seen);
    Ok(offsets.into_iter().map(|offsets| SeenPartition { seen: seen_of(&offsets), offsets }).collect())
}
