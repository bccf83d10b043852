//! Where partitions ended when a worker looked.

use rusqlite::{Connection, params};

use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use jiff::Timestamp;
use mfctl_core::ports::{PartitionEnd, PartitionEndSeen, Result};

/// See [`mfctl_core::ports::Catalog::see_partition_ends`].
pub(super) fn see(tx: &Connection, ends: &[PartitionEnd]) -> Result<Vec<PartitionEndSeen>> {
    // The update that changes nothing makes RETURNING return the row.
    let sql = "INSERT INTO media_partition_ends (topic, topic_id, partition, \"offset\", topic_since, end_since)
               VALUES (?1, ?2, ?3, ?4, coalesce((SELECT min(topic_since) FROM media_partition_ends
                                                 WHERE topic = ?1 AND topic_id = ?2), ?5), ?5)
               ON CONFLICT DO UPDATE SET \"offset\" = excluded.\"offset\",
                   end_since = iif(\"offset\" = excluded.\"offset\", end_since, excluded.end_since)
               RETURNING topic_since, end_since";
    let mut see = tx.prepare_cached(sql).during("remember the ends of partitions")?;
    let now = sql::time(Timestamp::now());
    let seen = ends.iter().map(|PartitionEnd { at, topic_id, offset }| {
        see.query_row(params![at.topic.as_str(), topic_id.as_str(), at.partition, offset, now], |row| {
            let mut columns = RowReader::new(row);
            Ok(PartitionEndSeen { topic_since: columns.time()?, end_since: columns.time()? })
        })
    });
    seen.collect::<rusqlite::Result<_>>().during("remember the ends of partitions")
}
