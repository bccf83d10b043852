//! Enqueues records in a producer, and checks them beforehand.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::config::MAX_RECORD_BYTES;
use super::context::RawProducer;
use super::delivery::{DeliveredAt, DeliveryTicket};
use super::error::LibrdkafkaError;
use super::names::partition_number;
use mfctl_core::domain::{Headers, NewRecord, RecordAddress, TopicName};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Enqueues one record for a topic by its name on the wire.
///
/// # Errors
/// `QueueFull` while the producer has no room.
pub(super) fn enqueue(
    producer: &RawProducer,
    topic: &str,
    record: &NewRecord,
    ticket: DeliveryTicket,
) -> std::result::Result<(), LibrdkafkaError> {
    let mut message: BaseRecord<'_, [u8], [u8], Box<DeliveryTicket>> =
        BaseRecord::with_opaque_to(topic, Box::new(ticket));
    message.partition = record.partition.map(partition_number);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    // librdkafka takes 0 for the present time.
    message.timestamp = Some(record.timestamp.as_millisecond().max(1));
    message.headers = native_headers(&record.headers);
    producer.send(message).map_err(|(error, _)| LibrdkafkaError::from(error))
}

fn native_headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.0.is_empty() {
        return None;
    }
    let native = OwnedHeaders::new_with_capacity(headers.0.len());
    let add = |native: OwnedHeaders, header: &mfctl_core::domain::Header| {
        native.insert(Header { key: &header.name, value: header.value.as_deref() })
    };
    Some(headers.0.iter().fold(native, add))
}

/// Rejects a record over 1 MiB, which no broker accepts, before anything is sent.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_size(record: &NewRecord) -> Result<()> {
    let size = record.size_bytes();
    if size <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let message = format!("a record for {} has {size} bytes; at most {MAX_RECORD_BYTES} fit", record.topic);
    Err(Error::new(ErrorKind::Invalid, message))
}

/// The address of a delivered record of this topic.
pub(super) fn address_of((topic, (partition, offset)): (TopicName, DeliveredAt)) -> RecordAddress {
    RecordAddress { topic, partition: u32::try_from(partition).unwrap_or(0), offset }
}
