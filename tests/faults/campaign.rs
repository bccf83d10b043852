//! The campaign of kills and pauses on a data folder.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::campaign::{Campaign, Extent, Installation, NewOffsets, REDRIVE_HEADER};
use crate::support::Site;

/// `make soak` runs more of it: `MFCTL_TEST_FAULTS`.
#[test]
fn campaign_of_kills_and_pauses_loses_nothing_and_emits_nothing_twice() {
    let site = Site::new();
    assert_eq!(site.run(["init", "--quiet"]).code, 0);
    Campaign::run(&DataFolder(site), Extent::from_environment(30, 200));
}

struct DataFolder(Site);

impl DataFolder {
    fn database(&self) -> Connection {
        let database = Connection::open(self.0.data().join("mfctl.db")).unwrap();
        database.busy_timeout(Duration::from_secs(60)).unwrap();
        database
    }
}

impl Installation for DataFolder {
    fn site(&self) -> &Site {
        &self.0
    }

    /// Processes of several hosts cannot share a data folder.
    fn hosts(&self) -> usize {
        1
    }

    fn committed_events(&self, topic: &str) -> Vec<Value> {
        let database = self.database();
        let mut query = database
            .prepare(
                "SELECT value FROM records JOIN partitions USING (part_id) JOIN topics USING (topic_id) \
                 WHERE name = ?1 AND value IS NOT NULL AND (headers IS NULL OR instr(headers, CAST(?2 AS BLOB)) = 0)",
            )
            .unwrap();
        let values = query.query_map([topic, REDRIVE_HEADER], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        // The schema's id comes before the JSON, as on Kafka.
        values.map(|value| serde_json::from_slice(&value.unwrap()[5..]).unwrap()).collect()
    }

    fn records(&self, topic: &str) -> Option<i64> {
        let ends = "SELECT COALESCE(sum(next_offset), 0) FROM partitions JOIN topics USING (topic_id) WHERE name = ?1";
        Some(self.database().query_row(ends, [topic], |row| row.get(0)).unwrap())
    }

    fn move_offsets(&self, stage: &str, to: NewOffsets, rng: &mut fastrand::Rng) -> Result<(), String> {
        let mut database = self.database();
        let change = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let change = change.map_err(|error| error.to_string())?;
        let name = format!("mfctl.{}.{stage}", self.0.env_name());
        let group =
            change.query_row("SELECT group_id FROM groups WHERE name = ?1", [&name], |row| row.get::<_, i64>(0));
        // No worker has started yet.
        let Some(group) = group.optional().unwrap() else { return Ok(()) };
        let mut query = change
            .prepare(
                "SELECT part_id, low, next_offset FROM partitions \
                 WHERE part_id IN (SELECT part_id FROM commits WHERE group_id = ?1)",
            )
            .unwrap();
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let partitions: Vec<(i64, i64, i64)> = query.query_map([group], columns).unwrap().map(Result::unwrap).collect();
        drop(query);
        for (partition, low, high) in partitions {
            let offset = match to {
                NewOffsets::Earliest => low,
                NewOffsets::Latest => high,
                NewOffsets::Anywhere => rng.i64(low..=high),
                NewOffsets::None => {
                    let delete = "DELETE FROM commits WHERE group_id = ?1 AND part_id = ?2";
                    change.execute(delete, [group, partition]).unwrap();
                    continue;
                }
            };
            let update = "UPDATE commits SET \"offset\" = ?3, claim_epoch = NULL, claim_epoch_offset = NULL \
                          WHERE group_id = ?1 AND part_id = ?2";
            change.execute(update, params![group, partition, offset]).unwrap();
        }
        change.commit().unwrap();
        Ok(())
    }

    fn break_server(&self, _: &mut fastrand::Rng) -> Option<String> {
        None
    }

    /// A session ends after 10 s, and a writer that waits for another gives up after 120 s.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(crate::support::env_number("MFCTL_TEST_LONGEST_PAUSE", 15) as u64)
    }
}
