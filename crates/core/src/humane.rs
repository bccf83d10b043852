//! Numbers, sizes, durations and times in the form that people read and write, for tables and messages; JSON has the plain
//! numbers.

use std::time::Duration;

use jiff::{Timestamp, Unit};

/// The forms that [`parse_duration`] accepts, for messages.
pub const DURATION_FORMS: &str = "a duration such as \"25s\", \"1h30m\", \"500ms\", \"2w\" or 25 (seconds)";

/// Units of a duration with their milliseconds, longest first.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration as operators write it: `2w`, `3d`, `1h30m`, `90s`, `500ms`, or a bare number of seconds.
///
/// # Errors
/// A message that names the accepted forms.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| format!("{text:?} is not {DURATION_FORMS}"))
}

/// [`parse_duration`] for a caller with an error message of its own. Units stand longest first, each once: `30m1h` is more
/// likely a slip than intended.
#[must_use]
pub fn read_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let millis = match text.parse::<u64>() {
        Ok(seconds) => seconds.checked_mul(1000)?,
        Err(_) => {
            let parts = duration_parts(text)?;
            let descending = parts.windows(2).all(|pair| pair[0].1 > pair[1].1);
            u64::try_from(total_millis(&parts)?).ok().filter(|_| descending)?
        }
    };
    Some(Duration::from_millis(millis))
}

/// How long ago something was: as [`read_duration`], but every number has its unit and units may stand in any order.
#[must_use]
pub fn read_age(text: &str) -> Option<Duration> {
    let millis = total_millis(&duration_parts(text.trim())?)?;
    let nanos = u32::try_from(millis % 1000).ok()? * 1_000_000;
    Some(Duration::new(u64::try_from(millis / 1000).ok()?, nanos))
}

/// The numbers of a duration, each with the milliseconds of its unit; at least one.
fn duration_parts(text: &str) -> Option<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = TIME_UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        parts.push((number, *unit));
        rest = rest[letters..].trim_start();
    }
    (!parts.is_empty()).then_some(parts)
}

fn total_millis(parts: &[(u64, u64)]) -> Option<u128> {
    parts.iter().try_fold(0_u128, |total, (number, unit)| total.checked_add(u128::from(*number) * u128::from(*unit)))
}

/// The shortest text that [`parse_duration`] reads back as the same duration, to the millisecond: `1h30m`, `7d`, `0s`.
#[must_use]
pub fn canonical_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Weeks are read and never written.
    for (name, unit) in &TIME_UNITS[1..] {
        if millis >= *unit {
            text.push_str(&format!("{}{name}", millis / unit));
            millis %= unit;
        }
    }
    text
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
    // 1023.95 would be printed as 1024.0.
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

/// An age in its largest unit: `12s`, `3m`, `5h`, `40d`.
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

/// [`time`] followed by its age: `2026-11-24T03:40:58Z (3m ago)`, or `(in 5h)`.
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
    fn durations_are_read_in_every_unit_with_the_units_in_descending_order() {
        for (text, millis) in [
            ("2w", 1_209_600_000),
            ("3d", 259_200_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("90s", 90_000),
            (" 25 ", 25_000),
            ("1w2d3h4m5s6ms", 788_645_006),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1.5h", "-1s", "30m1h", "1s1s", "5 fortnights", "1h30", "99999999999999999999s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains("1h30m") && error.contains("500ms") && error.contains("2w"), "{error}");
        }
    }

    #[test]
    fn an_age_needs_units_and_takes_them_in_any_order() {
        assert_eq!(read_age("30m1h"), Some(Duration::from_secs(5400)));
        assert_eq!(read_age("1s1s"), Some(Duration::from_secs(2)));
        assert_eq!(read_age("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read_age("99999999999999999s").map(|age| age.as_secs()), Some(99_999_999_999_999_999));
        assert_eq!([read_age("2"), read_age(""), read_age("99999999999999999999d")], [None; 3]);
    }

    #[test]
    fn a_canonical_duration_has_no_weeks_and_is_read_back() {
        for (millis, text) in [(0, "0s"), (1_209_600_000, "14d"), (5_400_500, "1h30m500ms")] {
            assert_eq!(canonical_duration(Duration::from_millis(millis)), text);
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn numbers_are_grouped_and_sizes_rounded_to_one_decimal() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!([bytes(1023), bytes(1024), bytes(1_048_575)], ["1023 B", "1.0 KiB", "1.0 MiB"]);
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn durations_and_ages_are_printed_in_fitting_units() {
        let seconds = Duration::from_secs;
        assert_eq!(duration(Duration::from_millis(850)), "850ms");
        assert_eq!(duration(Duration::from_millis(59_990)), "59.9s");
        assert_eq!([duration(seconds(245)), duration(seconds(7800))], ["4m 05s", "2h 10m"]);
        assert_eq!([age(seconds(59)), age(seconds(3600)), age(seconds(40 * 86_400))], ["59s", "1h", "40d"]);
    }

    #[test]
    fn a_time_is_printed_in_utc_with_its_age() {
        let at: Timestamp = "2026-11-24T03:40:58.75Z".parse().unwrap();
        let now: Timestamp = "2026-11-24T03:44:00Z".parse().unwrap();
        assert_eq!(time_and_age(at, now), "2026-11-24T03:40:58Z (3m ago)");
        assert_eq!(time_and_age(now, at), "2026-11-24T03:44:00Z (in 3m)");
    }
}
