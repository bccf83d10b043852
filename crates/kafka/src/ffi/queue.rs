//! A partition's own queue of fetched records, and wake-ups when a queue is no longer empty.
//!
//! rdkafka's `PartitionQueue` does not expose the offset of a partition's end, and panics at a header name that is not UTF-8;
//! it also takes one lock per record where this takes one per batch.

use std::borrow::Cow;
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;
use rdkafka_sys::{self as sys, RDKafkaErrorCode};
use tokio::sync::Notify;

use super::convert::text_at;
use crate::context::RawConsumer;
use mfctl_core::domain::event::header;
use mfctl_core::domain::{Header, Headers, Record, RecordAddress, Timestamp, TopicPartition};

/// How many records are taken under one lock.
const CHUNK: usize = 32;

/// An entry of a partition's queue.
#[derive(Debug)]
pub(crate) enum QueueItem {
    Record(RawRecord),
    /// The partition's end was at this offset at the last fetch.
    End(i64),
    /// The partition cannot be read.
    Failed(RDKafkaErrorCode),
}

/// A record without its topic and partition.
#[derive(Debug)]
pub(crate) struct RawRecord {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Headers,
}

/// A queue that wakes a waiting task when it is no longer empty. Dropped before the client that it belongs to.
struct NotifyingQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Kept because librdkafka holds a pointer to it.
    _waker: Arc<Notify>,
    _owner: Arc<RawConsumer>,
}

// SAFETY: librdkafka's queues are locked inside and may be used from any thread.
unsafe impl Send for NotifyingQueue {}
// SAFETY: as above.
unsafe impl Sync for NotifyingQueue {}

unsafe extern "C" fn wake(_: *mut sys::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: `waker` is the `Notify` that `NotifyingQueue` keeps until it removes the callback. librdkafka removes it under
    // the same lock that it holds while it calls back.
    unsafe { &*waker.cast::<Notify>() }.notify_one();
}

impl NotifyingQueue {
    /// Takes ownership of a queue from librdkafka; `None` for null.
    fn new(queue: *mut sys::rd_kafka_queue_t, waker: &Arc<Notify>, owner: &Arc<RawConsumer>) -> Option<Self> {
        let queue = NonNull::new(queue)?;
        let opaque = Arc::as_ptr(waker).cast_mut().cast::<c_void>();
        // SAFETY: the queue is alive, and so is the waker for as long as the callback is set.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake), opaque) };
        Some(Self { queue, _waker: Arc::clone(waker), _owner: Arc::clone(owner) })
    }
}

impl Drop for NotifyingQueue {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again; the owner lives until its field is dropped after this.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Wakes the consumer's task when there is an event to serve. Records in the partitions' own queues do not count.
pub(crate) struct QueueWaker(NotifyingQueue);

impl QueueWaker {
    /// Installs the wake-up on the consumer's queue.
    pub(crate) fn install(consumer: &Arc<RawConsumer>, waker: &Arc<Notify>) -> Option<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        NotifyingQueue::new(queue, waker, consumer).map(Self)
    }

    /// How many events are in the queue.
    pub(crate) fn pending_events(&self) -> usize {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.0.queue.as_ptr()) }
    }
}

/// A partition's fetched records, apart from the consumer's queue. A partition is paused by not reading its queue, which
/// discards nothing that was fetched, and events never queue up behind records.
pub(crate) struct PartitionQueue(NotifyingQueue);

impl PartitionQueue {
    /// Splits a partition from the consumer's queue. Must be done before the partition is assigned.
    pub(crate) fn split(consumer: &Arc<RawConsumer>, topic: &str, partition: i32, waker: &Arc<Notify>) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive and the name lives through the call.
        let queue =
            unsafe { sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NotifyingQueue::new(queue, waker, consumer)?;
        // SAFETY: the queue is alive; a null destination ends its forwarding for good.
        unsafe { sys::rd_kafka_queue_forward(queue.queue.as_ptr(), ptr::null_mut()) };
        Some(Self(queue))
    }

