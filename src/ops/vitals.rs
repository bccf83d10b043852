//! The vitals that `top` and `status` show: lag and rate, ingestion latency, dead letters, storage.
//!
//! A [`VitalsMonitor`] keeps state between refreshes, so that each one reads only new records, and it counts objects seldom.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lag::{self, GroupLag};
use super::owed::{self, OwedWork};
use mfctl_core::domain::event::{EventEnvelope, unframe};
use mfctl_core::domain::lag::{Quantiles, quantiles};
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::{BucketName, EnvName, Timestamp, TopicName, TopicPartition};
use mfctl_core::events::dead_letters::{DeadLetterCounts, DeadLetterWatch};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{BucketUsage, Capacity, Error, Ports, Result};

/// Maximum number of latencies kept for the quantiles, over all partitions.
const MAX_SAMPLES: usize = 10_000;
/// Number of records read from the end of each partition at the first refresh.
const TAIL: i64 = 1_000;
/// Maximum number of objects counted in a bucket; beyond it the count is partial.
const MAX_COUNTED: u64 = 500_000;
/// Number of points of the sparkline.
const SPARK_POINTS: usize = 60;

/// Service level objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objectives {
    /// Maximum time from staged to enriched, in seconds.
    pub latency_seconds: f64,
    /// Share of assets that must stay within it.
    pub latency_objective: f64,
    /// Used storage, in percent, from which on there is a warning.
    pub storage_warn_percent: u8,
}

/// Vitals of a consumer group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupVitals {
    /// Lag of the group and its partitions.
    #[serde(flatten)]
    pub lag: GroupLag,
    /// Records committed per second since the last refresh; `None` at the first.
    pub rate_per_second: Option<f64>,
    /// Seconds until the lag is 0 at this rate; `None` when the rate is 0 or unknown.
    pub drained_in_seconds: Option<f64>,
}

/// Latency from staged to enriched.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LatencyVitals {
    /// Quantiles over the window; `None` when no asset was enriched in it.
    pub quantiles: Option<Quantiles>,
    /// Length of the window in seconds.
    pub window_seconds: u64,
    /// Share of the assets within the objective's time.
    pub within_objective: Option<f64>,
    /// Time of the objective, in seconds.
    pub objective_seconds: f64,
    /// Share of the objective.
    pub objective: f64,
    /// Whether the objective is met; `None` when no asset was enriched.
    pub met: Option<bool>,
    /// 95th percentile of up to 60 equal slices of the window, oldest first; `None` for a slice without assets.
    pub p95_seconds_over_time: Vec<Option<f64>>,
}

/// Vitals of a dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterVitals {
    /// Topic name.
    pub topic: TopicName,
    /// Number of unresolved dead letters.
    pub unresolved: u64,
    /// Number of dead letters on the topic.
    pub total: u64,
}

/// Vitals of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketVitals {
    /// Bucket name.
    pub bucket: BucketName,
    /// Usage of the bucket.
    #[serde(flatten)]
    pub usage: BucketUsage,
}

/// Vitals of the storage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StorageVitals {
    /// Usage per bucket.
    pub buckets: Vec<BucketVitals>,
    /// Capacity; `None` where the store does not report it.
    pub capacity: Option<Capacity>,
    /// Used storage in percent.
    pub used_percent: Option<f64>,
    /// Whether the used storage has reached the warning level.
    pub warn: bool,
    /// Time of the last count of objects.
    #[schemars(with = "Option<String>")]
    pub counted_at: Option<Timestamp>,
}

/// The vitals of a platform at one point in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vitals {
    /// Time of the refresh.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Consumer groups.
    pub groups: Vec<GroupVitals>,
    /// Latency from staged to enriched.
    pub latency: LatencyVitals,
    /// Dead-letter topics.
    pub dead_letters: Vec<DeadLetterVitals>,
    /// Storage usage and capacity.
    pub storage: StorageVitals,
}

