//! The events of a client that nobody polls: an admin client's errors and logs.

use std::ptr::NonNull;

use rdkafka::client::Client;
use rdkafka_sys::{self as sys, RDKafkaErrorCode};

use super::{millis, text_of};
use crate::context::Context;

/// An event of librdkafka.
pub(super) struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    /// Waits for the next event of a queue.
    pub(super) fn next(queue: &Queue, wait: std::time::Duration) -> Option<Self> {
        // SAFETY: the queue is alive; the event is ours.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(queue.ptr(), millis(wait)) }).map(Self)
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    /// What failed, if this event says so.
    pub(super) fn failure(&self) -> Option<(RDKafkaErrorCode, String)> {
        // SAFETY: the event is alive, and so is its text.
        unsafe {
            let code = sys::rd_kafka_event_error(self.ptr());
            let failed = code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            failed.then(|| (code.into(), text_of(sys::rd_kafka_event_error_string(self.ptr()))))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and is not used again.
        unsafe { sys::rd_kafka_event_destroy(self.ptr()) };
    }
}

/// A queue of a client.
pub(super) struct Queue<'a> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _client: &'a Client<Context>,
}

impl<'a> Queue<'a> {
    /// A new queue, for the answer to one call.
    pub(super) fn new(client: &'a Client<Context>) -> Option<Self> {
        // SAFETY: the client is alive; the handle is ours.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.native_ptr()) })?;
        Some(Self { queue, _client: client })
    }

    fn main(client: &'a Client<Context>) -> Option<Self> {
        // SAFETY: the client is alive; the handle is ours.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) })?;
        Some(Self { queue, _client: client })
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.as_ptr()
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is not used again.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr()) };
    }
}

/// Hands the errors and logs that wait in a client's main queue to its context. For clients that are not polled.
pub(crate) fn serve(client: &Client<Context>) {
    use rdkafka::ClientContext as _;
    let Some(queue) = Queue::main(client) else { return };
    while let Some(event) = Event::next(&queue, std::time::Duration::ZERO) {
        if let Some((level, facility, message)) = log_line(&event) {
            client.context().log_line(level, &facility, &message);
        } else if let Some((code, reason)) = event.failure() {
            client.context().error(rdkafka::error::KafkaError::Global(code), &reason);
        }
    }
}

fn log_line(event: &Event) -> Option<(i32, String, String)> {
    let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: event and out-parameters are alive; the texts live as long as the event. Not a log event: -1.
    unsafe {
        let found = sys::rd_kafka_event_log(event.ptr(), &raw mut facility, &raw mut message, &raw mut level);
        (found == 0).then(|| (level, text_of(facility), text_of(message)))
    }
}
