//! Numbers and times as people read and write them. JSON carries the plain numbers; these are for tables and messages only.

use std::time::Duration;

use jiff::{Timestamp, Unit};

/// What a duration looks like.
pub const DURATION: &str = "a duration such as \"25s\", \"1h30m\" or 25 (seconds)";

/// The unit of a duration and its milliseconds, longest first.
pub const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `25s`, `1h30m`, `500ms`, `7d`; a bare number is seconds.
///
/// # Errors
/// The sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    read_duration(text.trim()).ok_or_else(|| format!("{text:?} is not {DURATION}"))
}

/// As [`parse_duration`], for who says by itself what was expected.
pub fn read_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000).map(Duration::from_millis);
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = TIME_UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        // Longest first, each unit once: `30m1h` is more likely a slip than a wish.
        if *unit >= last {
            return None;
        }
        last = *unit;
        millis = millis.checked_add(number.checked_mul(*unit)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `1,234 files`.
#[must_use]
pub fn counted(number: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", count(number), if number == 1 { singular } else { plural })
}

/// `512 B`, `1.5 KiB`, `20.0 GiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `850ms`, `3.2s`, `4m 05s`, `2h 10m`, `3d 04h`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=59 => format!("{:.1}s", (duration.as_secs_f64() * 10.0).floor() / 10.0),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// One unit is enough for an age: `12s`, `3m`, `5h`, `40d`.
#[must_use]
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m", seconds / 60),
        3600..=86_399 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// RFC 3339 in UTC, whole seconds: `2026-11-24T03:40:58Z`.
#[must_use]
pub fn time(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

/// [`time`] with its age beside: `2026-11-24T03:40:58Z (3m ago)`, or `(in 5h)`.
#[must_use]
pub fn time_and_age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since((Unit::Second, at)).map_or(0, |span| span.get_seconds());
    let distance = age(Duration::from_secs(seconds.unsigned_abs()));
    if seconds < 0 { format!("{} (in {distance})", time(at)) } else { format!("{} ({distance} ago)", time(at)) }
}

/// `812/s`, `3.4/s`, `0.12/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.0 {
        return "-".to_owned();
    }
    match per_second {
        r if r >= 100.0 => format!("{r:.0}/s"),
        r if r >= 1.0 => format!("{r:.1}/s"),
        r => format!("{r:.2}/s"),
    }
}

/// `12.5 %`.
#[must_use]
pub fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_rounded_to_one_decimal() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!([bytes(1023), bytes(1024), bytes(1_048_575)], ["1023 B", "1.0 KiB", "1.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn durations_and_ages_use_the_units_a_person_would() {
        let seconds = Duration::from_secs;
        assert_eq!(duration(Duration::from_millis(850)), "850ms");
        assert_eq!(duration(Duration::from_millis(59_990)), "59.9s");
        assert_eq!([duration(seconds(245)), duration(seconds(7800))], ["4m 05s", "2h 10m"]);
        assert_eq!([age(seconds(59)), age(seconds(3600)), age(seconds(40 * 86_400))], ["59s", "1h", "40d"]);
    }

    #[test]
    fn a_time_is_utc_with_its_age_beside() {
        let at: Timestamp = "2026-11-24T03:40:58.75Z".parse().unwrap();
        let now: Timestamp = "2026-11-24T03:44:00Z".parse().unwrap();
        assert_eq!(time_and_age(at, now), "2026-11-24T03:40:58Z (3m ago)");
        assert_eq!(time_and_age(now, at), "2026-11-24T03:44:00Z (in 3m)");
    }
}