    /// Takes up to `max` entries, and up to 32, without waiting. Returns how many there were.
    pub(crate) fn take(&self, max: usize, mut sink: impl FnMut(QueueItem)) -> usize {
        let mut messages = [ptr::null_mut(); CHUNK];
        let wanted = max.min(CHUNK);
        // SAFETY: the array has room for `wanted` messages, and the queue is alive.
        let taken =
            unsafe { sys::rd_kafka_consume_batch_queue(self.0.queue.as_ptr(), 0, messages.as_mut_ptr(), wanted) };
        let taken = usize::try_from(taken).unwrap_or(0);
        for message in messages.into_iter().take(taken) {
            // SAFETY: librdkafka handed these messages over: each is read once and destroyed once.
            let item = unsafe { read(message) };
            // SAFETY: as above.
            unsafe { sys::rd_kafka_message_destroy(message) };
            sink(item);
        }
        taken
    }
}

/// # Safety
/// `message` is alive.
unsafe fn read(message: *const sys::rd_kafka_message_t) -> QueueItem {
    // SAFETY: the caller's promise.
    let fields = unsafe { &*message };
    match fields.err {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => return QueueItem::End(fields.offset),
        code => return QueueItem::Failed(code.into()),
    }
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: message and out-parameter are alive; the lengths are those of the pointers beside them, and all of it lives as
    // long as the message.
    unsafe {
        let timestamp_ms = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        let key = bytes(fields.key, fields.key_len);
        let value = bytes(fields.payload, fields.len);
        QueueItem::Record(RawRecord::copy(fields.offset, timestamp_ms, key, value, &headers(message)))
    }
}

impl RawRecord {
    /// Copies a record into one allocation: it has a dozen values, most of them a few bytes long.
    fn copy(
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(Cow<'static, str>, Option<&[u8]>)],
    ) -> Self {
        let all = || [key, value].into_iter().chain(headers.iter().map(|(_, value)| *value));
        let mut copied = Vec::with_capacity(all().flatten().map(<[u8]>::len).sum());
        all().flatten().for_each(|part| copied.extend_from_slice(part));
        let mut copied = Bytes::from(copied);
        let mut next = |part: Option<&[u8]>| part.map(|part| copied.split_to(part.len()));
        let key = next(key);
        let value = next(value);
        let headers = headers.iter().map(|(name, value)| Header { name: name.clone(), value: next(*value) }).collect();
        Self { offset, timestamp_ms, key, value, headers: Headers(headers) }
    }

    /// The record of this partition.
    pub(crate) fn into_record(self, at: &TopicPartition) -> Record {
        Record {
            address: RecordAddress { topic: at.topic.clone(), partition: at.partition, offset: self.offset },
            key: self.key,
            value: self.value,
            headers: self.headers,
            timestamp: Timestamp::from_millisecond(self.timestamp_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

/// Why headers are lost.
const HEADERS_LOST_REASON: &[u8] = b"the record has more than 100000 headers, or damaged ones, which cannot be read";

/// # Safety
/// `message` is alive.
unsafe fn headers<'a>(message: *const sys::rd_kafka_message_t) -> Vec<(Cow<'static, str>, Option<&'a [u8]>)> {
    let mut native = ptr::null_mut();
    // SAFETY: the caller's promise; the message keeps the headers.
    let found = unsafe { sys::rd_kafka_message_headers(message, &raw mut native) };
    match found {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => return Vec::new(),
        // librdkafka reads neither more than 100,000 headers nor damaged ones.
        _ => return vec![(Cow::Borrowed(header::HEADERS_LOST), Some(HEADERS_LOST_REASON))],
    }
    // SAFETY: the headers are alive.
    let count = unsafe { sys::rd_kafka_header_cnt(native) };
    let mut headers = Vec::with_capacity(count);
    for index in 0..count {
        let mut name = ptr::null();
        let mut value = ptr::null();
        let mut size = 0;
        // SAFETY: the headers and the out-parameters are alive; name and value live as long as the headers.
        unsafe {
            sys::rd_kafka_header_get_all(native, index, &raw mut name, &raw mut value, &raw mut size);
            headers.push((header::name(&text_at(name)), bytes(value, size)));
        }
    }
    headers
}

/// # Safety
/// `start` is null or the start of `length` bytes that live as long as the result is used.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}
