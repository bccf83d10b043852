//! The time, so that rules about time can be tested without waiting.

use jiff::Timestamp;

/// Gives the time of day. It may jump; what must not is measured with `std::time::Instant`.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, moved by a fixed number of seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock {
    /// Added to the machine's time; other than 0 only in tests.
    pub offset_seconds: i64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Records keep milliseconds: a finer time would differ after a round trip.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        now.checked_add(jiff::SignedDuration::from_secs(self.offset_seconds)).unwrap_or(now)
    }
}
