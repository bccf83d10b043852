//! Old claims, and the ends of partitions that decide doubtful ones.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::claims::{text_of, unanswered};
use super::client::PostgrestClient;
use super::rows;
use mfctl_core::domain::claim_folding::FoldLimits;
use mfctl_core::domain::{AssetId, GroupName};
use mfctl_core::ports::{FoldedPage, PartitionEnd, PartitionEndSeen, Result};

pub(super) async fn fold(
    client: &PostgrestClient,
    group: &GroupName,
    limits: &FoldLimits,
    after: Option<AssetId>,
    limit: usize,
) -> Result<FoldedPage> {
    #[derive(Deserialize)]
    struct FoldAnswer {
        folded: u64,
        next: Option<AssetId>,
    }
    let retained_from = limits.retained_from.iter();
    let retained_from =
        retained_from.map(|(partition, first)| json!({ "partition": partition, "first_offset": first }));
    let body = json!({
        "group_name": group.as_str(),
        "topic": limits.topic,
        "topic_id": text_of(limits.topic_id.as_ref()),
        "retained_from": retained_from.collect::<Vec<Value>>(),
        "claimed_before": limits.claimed_before,
        "after": after,
        "limit": limit.max(1),
    });
    let FoldAnswer { folded, next } = client.call("fold claims", "rpc/fold_claims", rows::json(&body)?).await?;
    Ok(FoldedPage { folded, next })
}

pub(super) async fn see_partition_ends(
    client: &PostgrestClient,
    ends: &[PartitionEnd],
) -> Result<Vec<PartitionEndSeen>> {
    #[derive(Deserialize)]
    struct SeenRow {
        topic_since: Timestamp,
        end_since: Timestamp,
    }
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let what = "remember the ends of partitions";
    let row = |end: &PartitionEnd| {
        let (topic, partition) = (&end.at.topic, end.at.partition);
        json!({ "topic": topic, "topic_id": end.topic_id, "partition": partition, "end_offset": end.offset })
    };
    let body = json!({ "rows": ends.iter().map(row).collect::<Vec<Value>>() });
    let seen: Vec<SeenRow> = client.call(what, "rpc/see_partition_ends", rows::json(&body)?).await?;
    if seen.len() != ends.len() {
        return Err(unanswered(what));
    }
    let seen = seen.into_iter().map(|SeenRow { topic_since, end_since }| PartitionEndSeen { topic_since, end_since });
    Ok(seen.collect())
}