/// The storage as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct StorageReading {
    /// Without the buckets that cannot be counted.
    pub(super) vitals: StorageVitals,
    /// Why a bucket cannot be counted, or the capacity cannot be read.
    pub(super) errors: Vec<Error>,
}

impl StorageReading {
    /// The storage, if all of it could be read; the first error otherwise.
    fn whole(self) -> Result<StorageVitals> {
        self.errors.into_iter().next().map_or(Ok(self.vitals), Err)
    }
}

struct LatencySample {
    enriched_at: Timestamp,
    seconds: f64,
}

/// Collector of vitals over time.
pub struct VitalsMonitor {
    ports: Ports,
    env: EnvName,
    buckets: Buckets,
    objectives: Objectives,
    window: Duration,
    count_objects_every: Duration,
    letters: DeadLetterWatch,
    samples: VecDeque<LatencySample>,
    read_to: HashMap<TopicPartition, i64>,
    last_commits: HashMap<String, (Instant, i64)>,
    storage: StorageVitals,
    counted: Option<Instant>,
}

impl VitalsMonitor {
    /// Creates a monitor of an environment with the latencies of the last `window`.
    #[must_use]
    pub fn new(ports: Ports, env: EnvName, buckets: Buckets, objectives: Objectives, window: Duration) -> Self {
        Self {
            ports,
            env,
            buckets,
            objectives,
            window,
            count_objects_every: Duration::from_secs(15),
            letters: DeadLetterWatch::default(),
            samples: VecDeque::new(),
            read_to: HashMap::new(),
            last_commits: HashMap::new(),
            storage: StorageVitals::default(),
            counted: None,
        }
    }

    /// Collects the current vitals.
    ///
    /// # Errors
    /// Errors of the ports.
    pub async fn refresh(&mut self) -> Result<Vitals> {
        let now = self.ports.clock.now();
        Ok(Vitals {
            at: now,
            groups: self.groups().await?,
            latency: self.latency(now).await?,
            dead_letters: self.dead_letters().await?,
            storage: self.storage().await.whole()?,
        })
    }

    /// What the pipeline still has to do, by the groups as they were just read; without them they are read again, one by one.
    /// Dead letters that were counted before are not read again.
    pub(super) async fn owed(&mut self, groups: &[GroupVitals]) -> OwedWork {
        owed::read_with(self.ports.log.as_ref(), &self.env, groups, &mut self.letters).await
    }

    /// The lag and the members of each group of the pipeline.
    pub(super) async fn groups(&mut self) -> Result<Vec<GroupVitals>> {
        let log = self.ports.log.as_ref();
        let mut groups = lag::pipeline_groups(log, &self.env).await?;
        lag::count_records(log, &mut groups).await;
        let now = Instant::now();
        Ok(groups.into_iter().map(|group| self.with_rate(group, now)).collect())
    }

    fn with_rate(&mut self, lag: GroupLag, now: Instant) -> GroupVitals {
        let last = self.last_commits.insert(lag.group.to_string(), (now, lag.committed_total));
        let rate_per_second = last.and_then(|(then, total)| {
            let seconds = now.duration_since(then).as_secs_f64();
            (seconds > 0.0).then(|| ((lag.committed_total - total) as f64 / seconds).max(0.0))
        });
        let drained_in_seconds =
            rate_per_second.filter(|rate| *rate > 0.0 && lag.lag > 0).map(|rate| lag.lag as f64 / rate);
        GroupVitals { lag, rate_per_second, drained_in_seconds }
    }

    async fn latency(&mut self, now: Timestamp) -> Result<LatencyVitals> {
        self.read_new_samples().await?;
        let window = jiff::SignedDuration::try_from(self.window).unwrap_or(jiff::SignedDuration::from_hours(1));
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        self.samples.retain(|sample| sample.enriched_at >= since);
        let seconds: Vec<f64> = self.samples.iter().map(|sample| sample.seconds).collect();
        let limit = self.objectives.latency_seconds;
        let within = seconds.iter().filter(|value| **value <= limit).count();
        let within_objective = (!seconds.is_empty()).then(|| within as f64 / seconds.len() as f64);
        Ok(LatencyVitals {
            p95_seconds_over_time: spark(&self.samples, since, now),
            quantiles: quantiles(seconds),
            window_seconds: self.window.as_secs(),
            within_objective,
            objective_seconds: limit,
            objective: self.objectives.latency_objective,
            met: within_objective.map(|part| part >= self.objectives.latency_objective),
        })
    }

