//! The clock as a port, so that rules about time can be tested without waiting.

use jiff::{SignedDuration, Timestamp};

/// How far the clocks of two hosts of a platform may differ. Where the times of two hosts are compared, a smaller difference
/// decides nothing.
pub const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Wall clock. It may jump; durations are measured with `std::time::Instant`.
pub trait Clock: Send + Sync {
    /// Current time, to the millisecond.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, shifted by a fixed number of seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock {
    /// Seconds added to the machine's time; not 0 in tests alone.
    pub offset_seconds: i64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Records keep milliseconds: a finer time would not survive a round trip.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        now.checked_add(SignedDuration::from_secs(self.offset_seconds)).unwrap_or(now)
    }
}
