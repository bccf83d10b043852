//! Records of the event log, their headers and their addresses.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::ParseIdError;
use super::names::TopicName;

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: TopicName,
    /// Partition, counted from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Creates a partition's address.
    #[must_use]
    pub fn new(topic: TopicName, partition: u32) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

/// The address of a record; as text, in JSON too, `<topic>:<partition>:<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RecordAddress {
    /// Topic name.
    pub topic: TopicName,
    /// Partition, counted from 0.
    pub partition: u32,
    /// Offset in the partition, counted from 0.
    pub offset: i64,
}

impl RecordAddress {
    /// The partition of the record.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }
}

impl fmt::Display for RecordAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for RecordAddress {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.rsplitn(3, ':');
            let offset = parts.next()?.parse::<i64>().ok().filter(|offset| *offset >= 0)?;
            let partition = parts.next()?.parse().ok()?;
            let topic = TopicName::new(parts.next()?).ok()?;
            Some(Self { topic, partition, offset })
        };
        parse().ok_or_else(|| ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "a record's address (<topic>:<partition>:<offset>)",
        })
    }
}

impl From<RecordAddress> for String {
    fn from(address: RecordAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for RecordAddress {
    type Error = ParseIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl JsonSchema for RecordAddress {
    fn schema_name() -> Cow<'static, str> {
        "RecordAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}:[0-9]+:[0-9]+$" })
    }
}

/// A header of a record. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Header name.
    pub name: Cow<'static, str>,
    /// Header value, byte for byte; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// The headers of a record, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// Appends a header.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: Some(value.into()) });
    }

    /// Value of the last header of this name, as Kafka's `lastHeader`.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|h| h.name == name).and_then(|h| h.value.as_ref())
    }

    /// Value of the last header of this name as text; `None` if it is not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.last(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Removes every header whose name matches.
    pub fn remove_where(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.0.retain(|h| !unwanted(&h.name));
    }

    /// Size of all names and values in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len)).sum()
    }
}

/// A record to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Topic to publish to.
    pub topic: TopicName,
    /// Fixed partition; `None` chooses it by the key ([`super::partition::partition_for_key`]).
    pub partition: Option<u32>,
    /// Key; records of one key keep their order.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// Kafka's CreateTime, to the millisecond.
    pub timestamp: Timestamp,
}

impl NewRecord {
    /// Size of key, value and headers in bytes, as limits count it.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.size_bytes()
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Topic, partition and offset.
    pub address: RecordAddress,
    /// Key; records of one key keep their order.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// Kafka's timestamp, to the millisecond.
    pub timestamp: Timestamp,
}

impl Record {
    /// Partition of the record.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        self.address.topic_partition()
    }

    /// Size of key, value and headers in bytes, as limits count it.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_addresses_round_trip_as_text() {
        let text = "media.ingested.dlq:3:42";
        let address: RecordAddress = text.parse().unwrap();
        assert_eq!((address.topic.as_str(), address.partition, address.offset), ("media.ingested.dlq", 3, 42));
        assert_eq!(address.to_string(), text);
        assert_eq!(serde_json::to_value(&address).unwrap(), text);
        assert_eq!(serde_json::from_value::<RecordAddress>(text.into()).unwrap(), address);
        for wrong in ["", "a", "a:1", "a:x:1", "a:1:-1", ":1:1", "a b:1:1"] {
            assert!(wrong.parse::<RecordAddress>().is_err(), "{wrong:?}");
        }
    }
}
