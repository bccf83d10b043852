//! The campaign of kills and pauses on the real servers, with two hosts.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::campaign::{Campaign, Extent, Installation, NewOffsets, REDRIVE_HEADER};
use crate::external_clients::{WireRecord, committed_records, config, delete_group};
use crate::support::servers::{BROKERS, KilledServer, PausedServer};
use crate::support::{Site, env_number};

/// `make soak` runs more of it, and breaks the servers as well: `MFCTL_TEST_FAULTS`, `MFCTL_TEST_SERVERS=1`.
#[test]
fn campaign_of_kills_and_pauses_loses_nothing_and_emits_nothing_twice() {
    let servers = env_number("MFCTL_TEST_SERVERS", 0) > 0;
    Campaign::run(&Cluster { site: Site::new(), servers }, Extent::from_environment(25, 160));
}

/// Of each topic: `partitions` in the profile of a test.
const PARTITIONS: i32 = 3;

struct Cluster {
    site: Site,
    /// Whether the servers may be broken: not beside other tests.
    servers: bool,
}

impl Installation for Cluster {
    fn site(&self) -> &Site {
        &self.site
    }

    fn hosts(&self) -> usize {
        2
    }

    fn committed_events(&self, topic: &str) -> Vec<Value> {
        let records = committed_records(&self.site.platform().topic(topic));
        let is_redriven = |record: &&WireRecord| record.headers.iter().any(|(name, _)| name == REDRIVE_HEADER);
        records.iter().filter(|record| !is_redriven(record)).map(WireRecord::json).collect()
    }

    fn records(&self, topic: &str) -> Option<i64> {
        let topic = self.site.platform().topic(topic);
        let consumer: BaseConsumer = config().create().unwrap();
        let end = |partition| Some(consumer.fetch_watermarks(&topic, partition, Duration::from_secs(5)).ok()?.1);
        (0..PARTITIONS).map(end).sum()
    }

    fn move_offsets(&self, stage: &str, to: NewOffsets, rng: &mut fastrand::Rng) -> Result<(), String> {
        let group = self.site.platform().group(stage);
        if to == NewOffsets::None {
            return match delete_group(&group) {
                Err(error) if error.contains("NotFound") => Ok(()),
                answer => answer,
            };
        }
        let topic = self.site.platform().topic(if stage == "persist" { "ingest.raw" } else { "media.ingested" });
        let mut config = config();
        config.set("group.id", &group).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
        let mut offsets = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let watermarks = consumer.fetch_watermarks(&topic, partition, Duration::from_secs(10));
            let (low, high) = watermarks.map_err(|error| error.to_string())?;
            let offset = match to {
                NewOffsets::Earliest | NewOffsets::None => low,
                NewOffsets::Latest => high,
                NewOffsets::Anywhere => rng.i64(low..=high),
            };
            offsets.add_partition_offset(&topic, partition, Offset::Offset(offset)).unwrap();
        }
        consumer.commit(&offsets, CommitMode::Sync).map_err(|error| error.to_string())
    }

    fn break_server(&self, rng: &mut fastrand::Rng) -> Option<String> {
        if !self.servers {
            return None;
        }
        let server =
            rng.choice([BROKERS[0], BROKERS[1], BROKERS[2], "minio", "postgres", "postgrest", "registry"]).unwrap();
        let down = Duration::from_millis(rng.u64(200..8_000));
        if rng.bool() {
            let killed = KilledServer::kill(server);
            std::thread::park_timeout(down);
            killed.start();
            return Some(format!("kill of {server}"));
        }
        let paused = PausedServer::stop(server);
        std::thread::park_timeout(down);
        drop(paused);
        Some(format!("pause of {server}"))
    }

    /// A session ends after 10 s, a transaction after 15 s.
    fn longest_pause(&self) -> Duration {
        Duration::from_secs(env_number("MFCTL_TEST_LONGEST_PAUSE", 15) as u64)
    }
}
