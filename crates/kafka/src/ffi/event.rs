//! Queues of events: the answer to an admin call, and the errors and logs of a client that is not polled.

use std::ptr::NonNull;

use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use super::convert::{millis, text_of};
use crate::context::RawClient;

/// An event, owned.
pub(super) struct QueueEvent(NonNull<sys::rd_kafka_event_t>);

impl QueueEvent {
    /// Waits for the next event of a queue; `None` after the timeout.
    pub(super) fn next(queue: &EventQueue, timeout: std::time::Duration) -> Option<Self> {
        // SAFETY: the queue is alive; the event is ours.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(queue.ptr(), millis(timeout)) }).map(Self)
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    /// The event's error code and text, if it reports an error.
    pub(super) fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        // SAFETY: the event is alive, and so is its text.
        unsafe {
            let code = sys::rd_kafka_event_error(self.ptr());
            let is_error = code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            is_error.then(|| (code.into(), text_of(sys::rd_kafka_event_error_string(self.ptr()))))
        }
    }
}

impl Drop for QueueEvent {
    fn drop(&mut self) {
        // SAFETY: the event is ours and is not used again.
        unsafe { sys::rd_kafka_event_destroy(self.ptr()) };
    }
}

/// A queue of events.
pub(super) struct EventQueue<'a> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _client: &'a RawClient,
}

impl<'a> EventQueue<'a> {
    /// Creates a queue for the answer to one call.
    pub(super) fn new(client: &'a RawClient) -> Option<Self> {
        // SAFETY: the client is alive; the handle is ours.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.native_ptr()) })?;
        Some(Self { queue, _client: client })
    }

    /// The queue of the client's errors and logs.
    fn main(client: &'a RawClient) -> Option<Self> {
        // SAFETY: the client is alive; the handle is ours.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) })?;
        Some(Self { queue, _client: client })
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.as_ptr()
    }
}

impl Drop for EventQueue<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr()) };
    }
}

/// Passes the errors and logs in a client's main queue to its context. For clients that are not polled.
pub(crate) fn serve_events(client: &RawClient) {
    use rdkafka::ClientContext as _;
    let Some(queue) = EventQueue::main(client) else { return };
    while let Some(event) = QueueEvent::next(&queue, std::time::Duration::ZERO) {
        if let Some((level, facility, message)) = log_line(&event) {
            client.context().log_line(level, &facility, &message);
        } else if let Some((code, reason)) = event.error() {
            client.context().error(rdkafka::error::KafkaError::Global(code), &reason);
        }
    }
}

fn log_line(event: &QueueEvent) -> Option<(i32, String, String)> {
    let mut facility = std::ptr::null();
    let mut message = std::ptr::null();
    let mut level = 0;
    // SAFETY: event and out-parameters are alive; the texts live as long as the event. The result is -1 for any other event.
    unsafe {
        let result = sys::rd_kafka_event_log(event.ptr(), &raw mut facility, &raw mut message, &raw mut level);
        (result == 0).then(|| (level, text_of(facility), text_of(message)))
    }
}
