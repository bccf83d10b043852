//! Records of the event log: what is published, what is read, and where it stands.

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
    /// The topic.
    pub topic: TopicName,
    /// The partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// The partition of that topic.
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

/// Where one record stands; as text, in JSON too, `<topic>:<partition>:<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RecordAddress {
    /// The topic.
    pub topic: TopicName,
    /// The partition, from 0.
    pub partition: u32,
    /// The offset in the partition, from 0.
    pub offset: i64,
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

/// One header: a name and bytes. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub name: Cow<'static, str>,
    /// Its value, byte for byte; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// A record's headers in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// Adds a header at the end.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: Some(value.into()) });
    }

    /// The bytes of the last header of that name, as Kafka's `lastHeader`.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|h| h.name == name).and_then(|h| h.value.as_ref())
    }

    /// The text of the last header of that name, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.last(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Removes every header whose name this holds for.
    pub fn remove_where(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.0.retain(|h| !unwanted(&h.name));
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len)).sum()
    }
}

/// A record to be published. Its timestamp is the writer's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Where to.
    pub topic: TopicName,
    /// A fixed partition; `None` lets the key decide ([`super::partition::partition_for_key`]).
    pub partition: Option<u32>,
    /// The key; records of one key keep their order.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    /// The record's own time (Kafka's CreateTime), millisecond precision.
    pub timestamp: Timestamp,
}

impl NewRecord {
    /// Bytes of key, value and headers: what limits count.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.size_bytes()
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub address: RecordAddress,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    /// The record's time, millisecond precision.
    pub timestamp: Timestamp,
}

impl Record {
    /// The partition it stands in.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.address.topic.clone(), self.address.partition)
    }

    /// Bytes of key, value and headers: what limits count.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_from_its_text() {
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
