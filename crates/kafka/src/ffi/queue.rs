//! A partition's own queue of fetched records, and the bells that ring when a queue stops being empty.
//!
//! rdkafka's `PartitionQueue` hides at which offset a partition ended and panics at a header name that is not UTF-8;
//! it also takes one lock per record where this takes one per batch.

use std::borrow::Cow;
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka_sys::{self as sys, RDKafkaErrorCode};
use tokio::sync::Notify;

use super::text_at;
use crate::context::Context;
use mfctl_core::domain::event::header;
use mfctl_core::domain::{Header, Headers};

type Consumer = BaseConsumer<Context>;

/// Records taken from librdkafka under one lock.
const CHUNK: usize = 32;

/// What stands in a partition's queue.
#[derive(Debug)]
pub(crate) enum Item {
    /// A record.
    Record(RawRecord),
    /// The partition ended at this offset when it was asked last.
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

/// A queue handle with a bell on it. Dropped before the client that it belongs to.
struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Kept because librdkafka holds a pointer to it.
    _bell: Arc<Notify>,
    _owner: Arc<Consumer>,
}

// SAFETY: librdkafka's queues are locked inside and may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

unsafe extern "C" fn ring(_: *mut sys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `bell` is the `Notify` that `Queue` keeps until the callback is taken away, which librdkafka does under
    // the lock it calls back under.
    unsafe { &*bell.cast::<Notify>() }.notify_one();
}

impl Queue {
    /// Takes over a queue that librdkafka gave away.
    fn new(queue: *mut sys::rd_kafka_queue_t, bell: &Arc<Notify>, owner: &Arc<Consumer>) -> Option<Self> {
        let queue = NonNull::new(queue)?;
        let opaque = Arc::as_ptr(bell).cast_mut().cast::<c_void>();
        // SAFETY: the queue is alive, and so is the bell for as long as the callback is set.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(ring), opaque) };
        Some(Self { queue, _bell: Arc::clone(bell), _owner: Arc::clone(owner) })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again; the owner lives until its field is dropped after this.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Rings when the consumer has an event to serve. Partitions with queues of their own do not ring it.
pub(crate) struct EventBell(Queue);

impl EventBell {
    /// Hangs the bell on the consumer's queue.
    pub(crate) fn hang(consumer: &Arc<Consumer>, bell: &Arc<Notify>) -> Option<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Queue::new(queue, bell, consumer).map(Self)
    }

    /// How many events wait.
    pub(crate) fn waiting(&self) -> usize {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.0.queue.as_ptr()) }
    }
}

/// A partition's records, apart from the consumer's queue: not reading it is pausing it, without throwing away what is
/// fetched, and events never wait behind records.
pub(crate) struct PartitionQueue(Queue);

impl PartitionQueue {
    /// Splits a partition from the consumer's queue. To be done before the partition is assigned.
    pub(crate) fn split(consumer: &Arc<Consumer>, topic: &str, partition: i32, bell: &Arc<Notify>) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive and the name lives through the call.
        let queue =
            unsafe { sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = Queue::new(queue, bell, consumer)?;
        // SAFETY: the queue is alive; a null destination ends its forwarding for good.
        unsafe { sys::rd_kafka_queue_forward(queue.queue.as_ptr(), ptr::null_mut()) };
        Some(Self(queue))
    }

    /// Takes what is there, at most `max` and at most 32, without waiting. Answers how many it were.
    pub(crate) fn take(&self, max: usize, mut sink: impl FnMut(Item)) -> usize {
        let mut messages = [ptr::null_mut(); CHUNK];
        let wanted = max.min(CHUNK);
        // SAFETY: the array has room for `wanted` messages, and the queue is alive.
        let got = unsafe { sys::rd_kafka_consume_batch_queue(self.0.queue.as_ptr(), 0, messages.as_mut_ptr(), wanted) };
        let got = usize::try_from(got).unwrap_or(0);
        for message in messages.into_iter().take(got) {
            // SAFETY: librdkafka gave these messages away: each is read once and destroyed once.
            let item = unsafe { read(message) };
            // SAFETY: as above.
            unsafe { sys::rd_kafka_message_destroy(message) };
            sink(item);
        }
        got
    }
}

/// # Safety
/// `message` is alive.
unsafe fn read(message: *const sys::rd_kafka_message_t) -> Item {
    // SAFETY: the caller's promise.
    let fields = unsafe { &*message };
    match fields.err {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => return Item::End(fields.offset),
        code => return Item::Failed(code.into()),
    }
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: message and out-parameter are alive; the lengths are those of the pointers beside them, and all of it lives as
    // long as the message.
    unsafe {
        let timestamp_ms = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        let (key, value) = (bytes(fields.key, fields.key_len), bytes(fields.payload, fields.len));
        Item::Record(RawRecord::copy(fields.offset, timestamp_ms, key, value, &headers(message)))
    }
}

impl RawRecord {
    /// Copies a record into one piece of memory: it has a dozen of values, and most are a few bytes.
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
        let (key, value) = (next(key), next(value));
        let headers = headers.iter().map(|(name, value)| Header { name: name.clone(), value: next(*value) }).collect();
        Self { offset, timestamp_ms, key, value, headers: Headers(headers) }
    }
}

/// # Safety
/// `message` is alive.
unsafe fn headers<'a>(message: *const sys::rd_kafka_message_t) -> Vec<(Cow<'static, str>, Option<&'a [u8]>)> {
    let mut native = ptr::null_mut();
    // SAFETY: the caller's promise; the headers stay the message's.
    let found = unsafe { sys::rd_kafka_message_headers(message, &raw mut native) };
    if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    // SAFETY: the headers are alive.
    let count = unsafe { sys::rd_kafka_header_cnt(native) };
    let mut headers = Vec::with_capacity(count);
    for index in 0..count {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers and the out-parameters are alive; what comes out lives as long as the headers.
        unsafe {
            sys::rd_kafka_header_get_all(native, index, &raw mut name, &raw mut value, &raw mut size);
            headers.push((header::name(&text_at(name)), bytes(value, size)));
        }
    }
    headers
}

/// # Safety
/// `start` is null or the begin of `length` bytes that live as long as what the answer is used for.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}
