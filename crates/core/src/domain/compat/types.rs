//! Sets of JSON types, and the equality of JSON Schema, in which 1 and 1.0 are one number.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

/// A set of types. Numbers are split into integers and fractions, so that `integer` is a subset of `number`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const OBJECT: Self = Self(4);
    pub(super) const ARRAY: Self = Self(8);
    pub(super) const STRING: Self = Self(16);
    pub(super) const INTEGER: Self = Self(32);
    const FRACTION: Self = Self(64);
    pub(super) const NUMBER: Self = Self(96);
    pub(super) const ANY: Self = Self(127);
    pub(super) const NONE: Self = Self(0);

    const EACH: [(Self, &'static str); 6] = [
        (Self::NULL, "null"),
        (Self::BOOLEAN, "boolean"),
        (Self::OBJECT, "object"),
        (Self::ARRAY, "array"),
        (Self::STRING, "string"),
        (Self::NUMBER, "number"),
    ];

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(super) fn within(self, other: Self) -> bool {
        self.without(other).is_none()
    }

    /// The types of this set, with numbers as one.
    pub(super) fn each(self) -> impl Iterator<Item = Self> {
        Self::EACH.into_iter().map(move |(kind, _)| kind.and(self)).filter(|kind| !kind.is_none())
    }

    /// The set of a `type` keyword; `None` for an invalid value.
    pub(super) fn of_keyword(value: &Value) -> Option<Self> {
        match value {
            Value::String(name) if name == "integer" => Some(Self::INTEGER),
            Value::String(name) => Self::EACH.iter().find(|(_, known)| known == name).map(|(kind, _)| *kind),
            Value::Array(names) => names.iter().try_fold(Self::NONE, |set, name| match name {
                Value::String(_) => Self::of_keyword(name).map(|kind| set.or(kind)),
                _ => None,
            }),
            _ => None,
        }
    }

    pub(super) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Object(_) => Self::OBJECT,
            Value::Array(_) => Self::ARRAY,
            Value::String(_) => Self::STRING,
            Value::Number(number) if whole(number) => Self::INTEGER,
            Value::Number(_) => Self::FRACTION,
        }
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any type");
        }
        let mut separator = "";
        for (kind, name) in Self::EACH {
            let name = match self.and(kind) {
                Self::NONE => continue,
                Self::INTEGER => "integer",
                Self::FRACTION => "number with a fraction",
                _ => name,
            };
            write!(f, "{separator}{name}")?;
            separator = " or ";
        }
        if separator.is_empty() { f.write_str("no type") } else { Ok(()) }
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn whole(number: &Number) -> bool {
    integer(number).is_some() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

/// Compares two numbers.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Whether `number` is a multiple of `step`.
pub(super) fn divides(step: &Number, number: &Number) -> bool {
    if let (Some(step), Some(number)) = (integer(step), integer(number)) {
        return step != 0 && number % step == 0;
    }
    match (step.as_f64(), number.as_f64()) {
        (Some(step), Some(number)) if step != 0.0 => {
            // Decimal fractions are not exact in binary floating point.
            let quotient = number / step;
            quotient.is_finite() && (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
        }
        _ => false,
    }
}

/// Whether two values are equal in JSON Schema.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
