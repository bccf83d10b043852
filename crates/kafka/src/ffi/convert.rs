//! Conversions between C's types and Rust's.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::time::Duration;

/// A C string as text; empty for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives through the call.
pub(super) unsafe fn text_of(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { text_at(text) }.into_owned()
}

/// [`text_of`] without a copy, unless the text is not UTF-8.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives as long as the result is used.
pub(super) unsafe fn text_at<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// A timeout in milliseconds, in librdkafka's type.
pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
