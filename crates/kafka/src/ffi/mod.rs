//! The calls of librdkafka that the `rdkafka` crate does not wrap, each behind a safe function. The only unsafe code of
//! mfctl; knows librdkafka's types and nothing of the ports.
//!
//! Every pointer that librdkafka gives away is owned by a struct here whose `Drop` gives it back, and every such struct
//! keeps the client alive that the pointer belongs to. librdkafka's handles may be used from any thread.

#![expect(unsafe_code, reason = "librdkafka is a C library; what rdkafka lacks is called here and nowhere else")]

pub(super) mod admin;
mod event;
mod group;
mod queue;

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka_sys as sys;

pub(super) use event::serve;
pub(super) use group::{Membership, TransactionError, send_offsets};
pub(super) use queue::{EventBell, Item, PartitionQueue, RawRecord};

use super::context::Context;

/// OpenSSL's option to clean nothing up when the process exits.
const OPENSSL_INIT_NO_ATEXIT: u64 = 0x0008_0000;

unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const std::ffi::c_void) -> std::ffi::c_int;
}

/// Lets OpenSSL live as long as the process: librdkafka's threads may still use it while `exit` runs, and would crash.
/// To be called before any client is made.
pub(super) fn keep_tls_to_the_end() {
    // SAFETY: may be called from any thread, any number of times; null means no settings.
    unsafe { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, std::ptr::null()) };
}

/// Sends what waits in a producer for company, for so long at most. Its acknowledgements are to be heard by polling.
///
/// rdkafka's `flush` polls for 100 ms whatever comes.
pub(super) fn flush(client: &Client<Context>, wait: Duration) {
    // SAFETY: the client is alive. That something is left is no error here.
    unsafe { sys::rd_kafka_flush(client.native_ptr(), millis(wait)) };
}

/// A C string as text; empty for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives through the call.
unsafe fn text_of(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { text_at(text) }.into_owned()
}

/// The same where it stands, copied only if it is not UTF-8.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives as long as what the answer is used for.
unsafe fn text_at<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Milliseconds as librdkafka takes them.
fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}
