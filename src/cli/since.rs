//! The value of `--since`: a time in RFC 3339, or an age.

use std::str::FromStr;
use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime, civil};
use mfctl_core::humane::read_age;

/// Start of a range of time, as an operator gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At a point in time.
    At(Timestamp),
    /// This long before now.
    Ago(Duration),
}

impl Since {
    /// The point in time; the earliest possible for an age beyond the range of timestamps.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        if let Some(time) = clock_time(text) {
            return Err(ambiguous_time(text, time, &ZonedDateTime::now()));
        }
        read_age(text).map(Self::Ago).ok_or_else(|| {
            "give a time with its zone (2026-11-24T02:10:00Z) or how long ago (90s, 15m, 2h, 1h30m, 3d, 2w)".to_owned()
        })
    }
}

/// A time of day, with or without a leading zero.
fn clock_time(text: &str) -> Option<civil::Time> {
    match text.find(':')? {
        1 => format!("0{text}").parse().ok(),
        _ => text.parse().ok(),
    }
}

/// The error for a time of day without a zone. It gives both readings, so that the operator need not guess.
fn ambiguous_time(text: &str, time: civil::Time, now: &ZonedDateTime) -> String {
    let today = now.with_time_zone(jiff::tz::TimeZone::UTC).date();
    let utc = today.to_datetime(time).to_zoned_datetime(jiff::tz::TimeZone::UTC).map(|at| at.timestamp());
    let local = now.date().to_datetime(time).to_zoned_datetime(now.time_zone().clone()).map(|at| at.timestamp());
    match (utc, local) {
        (Ok(utc), Ok(local)) if utc != local => {
            format!("{text} could be {utc} (UTC) or {local} (this host's zone): give one of them")
        }
        (Ok(utc), _) => {
            format!("{text} could be {utc} (the time of day) or {} ago: give one of them", ago(time))
        }
        _ => format!("{text} has neither a zone nor a date: write it as 2026-11-24T02:10:00Z"),
    }
}

fn ago(time: civil::Time) -> String {
    format!("{}h{}m", time.hour(), time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_or_an_age() {
        let now: Timestamp = "2026-11-24T03:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-24T02:10:00Z", "2026-11-24T02:10:00Z"),
            ("2026-11-24T05:40:00+03:30", "2026-11-24T02:10:00Z"),
            ("50m", "2026-11-24T02:10:00Z"),
            ("1h30m", "2026-11-24T01:30:00Z"),
            ("2d", "2026-11-22T03:00:00Z"),
            ("500ms", "2026-11-24T02:59:59.5Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.resolve(now).to_string(), expected, "{text}");
        }
        for wrong in ["", "h", "2", "2x", "-2h", "yesterday", "99999999999999999999d", "2026-11-24"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_bare_clock_time_is_refused_with_both_readings() {
        let error = "02:10".parse::<Since>().unwrap_err();
        assert!(error.contains("T02:10:00Z") && error.contains(" or "), "{error}");
        let tehran: ZonedDateTime = "2026-11-24T06:30:00+03:30[+03:30]".parse().unwrap();
        let error = ambiguous_time("2:10", civil::time(2, 10, 0, 0), &tehran);
        assert!(error.contains("2026-11-24T02:10:00Z") && error.contains("2026-11-23T22:40:00Z"), "{error}");
    }
}
