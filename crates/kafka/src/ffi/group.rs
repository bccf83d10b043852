//! Who a consumer is in its group, and its offsets inside a transaction.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use super::{millis, text_of};
use crate::context::Context;

/// A consumer's place in its group at one moment. rdkafka's own type does not tell what is in it, and a broker takes
/// offsets without a member id from anybody.
pub(crate) struct Membership(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: plain data that nobody changes.
unsafe impl Send for Membership {}

impl Membership {
    /// The place the consumer has now.
    pub(crate) fn of(consumer: &BaseConsumer<Context>) -> Option<Self> {
        // SAFETY: the client is alive; the copy is ours.
        let metadata = unsafe { sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        NonNull::new(metadata).map(Self)
    }

    /// The member's id; `None` for one that is not in its group.
    pub(crate) fn member_id(&self) -> Option<String> {
        // SAFETY: the data is ours, and the text lives as long.
        let (id, generation) = unsafe {
            (
                text_of(sys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())),
                sys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()),
            )
        };
        (!id.is_empty() && generation >= 0).then_some(id)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: the data is ours and is not used again.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// Why a step of a transaction failed, and what librdkafka wants done about it.
#[derive(Debug, Clone)]
pub(crate) struct TransactionError {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
    /// The same call may be made again.
    pub(crate) retriable: bool,
    /// The producer is of no use any more.
    pub(crate) fatal: bool,
}

impl From<&RDKafkaError> for TransactionError {
    fn from(error: &RDKafkaError) -> Self {
        Self { code: error.code(), text: error.string(), retriable: error.is_retriable(), fatal: error.is_fatal() }
    }
}

/// Adds a group's offsets to the open transaction, on behalf of this member.
pub(crate) fn send_offsets(
    producer: &BaseProducer<Context>,
    offsets: &TopicPartitionList,
    member: &Membership,
    wait: Duration,
) -> Result<(), TransactionError> {
    // SAFETY: client, list and membership live through the call; the error it answers is ours.
    let failed = NonNull::new(unsafe {
        sys::rd_kafka_send_offsets_to_transaction(
            producer.client().native_ptr(),
            offsets.ptr(),
            member.0.as_ptr(),
            millis(wait),
        )
    });
    let Some(failed) = failed else { return Ok(()) };
    let error = failed.as_ptr();
    // SAFETY: the error is ours until it is destroyed, once.
    unsafe {
        let read = TransactionError {
            code: sys::rd_kafka_error_code(error).into(),
            text: text_of(sys::rd_kafka_error_string(error)),
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(read)
    }
}
