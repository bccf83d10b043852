//! Enqueues records in a producer, and checks them beforehand.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::context::RawProducer;
use super::delivery::{DeliveredAt, DeliveryTicket};
use super::error::LibrdkafkaError;
use super::names::partition_number;
use mfctl_core::domain::{Headers, NewRecord, RecordAddress, TopicName, record_limits};
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

/// Rejects a record beyond the limits of the contract before anything is sent.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_size(record: &NewRecord) -> Result<()> {
    record_limits::check(record).map_err(|too_large| Error::new(ErrorKind::Invalid, too_large.to_string()))
}

/// Rejects a record that no producer of ours takes. Whether the broker takes a smaller one depends on its compressed size.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_compressible_size(record: &NewRecord) -> Result<()> {
    check_size(record).or_else(|error| match record_limits::may_compress(record) {
        true => Ok(()),
        false => Err(error),
    })
}

/// The address of a delivered record of this topic.
pub(super) fn address_of((topic, (partition, offset)): (TopicName, DeliveredAt)) -> RecordAddress {
    RecordAddress { topic, partition: u32::try_from(partition).unwrap_or(0), offset }
}
