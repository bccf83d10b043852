//! Values of files and variables, and the types they are parsed into.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mfctl_core::domain::{EnvName, SourcePath, Tenant};
use mfctl_core::humane;

/// A value before it is parsed.
#[derive(Debug, Clone, PartialEq)]
pub enum RawValue {
    /// String of a file, or text of a variable.
    Text(String),
    /// Integer.
    Integer(i64),
    /// Floating-point number.
    Float(f64),
    /// Boolean.
    Bool(bool),
    /// A path that is not UTF-8, as only flags, variables and the system can give it.
    Path(PathBuf),
}

impl RawValue {
    /// A path, byte for byte.
    pub(super) fn of_path(path: PathBuf) -> Self {
        match path.into_os_string().into_string() {
            Ok(text) => Self::Text(text),
            Err(path) => Self::Path(path.into()),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            _ => None,
        }
    }
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Path(path) => write!(f, "{}", SourcePath::from_path(path)),
        }
    }
}

/// Processing of a value before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// None.
    Plain,
    /// A path: a relative one is resolved against the directory of its file.
    Path,
    /// A reference to a secret, never the secret itself.
    Secret,
}

/// The type of a setting.
pub trait SettingValue: Sized {
    /// Accepted values in a few words, with an example. A range is said by the bounds of the setting.
    const EXPECTS: &'static str;

    /// Processing of a value before it is used.
    const KIND: ValueKind = ValueKind::Plain;

    /// Parses a value; `None` if it is invalid.
    fn parse(raw: &RawValue) -> Option<Self>;

    /// Canonical form, which parses to the same value.
    fn show(&self) -> String;

