//! Safe functions around the calls of librdkafka that the `rdkafka` crate does not wrap. The only unsafe code of mfctl;
//! knows librdkafka's types and nothing of the ports.
//!
//! Every pointer that librdkafka hands out is owned by a struct here whose `Drop` frees it, and every such struct keeps the
//! client alive that the pointer belongs to. librdkafka's handles may be used from any thread.

#![expect(unsafe_code, reason = "librdkafka is a C library; only this module calls what rdkafka does not wrap")]

pub(super) mod admin;
mod convert;
mod event;
mod group;
mod queue;

use std::time::Duration;

use rdkafka_sys as sys;

pub(super) use event::serve_events;
pub(super) use group::{GroupMetadata, TransactionCallError, send_offsets};
#[cfg(test)]
pub(super) use queue::RawRecord;
pub(super) use queue::{PartitionQueue, QueueItem, QueueWaker};

use super::context::RawClient;
use convert::millis;

/// OpenSSL's option to free nothing when the process exits.
const OPENSSL_INIT_NO_ATEXIT: u64 = 0x0008_0000;

unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const std::ffi::c_void) -> std::ffi::c_int;
}

/// Keeps OpenSSL from freeing its state in `exit`: librdkafka's threads may still use it then, and would crash. Must be called
/// before the first client is created.
pub(super) fn keep_openssl_until_exit() {
    // SAFETY: may be called from any thread, any number of times; null means no settings.
    unsafe { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, std::ptr::null()) };
}

/// Sends records that a producer holds back for its `linger.ms`, for this long at most. Delivery reports come by polling.
///
/// rdkafka's own `flush` always polls for 100 ms.
pub(super) fn flush(client: &RawClient, timeout: Duration) {
    // SAFETY: the client is alive. A timeout with records left is no error here.
    unsafe { sys::rd_kafka_flush(client.native_ptr(), millis(timeout)) };
}
