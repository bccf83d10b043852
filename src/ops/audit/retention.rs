//! What retention left of an output topic, and so which missing events it may have removed.

use std::collections::BTreeMap;

use mfctl_core::domain::{AssetId, Record, Timestamp, partition};
use mfctl_core::ports::{MAX_CLOCK_SKEW, PartitionOffsets};

/// The partitions of a topic as far as they were read.
#[derive(Debug, Default)]
pub(super) struct RetainedPartitions {
    /// Time of the first record of each partition; `None` while none was read.
    oldest: BTreeMap<u32, Option<Timestamp>>,
    /// Whether the first records of a partition were removed.
    cut: bool,
    /// Whether a record is in another partition than its key belongs to: partitions were added after it was written.
    repartitioned: bool,
}

impl RetainedPartitions {
    /// The partitions of a topic, before their records are read.
    pub(super) fn of(partitions: &[PartitionOffsets]) -> Self {
        Self {
            oldest: partitions.iter().map(|one| (one.at.partition, None)).collect(),
            cut: partitions.iter().any(|one| one.span.low > 0),
            repartitioned: false,
        }
    }

    /// Takes a record. Those of a partition come in the order of their offsets.
    pub(super) fn take(&mut self, record: &Record) {
        let partitions = self.count();
        let oldest = self.oldest.entry(record.address.partition).or_default();
        oldest.get_or_insert(record.timestamp);
        if let Some(key) = &record.key {
            self.repartitioned |= partition::partition_for_key(key, partitions) != record.address.partition;
        }
    }

    /// Whether retention may have removed an event of this asset that was written at `written_after` or later: unless it must
    /// be younger than the oldest record of its partition. After partitions were added it may be in any of them.
    pub(super) fn may_have_removed(&self, asset: AssetId, written_after: Timestamp) -> bool {
        let own = partition::partition_for_key(asset.to_string().as_bytes(), self.count());
        let mut oldest = self.oldest.iter().filter(|(at, _)| self.repartitioned || **at == own);
        let is_younger = |oldest: Timestamp| written_after.duration_since(oldest) >= MAX_CLOCK_SKEW;
        self.cut && oldest.any(|(_, oldest)| !oldest.is_some_and(is_younger))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.oldest.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::lag::PartitionSpan;
    use mfctl_core::domain::names::topics::MEDIA_INGESTED;
    use mfctl_core::domain::{Headers, RecordAddress, Sha256, Tenant, TopicPartition};

    const PARTITIONS: u32 = 3;

    fn asset(partition: u32) -> AssetId {
        let mut assets = (0u32..).map(|n| AssetId::of(&Tenant::default(), &Sha256::of(&n.to_be_bytes())));
        assets.find(|asset| own_partition(*asset) == partition).unwrap()
    }

    fn own_partition(asset: AssetId) -> u32 {
        partition::partition_for_key(asset.to_string().as_bytes(), PARTITIONS)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A topic of which the first records of partition 0 were removed.
    fn retained(lows: [i64; 3]) -> RetainedPartitions {
        let partitions = lows.iter().zip(0..).map(|(low, partition)| PartitionOffsets {
            at: TopicPartition::new(MEDIA_INGESTED, partition),
            span: PartitionSpan { low: *low, high: 100 },
        });
        RetainedPartitions::of(&partitions.collect::<Vec<_>>())
    }

    fn record(partition: u32, asset: AssetId, second: i64) -> Record {
        Record {
            address: RecordAddress { topic: MEDIA_INGESTED, partition, offset: 0 },
            key: Some(asset.to_string().into()),
            value: None,
            headers: Headers::default(),
            timestamp: at(second),
        }
    }

    #[test]
    fn nothing_is_missing_by_retention_where_no_record_was_removed() {
        assert!(!retained([0, 0, 0]).may_have_removed(asset(0), at(0)));
    }

    #[test]
    fn an_event_younger_than_the_oldest_record_of_its_partition_was_not_removed() {
        let mut retained = retained([7, 0, 0]);
        retained.take(&record(0, asset(0), 1_000_000));
        retained.take(&record(0, asset(0), 2_000_000));
        let skew = MAX_CLOCK_SKEW.as_secs();
        let times = [0, 1_000_000, 999_999 + skew, 1_000_000 + skew, 1_500_000];
        let removed = times.map(|second| retained.may_have_removed(asset(0), at(second)));
        assert_eq!(removed, [true, true, true, false, false]);
        assert!(retained.may_have_removed(asset(1), at(1_500_000)), "its partition is empty");
    }

    #[test]
    fn after_partitions_were_added_an_event_may_have_been_in_each_of_them() {
        let mut retained = retained([7, 0, 0]);
        retained.take(&record(0, asset(0), 1_000_000));
        retained.take(&record(1, asset(1), 9_000_000));
        retained.take(&record(2, asset(2), 1_000_000));
        assert!(!retained.may_have_removed(asset(0), at(5_000_000)));
        retained.take(&record(2, asset(1), 1_000_000));
        assert!(retained.may_have_removed(asset(0), at(5_000_000)));
        assert!(!retained.may_have_removed(asset(0), at(9_900_000)));
    }
}