    /// How it compares with another value, for the bounds of a setting; `None` where there is no order, such as for `auto`.
    fn compare(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units with their bytes. A size is printed in the first unit that divides it.
const BYTE_UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for ByteSize {
    type Err = String;

    /// `512MiB`, `1.5 GB`, `4096`; K, M, G and T alone mean KiB, MiB, GiB and TiB.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        byte_size(text.trim()).map(Self).ok_or_else(|| format!("{text:?} is not {}", Self::EXPECTS))
    }
}

fn byte_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 6 || factor == 1 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(fraction.parse().ok()?)?;
    u64::try_from(parts.checked_mul(u128::from(factor))? / scale).ok()
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match unit {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl SettingValue for ByteSize {
    const EXPECTS: &'static str = "a size such as \"512MiB\" or 4096";

    fn parse(raw: &RawValue) -> Option<Self> {
        match raw {
            RawValue::Integer(bytes) => u64::try_from(*bytes).ok().map(Self),
            other => other.text().and_then(byte_size).map(Self),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl SettingValue for Duration {
    const EXPECTS: &'static str = humane::DURATION_FORMS;

    fn parse(raw: &RawValue) -> Option<Self> {
        match raw {
            RawValue::Integer(seconds) => u64::try_from(*seconds).ok().map(Self::from_secs),
            other => other.text().and_then(humane::read_duration),
        }
    }

    fn show(&self) -> String {
        humane::canonical_duration(*self)
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

/// A count, or `auto` for the best value on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// Chosen by mfctl.
    Auto,
    /// Fixed count.
    Count(NonZeroU32),
}

impl Auto {
    /// The count, or the result of `best` for `auto`.
    pub fn or_else(self, best: impl FnOnce() -> usize) -> usize {
        match self {
            Self::Auto => best(),
            Self::Count(count) => usize::try_from(count.get()).unwrap_or(usize::MAX),
        }
    }
}

impl FromStr for Auto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as SettingValue>::parse(&RawValue::Text(text.to_owned()))
            .ok_or_else(|| format!("{text:?} is not {} from 1 to 1024", Self::EXPECTS))
    }
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl SettingValue for Auto {
    const EXPECTS: &'static str = "\"auto\" or a number";

    fn parse(raw: &RawValue) -> Option<Self> {
        if raw.text() == Some("auto") {
            return Some(Self::Auto);
        }
        <u32 as SettingValue>::parse(raw).filter(|count| *count <= 1024).and_then(NonZeroU32::new).map(Self::Count)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Count(count), Self::Count(other)) => Some(count.cmp(other)),
            _ => None,
        }
    }
}

macro_rules! whole_number {
    ($($number:ty),+) => {
        $(impl SettingValue for $number {
            const EXPECTS: &'static str = "a whole number";

            fn parse(raw: &RawValue) -> Option<Self> {
                let number = match raw {
                    RawValue::Integer(number) => Self::try_from(*number).ok(),
                    other => other.text().and_then(|text| text.parse().ok()),
                };
                number.filter(|number| *number > 0)
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn compare(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        })+
    };
}

whole_number!(u16, u32, u64);

/// A share of a whole, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// The number, 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl SettingValue for Ratio {
    const EXPECTS: &'static str = "a number such as 0.95";

    fn parse(raw: &RawValue) -> Option<Self> {
        let number = match raw {
            RawValue::Float(number) => Some(*number),
            RawValue::Integer(0) => Some(0.0),
            RawValue::Integer(1) => Some(1.0),
            other => other.text().and_then(|text| text.parse().ok().filter(|number| !is_underflow(text, *number))),
        };
        number.filter(|number| (0.0..=1.0).contains(number)).map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

/// Whether a number other than zero is so small that it was read as zero, such as `1e-400`.
fn is_underflow(text: &str, number: f64) -> bool {
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    number == 0.0 && digits.contains(|c: char| matches!(c, '1'..='9'))
}

/// Hundredths, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// The number, 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl SettingValue for Percent {
    const EXPECTS: &'static str = "a whole number";

    fn parse(raw: &RawValue) -> Option<Self> {
        let number = match raw {
            RawValue::Integer(number) => u8::try_from(*number).ok(),
            other => other.text().and_then(|text| text.parse().ok()),
        };
        number.filter(|number| *number <= 100).map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl SettingValue for bool {
    const EXPECTS: &'static str = "true or false";

    fn parse(raw: &RawValue) -> Option<Self> {
        match raw {
            RawValue::Bool(value) => Some(*value),
            other => match other.text() {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Non-empty text without control characters.
impl SettingValue for String {
    const EXPECTS: &'static str = "a text";

    fn parse(raw: &RawValue) -> Option<Self> {
        raw.text().filter(|text| !text.is_empty() && !text.chars().any(char::is_control)).map(Self::from)
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// A path; made absolute when its layer is read.
impl SettingValue for PathBuf {
    const EXPECTS: &'static str = "a path";
    const KIND: ValueKind = ValueKind::Path;

    fn parse(raw: &RawValue) -> Option<Self> {
        match raw {
            RawValue::Text(text) if !text.is_empty() && !text.contains('\0') => Some(Self::from(text)),
            RawValue::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_str().map_or_else(|| SourcePath::from_path(self).to_string(), str::to_owned)
    }
}

impl SettingValue for EnvName {
    const EXPECTS: &'static str = "an environment's name: 1 to 32 of a-z 0-9 -";

    fn parse(raw: &RawValue) -> Option<Self> {
        raw.text().and_then(|text| Self::new(text).ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Tenant {
    const EXPECTS: &'static str = "a tenant's name: 1 to 63 of a-z 0-9 -";

    fn parse(raw: &RawValue) -> Option<Self> {
        raw.text().and_then(|text| Self::new(text).ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::humane::parse_duration;

    #[test]
    fn byte_sizes_are_parsed_and_printed_in_their_units() {
        let sizes =
            [("512MiB", 512 << 20), ("1.5 GiB", 3 << 29), ("4096", 4096), ("2GB", 2_000_000_000), ("64k", 65_536)];
        for (text, bytes) in sizes {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        for text in ["", "MiB", "-1", "1.5", "1..5GiB", "99999999TiB", "10 parsecs"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_round_trip_in_canonical_form() {
        for (text, millis) in
            [("25s", 25_000), ("1h30m", 5_400_000), ("500ms", 500), ("7d", 604_800_000), ("60", 60_000)]
        {
            let read = parse_duration(text).unwrap();
            assert_eq!(read.as_millis(), millis, "{text}");
            assert_eq!(parse_duration(&read.show()), Ok(read));
        }
        for text in ["", "s", "5 fortnights", "30m1h", "1s1s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        assert_eq!(Ratio::parse(&RawValue::Text("0.95".into())).map(Ratio::get), Some(0.95));
        assert_eq!(Ratio::parse(&RawValue::Float(1.01)), None);
        assert_eq!(Ratio::parse(&RawValue::Text("1e-400".into())), None);
        assert_eq!(Ratio::parse(&RawValue::Text("0e9".into())).map(Ratio::get), Some(0.0));
        assert_eq!(Ratio::parse(&RawValue::Float(f64::NAN)), None);
        assert_eq!(Percent::parse(&RawValue::Integer(101)), None);
        assert_eq!(<Auto as SettingValue>::parse(&RawValue::Integer(0)), None);
        assert_eq!(<Auto as SettingValue>::parse(&RawValue::Text("8".into())), NonZeroU32::new(8).map(Auto::Count));
    }
}
