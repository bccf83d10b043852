//! Safe functions around the calls of librdkafka that the `rdkafka` crate does not wrap. The only unsafe code of mfctl;
//! knows librdkafka's types and nothing of the ports.
//!
//! Every pointer that librdkafka hands out is owned by a struct here whose `Drop` frees it, and every such struct keeps the
//! client alive that the pointer belongs to. librdkafka's handles may be used from any thread.

#![expect(unsafe_code, reason = "librdkafka is a C library; only this module calls what rdkafka does not wrap")]

pub(super) mod admin;
mod event;
mod group;
mod queue;

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::time::Duration;

use rdkafka_sys as sys;

pub(super) use event::serve_events;
pub(super) use group::{GroupMetadata, TransactionCallError, send_offsets};
#[cfg(test)]
pub(super) use queue::RawRecord;
pub(super) use queue::{PartitionQueue, QueueItem, QueueWaker};

use super::context::RawClient;

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

/// A C string as text; empty for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives through the call.
unsafe fn text_of(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { text_at(text) }.into_owned()
}

/// [`text_of`] without a copy, unless the text is not UTF-8.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives as long as the result is used.
unsafe fn text_at<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// A timeout in milliseconds, in librdkafka's type.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
