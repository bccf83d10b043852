//! The SDK's values as the port's.

use mfctl_core::domain::Timestamp;

/// A time truncated to whole seconds: `HEAD` answers in seconds and listings in fractions, and the two have to agree.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The SDK's time in whole seconds; the epoch where the store sent none.
pub(super) fn timestamp(time: Option<&aws_sdk_s3::primitives::DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A size in bytes; 0 where the store sent none.
pub(super) fn size(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}
