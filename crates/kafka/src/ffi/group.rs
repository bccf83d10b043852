//! A consumer's group metadata, and committing its offsets in a transaction.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaError;
use rdkafka::producer::Producer as _;
use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use mfctl_core::domain::GroupGeneration;

use super::convert::{millis, text_of};
use crate::context::{RawConsumer, RawProducer};

/// A consumer's member id and generation at one moment. rdkafka's own type does not expose them, and a broker accepts offsets
/// without a member id from any client.
pub(crate) struct GroupMetadata(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: plain data that is never changed.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    /// The present metadata of a consumer.
    pub(crate) fn of(consumer: &RawConsumer) -> Option<Self> {
        // SAFETY: the client is alive; the copy is ours.
        let metadata = unsafe { sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        NonNull::new(metadata).map(Self)
    }

    /// The generation and the member id; `None` while the consumer is not in its group.
    pub(crate) fn generation(&self) -> Option<GroupGeneration> {
        // SAFETY: the data is ours, and the text lives as long.
        let member_id = unsafe { text_of(sys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())) };
        // SAFETY: the data is ours.
        let generation = unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) };
        (!member_id.is_empty() && generation >= 0).then(|| GroupGeneration { generation: generation.into(), member_id })
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: the data is ours and is not used again.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// The error of a call of the transaction API.
#[derive(Debug, Clone)]
pub(crate) struct TransactionCallError {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
    /// The same call may be repeated.
    pub(crate) retriable: bool,
    /// The producer is permanently unusable.
    pub(crate) fatal: bool,
}

impl From<&RDKafkaError> for TransactionCallError {
    fn from(error: &RDKafkaError) -> Self {
        Self { code: error.code(), text: error.string(), retriable: error.is_retriable(), fatal: error.is_fatal() }
    }
}

/// Adds a group's offsets to the open transaction, as this member.
pub(crate) fn send_offsets(
    producer: &RawProducer,
    offsets: &TopicPartitionList,
    member: &GroupMetadata,
    timeout: Duration,
) -> Result<(), TransactionCallError> {
    // SAFETY: client, list and metadata live through the call; the returned error is ours.
    let failed = NonNull::new(unsafe {
        sys::rd_kafka_send_offsets_to_transaction(
            producer.client().native_ptr(),
            offsets.ptr(),
            member.0.as_ptr(),
            millis(timeout),
        )
    });
    let Some(failed) = failed else { return Ok(()) };
    let error = failed.as_ptr();
    // SAFETY: the error is ours until it is destroyed, once.
    unsafe {
        let read = TransactionCallError {
            code: sys::rd_kafka_error_code(error).into(),
            text: text_of(sys::rd_kafka_error_string(error)),
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(read)
    }
}
