//! Vitals to display.

use std::time::Duration;

use mfctl::ops::lag::{GroupLag, PartitionLag};
use mfctl::ops::vitals::{BucketVitals, DeadLetterVitals, GroupVitals, LatencyVitals, StorageVitals, Vitals};
use mfctl::tui::model::Model;
use mfctl_core::domain::lag::Quantiles;
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::{EnvName, GroupName, Timestamp, TopicPartition};
use mfctl_core::ports::{BucketUsage, Capacity, GroupMember};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn group(name: &str, input: &str, lag: u64, members: usize, rate: Option<f64>) -> GroupVitals {
    let topic: mfctl_core::domain::TopicName = input.parse().unwrap();
    let member = |number: usize| GroupMember {
        member_id: format!("m-{number}"),
        instance: format!("media-{number}/0"),
        client: format!("media-{number} pid 4711"),
        partitions: vec![TopicPartition::new(topic.clone(), number as u32)],
    };
    let partition = |number: u32| PartitionLag {
        topic: topic.clone(),
        partition: number,
        committed_offset: (number > 0).then_some(1_000),
        low_offset: 0,
        end_offset: 1_000 + i64::try_from(lag / 6).unwrap(),
        lag: lag / 6,
        behind_open_transaction: 0,
        lost_to_retention: if number == 5 && lag > 0 { 12 } else { 0 },
        committed_beyond_end: false,
        owner: (number < members as u32).then(|| format!("media-{number}/0")),
    };
    GroupVitals {
        lag: GroupLag {
            group: GroupName::new(name).unwrap(),
            members: (0..members).map(member).collect(),
            lag,
            lag_is_estimate: false,
            committed_total: 6_000,
            partitions: (0..6).map(partition).collect(),
        },
        rate_per_second: rate,
        drained_in_seconds: rate.filter(|_| lag > 0).map(|rate| lag as f64 / rate),
    }
}

/// A platform with lag, dead letters and a nearly full disk.
pub fn busy() -> Vitals {
    let now = at("2026-11-24T02:10:00Z");
    let buckets = Buckets::of(&EnvName::new("dev").unwrap()).unwrap();
    let usage = |objects: u64, bytes: u64, oldest: Option<&str>| BucketUsage {
        objects,
        bytes,
        oldest_at: oldest.map(at),
        partial: objects > 400_000,
    };
    Vitals {
        at: now,
        groups: vec![
            group("mfctl.dev.persist", "ingest.raw", 12_000, 2, Some(812.4)),
            group("mfctl.dev.enrich", "media.ingested", 600, 0, None),
        ],
        latency: LatencyVitals {
            quantiles: Some(Quantiles {
                count: 4_312,
                p50_seconds: 1.4,
                p95_seconds: 71.0,
                p99_seconds: 130.2,
                max_seconds: 3_700.0,
            }),
            window_seconds: 3_600,
            within_objective: Some(0.91),
            objective_seconds: 60.0,
            objective: 0.95,
            met: Some(false),
            p95_seconds_over_time: (0..60).map(|n| (n % 7 != 0).then(|| f64::from(n))).collect(),
        },
        dead_letters: topics::PIPELINE
            .iter()
            .map(|topic| DeadLetterVitals {
                topic: topic.dead_letters(),
                unresolved: if *topic == topics::MEDIA_INGESTED { 3 } else { 0 },
                total: if *topic == topics::MEDIA_INGESTED { 17 } else { 0 },
            })
            .collect(),
        storage: StorageVitals {
            buckets: vec![
                BucketVitals { bucket: buckets.staging, usage: usage(12_000, 3 << 30, Some("2026-11-24T01:58:00Z")) },
                BucketVitals {
                    bucket: buckets.originals,
                    usage: usage(500_000, 9 << 40, Some("2026-03-01T00:00:00Z")),
                },
                BucketVitals { bucket: buckets.derived, usage: usage(0, 0, None) },
            ],
            capacity: Some(Capacity { total_bytes: 100 << 30, free_bytes: 9 << 30 }),
            used_percent: Some(91.0),
            warn: true,
            counted_at: Some(now),
        },
    }
}

/// A model that shows these vitals.
pub fn model_of(vitals: Vitals) -> Model {
    let mut model = Model::new("profile=embedded env=dev data=/srv/mfctl".to_owned(), Duration::from_secs(2), false);
    model.vitals = Some(Box::new(vitals));
    model
}
