//! How much librdkafka prefetches.
//!
//! With a queue for each partition, `queued.max.messages.kbytes` limits each partition, and cannot be changed later. So
//! a member's budget is divided by the number of partitions that may be assigned to it. A partition may exceed its
//! share by one fetch, which is limited before it is decompressed and small in comparison, or by one batch of records,
//! which a broker returns whatever its size. A batch has up to the `max.message.bytes` of the topic on the wire, and 1
//! MB in memory where mfctl or another librdkafka with the default `batch.size` produced it. So the bound is
//!
//! ```text
//! partitions × max(share + fetch, largest batch)
//! ```
//!
//! of those partitions that have a backlog. Measured for a member of 256 partitions with a budget of 24 MiB that
//! consumes nothing, as the memory of its process: 78 MiB with batches of 16 KiB, 316 MiB with batches of 1 MB. A lower
//! bound would take fewer partitions that are fetched at a time, by pausing the others.

use mfctl_core::domain::record_limits::MAX_RECORD_BYTES;

/// The most for one partition, however few there are.
const MAX_PARTITION_BYTES: usize = 4 << 20;
/// How much of a partition's share is one fetch.
const FETCHES_PER_SHARE: usize = 4;
/// A smaller fetch seldom returns more than one batch.
const MIN_FETCH_BYTES: usize = 16 << 10;

/// Limits of each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrefetchLimits {
    /// A partition with this many KiB in its queue is not fetched.
    pub(super) queued_kib: usize,
    /// The size of one fetch.
    pub(super) fetch_bytes: usize,
}

impl PrefetchLimits {
    /// The limits of a consumer that may read all of this many partitions and prefetch this many bytes in all.
    pub(super) fn new(budget_bytes: usize, partitions: usize) -> Self {
        let share = (budget_bytes / partitions.max(1)).min(MAX_PARTITION_BYTES);
        Self {
            queued_kib: (share >> 10).max(1),
            fetch_bytes: (share / FETCHES_PER_SHARE).clamp(MIN_FETCH_BYTES, MAX_RECORD_BYTES),
        }
    }

    /// The limits of a reader of few partitions, each of which is read to its end.
    pub(super) fn of_reader() -> Self {
        Self::new(MAX_PARTITION_BYTES, 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
    use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

    use super::*;
    use crate::config::KafkaConfig;

    const PARTITIONS: i32 = 16;
    const BUDGET_BYTES: usize = 6 << 20;
    const RECORD_BYTES: usize = 16 << 10;
    /// Twice the budget in all.
    const RECORDS_PER_PARTITION: usize = 2 * BUDGET_BYTES / PARTITIONS as usize / RECORD_BYTES;
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Counts the bytes in the queues of all partitions, and the statistics since that number last changed.
    #[derive(Default)]
    struct QueuedBytes {
        bytes: AtomicU64,
        unchanged: AtomicU64,
    }

    #[derive(Clone, Default)]
    struct QueueStatistics(Arc<QueuedBytes>);

    impl ClientContext for QueueStatistics {
        fn stats(&self, statistics: Statistics) {
            let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
            let bytes = partitions.map(|partition| partition.fetchq_size).sum();
            match self.0.bytes.swap(bytes, Ordering::Relaxed) == bytes {
                true => self.0.unchanged.fetch_add(1, Ordering::Relaxed),
                false => self.0.unchanged.swap(0, Ordering::Relaxed),
            };
        }
    }

    impl ConsumerContext for QueueStatistics {}

    fn fill_topic(mock: &MockCluster<'static, DefaultProducerContext>) {
        mock.create_topic("in", PARTITIONS, 1).unwrap();
        let mut config = KafkaConfig::new("x", mock.bootstrap_servers()).producer();
        config.set("compression.type", "none").set("batch.size", RECORD_BYTES.to_string()).set("linger.ms", "0");
        let producer: ThreadedProducer<_> = config.create_with_context(DefaultProducerContext).unwrap();
        let value = vec![0; RECORD_BYTES];
        for _ in 0..RECORDS_PER_PARTITION {
            for partition in 0..PARTITIONS {
                let record = BaseRecord::<(), _>::to("in").partition(partition).payload(&value);
                producer.send(record).unwrap();
            }
        }
        producer.flush(TIMEOUT).unwrap();
    }

    #[test]
    fn member_that_consumes_nothing_prefetches_within_its_budget() {
        let mock = MockCluster::new(1).unwrap();
        fill_topic(&mock);
        let limits = PrefetchLimits::new(BUDGET_BYTES, PARTITIONS as usize);
        let mut config = KafkaConfig::new("x", mock.bootstrap_servers()).member("g", "a", TIMEOUT, limits);
        config.set("statistics.interval.ms", "100");
        let queued = QueueStatistics::default();
        let consumer: Arc<BaseConsumer<_>> = Arc::new(config.create_with_context(queued.clone()).unwrap());
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset("in", partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let queues: Vec<_> =
            (0..PARTITIONS).map(|partition| consumer.split_partition_queue("in", partition).unwrap()).collect();
        let end = Instant::now() + TIMEOUT;
        while queued.0.bytes.load(Ordering::Relaxed) == 0 || queued.0.unchanged.load(Ordering::Relaxed) < 5 {
            assert!(Instant::now() < end, "it goes on fetching");
            assert!(consumer.poll(Duration::from_millis(20)).is_none());
        }
        let bytes = usize::try_from(queued.0.bytes.load(Ordering::Relaxed)).unwrap();
        assert!(bytes >= BUDGET_BYTES / 2, "{bytes} bytes are too few to keep a worker busy");
        let bound = queues.len() * ((limits.queued_kib << 10) + limits.fetch_bytes);
        assert!(bytes <= bound, "{bytes} bytes, and not {bound} at most");
    }

    #[test]
    fn few_partitions_have_the_greatest_share() {
        let limits = |partitions| PrefetchLimits::new(24 << 20, partitions);
        assert_eq!(limits(1), PrefetchLimits { queued_kib: 4096, fetch_bytes: MAX_RECORD_BYTES });
        assert_eq!(limits(6), limits(1), "a topic's default number of partitions");
        assert_eq!(limits(256), PrefetchLimits { queued_kib: 96, fetch_bytes: 24 << 10 });
        assert_eq!(limits(1 << 20), PrefetchLimits { queued_kib: 1, fetch_bytes: MIN_FETCH_BYTES });
        assert_eq!(limits(0), limits(1));
        assert_eq!(PrefetchLimits::new(12 << 20, 128), limits(256), "half the budget for half the partitions");
        assert_eq!(PrefetchLimits::of_reader(), limits(1));
    }
}
