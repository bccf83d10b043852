//! The namespace: the prefix of every name on the wire, which is removed again when names are read.

use mfctl_core::domain::{GroupName, TopicName, TopicPartition};
use rdkafka::{Offset, TopicPartitionList};

/// A partition by its topic's name on the wire.
pub(super) type WirePartition = (String, i32);

/// Translates names to the wire and back.
#[derive(Debug, Clone)]
pub(super) struct WireNames {
    prefix: String,
}

impl WireNames {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The name on the wire of a topic, group or transactional id.
    pub(super) fn wire(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic of this namespace; `None` for one of another namespace, and for Kafka's internal ones.
    pub(super) fn topic(&self, wire: &str) -> Option<TopicName> {
        let name = wire.strip_prefix(&self.prefix)?;
        (!name.starts_with("__")).then(|| TopicName::new(name).ok().map(TopicName::interned)).flatten()
    }

    /// A group of this namespace.
    pub(super) fn group(&self, wire: &str) -> Option<GroupName> {
        GroupName::new(wire.strip_prefix(&self.prefix)?).ok()
    }

    /// A partition of this namespace.
    pub(super) fn partition(&self, topic: &str, partition: i32) -> Option<TopicPartition> {
        Some(TopicPartition::new(self.topic(topic)?, u32::try_from(partition).ok()?))
    }

    pub(super) fn wire_partition(&self, at: &TopicPartition) -> WirePartition {
        (self.wire(at.topic.as_str()), partition_number(at.partition))
    }

    /// These partitions, each with the same offset, for librdkafka.
    pub(super) fn partition_offsets(&self, partitions: &[TopicPartition], offset: i64) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            let mut element = list.add_partition(&self.wire(at.topic.as_str()), partition_number(at.partition));
            // librdkafka takes any number as an offset here.
            let _ = element.set_offset(Offset::from_raw(offset));
        }
        list
    }
}

/// These partitions, without offsets, for librdkafka.
pub(super) fn partition_list(partitions: &[WirePartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// A partition's number in librdkafka's type.
pub(super) fn partition_number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_namespaces_are_not_ours() {
        let names = WireNames::new("a.");
        assert_eq!(names.topic(&names.wire("media.ingested")).unwrap().as_str(), "media.ingested");
        assert_eq!(names.topic("b.media.ingested"), None);
        assert_eq!(WireNames::new("").topic("__consumer_offsets"), None);
        assert_eq!(names.group("a.mfctl.dev.persist").unwrap().as_str(), "mfctl.dev.persist");
    }
}
