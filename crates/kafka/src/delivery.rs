//! What came of records that were handed to a producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Message as _;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult};
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::Notify;

use super::config::MAX_RECORD_BYTES;
use super::context::Context;
use super::error::Failure;
use mfctl_core::domain::{Headers, NewRecord};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Where a record stands, or why it stands nowhere.
type Delivered = std::result::Result<(i32, i64), Code>;

/// Records sent together.
#[derive(Debug)]
pub(super) struct Batch {
    delivered: Mutex<Vec<Option<Delivered>>>,
    left: AtomicUsize,
    done: Notify,
}

/// One record's place in its batch.
#[derive(Debug)]
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Ticket {
    /// Notes what came of the record.
    pub(super) fn done(&self, delivered: &DeliveryResult<'_>) {
        let delivered = match delivered {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.batch.note(self.index, delivered);
    }
}

impl Batch {
    pub(super) fn new(records: usize) -> Arc<Self> {
        let delivered = Mutex::new(vec![None; records]);
        Arc::new(Self { delivered, left: AtomicUsize::new(records), done: Notify::new() })
    }

    fn note(&self, index: usize, delivered: Delivered) {
        let mut all = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot @ None) = all.get_mut(index) {
            *slot = Some(delivered);
            drop(all);
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.notify_one();
            }
        }
    }

    /// Counts records out that were never handed over.
    pub(super) fn give_up(&self, from: usize, code: Code) {
        let count = self.delivered.lock().unwrap_or_else(PoisonError::into_inner).len();
        (from..count).for_each(|index| self.note(index, Err(code)));
    }

    /// Records whose fate is open.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// Waits until the fate of every record is known. For one waiter.
    pub(super) async fn wait(&self) {
        while self.left() > 0 {
            self.done.notified().await;
        }
    }

    /// Where each record stands; else the first that stands nowhere, with the reason.
    pub(super) fn outcome(&self) -> std::result::Result<Vec<(i32, i64)>, (usize, Failure)> {
        let all = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(index, delivered): (usize, &Option<Delivered>)| match delivered {
            Some(Ok(stands)) => Ok(*stands),
            Some(Err(code)) => Err((index, Failure::of(*code))),
            None => Err((index, Failure::of(Code::InProgress))),
        };
        all.iter().enumerate().map(one).collect()
    }
}

/// Hands one record over. `QueueFull` while the producer has no room.
pub(super) fn hand_over(
    producer: &BaseProducer<Context>,
    topic: &str,
    record: &NewRecord,
    (batch, index): (&Arc<Batch>, usize),
) -> std::result::Result<(), Failure> {
    let ticket = Box::new(Ticket { batch: Arc::clone(batch), index });
    let mut message: BaseRecord<'_, [u8], [u8], Box<Ticket>> = BaseRecord::with_opaque_to(topic, ticket);
    message.partition = record.partition.map(|partition| i32::try_from(partition).unwrap_or(i32::MAX));
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    // librdkafka takes 0 for now.
    message.timestamp = Some(record.timestamp.as_millisecond().max(1));
    message.headers = headers(&record.headers);
    producer.send(message).map_err(|(error, _)| Failure::from(error))
}

fn headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.0.is_empty() {
        return None;
    }
    let native = OwnedHeaders::new_with_capacity(headers.0.len());
    let add = |native: OwnedHeaders, header: &mfctl_core::domain::Header| {
        native.insert(Header { key: &header.name, value: header.value.as_deref() })
    };
    Some(headers.0.iter().fold(native, add))
}

/// Refuses a record that no broker would take, before anything is sent.
pub(super) fn check_size(record: &NewRecord) -> Result<()> {
    let size = record.size_bytes();
    if size <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let message = format!("a record for {} has {size} bytes; at most {MAX_RECORD_BYTES} fit", record.topic);
    Err(Error::new(ErrorKind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_is_done_when_the_fate_of_each_record_is_known() {
        let batch = Batch::new(3);
        batch.note(1, Ok((0, 7)));
        batch.note(1, Err(Code::Fail));
        assert_eq!(batch.left(), 2, "what is known stays");
        batch.note(0, Ok((0, 6)));
        batch.give_up(2, Code::QueueFull);
        batch.wait().await;
        let (index, failure) = batch.outcome().unwrap_err();
        assert_eq!((index, failure.code), (2, Code::QueueFull));
    }
}