    async fn read_new_samples(&mut self) -> Result<()> {
        for partition in self.ports.log.offsets(&[topics::MEDIA_ENRICHED]).await? {
            let span = partition.span;
            let at = partition.at;
            let from = self.read_to.get(&at).copied().unwrap_or(span.high - TAIL).max(span.low);
            let mut pager = Pager::new(at.clone(), from, span.high);
            while let Some(records) = pager.next_page(self.ports.log.as_ref()).await? {
                records.iter().for_each(|record| self.take_sample(record.value.as_ref()));
            }
            self.read_to.insert(at, pager.position());
        }
        Ok(())
    }

    fn take_sample(&mut self, value: Option<&bytes::Bytes>) {
        let envelope = unframe(value).ok().and_then(|(_, json)| serde_json::from_slice::<EventEnvelope>(&json).ok());
        if let Some(envelope) = envelope {
            let took = envelope.occurred_at.duration_since(envelope.staged_at);
            self.samples
                .push_back(LatencySample { enriched_at: envelope.occurred_at, seconds: took.as_secs_f64().max(0.0) });
            if self.samples.len() > MAX_SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    /// The dead letters of each topic.
    pub(super) async fn dead_letters(&mut self) -> Result<Vec<DeadLetterVitals>> {
        let counts = self.letters.refresh(self.ports.log.as_ref()).await?;
        let of = |c: DeadLetterCounts| DeadLetterVitals { topic: c.topic, unresolved: c.unresolved, total: c.total };
        Ok(counts.into_iter().filter(|counts| !counts.parked).map(of).collect())
    }

    /// Counts the objects of each bucket, unless that was done just now, and reads the capacity.
    pub(super) async fn storage(&mut self) -> StorageReading {
        let mut errors = Vec::new();
        let due = self.counted.is_none_or(|counted| counted.elapsed() >= self.count_objects_every);
        if due {
            self.storage.buckets.clear();
            for bucket in self.buckets.all() {
                match self.ports.objects.usage(bucket, MAX_COUNTED).await {
                    Ok(usage) => self.storage.buckets.push(BucketVitals { bucket: bucket.clone(), usage }),
                    Err(error) => errors.push(error),
                }
            }
            self.storage.counted_at = Some(self.ports.clock.now());
            self.counted = errors.is_empty().then(Instant::now);
        }
        self.storage.capacity = self.ports.objects.capacity().await.unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        let used = self.storage.capacity.filter(|c| c.total_bytes > 0).map(|c| {
            let used = c.total_bytes.saturating_sub(c.free_bytes);
            used as f64 * 100.0 / c.total_bytes as f64
        });
        self.storage.used_percent = used;
        self.storage.warn = used.is_some_and(|percent| percent >= f64::from(self.objectives.storage_warn_percent));
        StorageReading { vitals: self.storage.clone(), errors }
    }
}

/// The 95th percentile of each slice of the window, for the sparkline.
fn spark(samples: &VecDeque<LatencySample>, since: Timestamp, now: Timestamp) -> Vec<Option<f64>> {
    let length = now.duration_since(since).as_secs_f64();
    if length <= 0.0 {
        return Vec::new();
    }
    let mut slices: Vec<Vec<f64>> = vec![Vec::new(); SPARK_POINTS];
    for sample in samples {
        let part = sample.enriched_at.duration_since(since).as_secs_f64() / length;
        let slice = ((part * SPARK_POINTS as f64) as usize).min(SPARK_POINTS - 1);
        slices[slice].push(sample.seconds);
    }
    slices.into_iter().map(|slice| quantiles(slice).map(|q| q.p95_seconds)).collect()
}
