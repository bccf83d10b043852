//! Identifiers of content, assets, events, jobs and revisions.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::Tenant;

/// UUID namespace of asset ids: `asset_id = UUIDv5(ASSET_NAMESPACE, "<tenant>/<sha256>")`.
pub const ASSET_NAMESPACE: Uuid = Uuid::from_u128(0x9b9f85df_dabf_566b_a639_bbc7169edc19);

/// Text that cannot be parsed as an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    /// The text, truncated to 80 characters.
    pub text: String,
    /// The expected identifier and its format.
    pub expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError::new(text, $expected))
            }
        }
    };
}

uuid_id!(
    /// Asset id: one per content and tenant, whatever the number of files.
    AssetId, "an asset id (a UUID: 8-4-4-4-12 hexadecimal digits)"
);
uuid_id!(
    /// Event id. That of an output event is derived from its asset, so a repeated step emits the same id.
    EventId, "an event id (a UUID: 8-4-4-4-12 hexadecimal digits)"
);
uuid_id!(
    /// Ingest job id, kept when the job is resumed. UUIDv7, so ids sort by start time.
    JobId, "a job id (a UUID: 8-4-4-4-12 hexadecimal digits)"
);

/// The beginning of a UUID: at least 4 of its hexadecimal digits, with or without the dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPrefix {
    bits: u128,
    digits: u32,
}

impl IdPrefix {
    /// Fewest digits of a prefix.
    pub const MIN_DIGITS: u32 = 4;
    /// Digits of a whole id.
    const ALL_DIGITS: u32 = 32;

    /// Number of digits.
    #[must_use]
    pub const fn digits(self) -> u32 {
        self.digits
    }

    /// The lowest and the highest id that begin so.
    #[must_use]
    pub fn range(self) -> (Uuid, Uuid) {
        let free_bits = (Self::ALL_DIGITS - self.digits) * 4;
        let highest = u128::MAX.checked_shr(u128::BITS - free_bits).unwrap_or_default();
        (Uuid::from_u128(self.bits), Uuid::from_u128(self.bits | highest))
    }

    /// The id, if all its digits are given.
    #[must_use]
    pub fn whole(self) -> Option<Uuid> {
        (self.digits == Self::ALL_DIGITS).then_some(Uuid::from_u128(self.bits))
    }

    /// Whether an id begins so.
    #[must_use]
    pub fn matches(self, id: Uuid) -> bool {
        let (low, high) = self.range();
        (low..=high).contains(&id)
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Uuid::from_u128(self.bits).as_hyphenated().to_string();
        let mut left = self.digits;
        for c in whole.chars() {
            if left == 0 {
                break;
            }
            left -= u32::from(c != '-');
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

impl FromStr for IdPrefix {
    type Err = ParseIdError;

    /// A whole id is a prefix too. Dashes have to be where a whole id has them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an id, or the beginning of one with at least 4 hexadecimal digits";
        let refused = || ParseIdError::new(text, EXPECTED);
        let dashed = text.contains('-');
        let mut bits: u128 = 0;
        let mut digits = 0;
        for (place, byte) in text.bytes().enumerate() {
            if dashed && matches!(place, 8 | 13 | 18 | 23) {
                match byte {
                    b'-' => continue,
                    _ => return Err(refused()),
                }
            }
            let digit = char::from(byte).to_digit(16).ok_or_else(refused)?;
            if digits == Self::ALL_DIGITS {
                return Err(refused());
            }
            bits |= u128::from(digit) << (124 - 4 * digits);
            digits += 1;
        }
        if digits < Self::MIN_DIGITS { Err(refused()) } else { Ok(Self { bits, digits }) }
    }
}

impl AssetId {
    /// The asset id of this content in this tenant.
    #[must_use]
    pub fn of(tenant: &Tenant, sha256: &Sha256) -> Self {
        Self(Uuid::new_v5(&ASSET_NAMESPACE, format!("{tenant}/{sha256}").as_bytes()))
    }
}

impl EventId {
    /// The id of the event on `topic` for this asset and revision: UUIDv5(asset id, "<topic>/<revision>").
    #[must_use]
    pub fn of_output(asset: AssetId, topic: &str, revision: Revision) -> Self {
        Self(Uuid::new_v5(&asset.0, format!("{topic}/{revision}").as_bytes()))
    }

    /// A random id for an `ingest.raw` event; it is journalled before the event is published.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

/// A new UUIDv7. A clock before 1970, which it cannot express, counts as 1970.
#[must_use]
pub fn time_ordered_uuid() -> Uuid {
    match jiff::Timestamp::now() < jiff::Timestamp::UNIX_EPOCH {
        true => Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 0, 0)),
        false => Uuid::now_v7(),
    }
}

impl JobId {
    /// A new job id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(time_ordered_uuid())
    }
}

/// Revision of an asset: 1 after ingestion, one more for each deliberate change of its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Revision(pub u32);

impl Revision {
    /// The revision of a new asset.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A SHA-256 digest; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(<sha2::Sha256 as sha2::Digest>::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; 64];
        // Cannot fail: the buffer has twice the length of the digest.
        let _ = hex::encode_to_slice(self.0, &mut buffer);
        f.write_str(std::str::from_utf8(&buffer).unwrap_or_default())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a SHA-256 (64 lower-case hexadecimal digits)";
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseIdError::new(text, EXPECTED));
        }
        let mut digest = [0u8; 32];
        hex::decode_to_slice(text, &mut digest).map_err(|_| ParseIdError::new(text, EXPECTED))?;
        Ok(Self(digest))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Sha256 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asset_id_of_the_empty_file_is_stable() {
        let empty: Sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse().unwrap();
        let id = AssetId::of(&Tenant::default(), &empty);
        assert_eq!(id.to_string(), "ed6de839-bf6e-5531-a0eb-2be63a35ce0a");
    }

    #[test]
    fn an_id_prefix_is_the_range_of_the_ids_that_begin_so() {
        let range = |text: &str| {
            let (low, high) = text.parse::<IdPrefix>().unwrap().range();
            (low.to_string(), high.to_string())
        };
        let id = "ed6de839-bf6e-5531-a0eb-2be63a35ce0a";
        assert_eq!(range(id), (id.to_owned(), id.to_owned()));
        assert_eq!(range(&id.replace('-', "")), (id.to_owned(), id.to_owned()));
        let eight = ("ed6de839-0000-0000-0000-000000000000".into(), "ed6de839-ffff-ffff-ffff-ffffffffffff".into());
        for text in ["ed6de839", "ED6DE839", "ed6de839-"] {
            assert_eq!(range(text), eight, "{text}");
        }
        assert_eq!(range("ed6de839-bf6e-5").1, "ed6de839-bf6e-5fff-ffff-ffffffffffff");
        assert_eq!("ed6de839bf6e5".parse::<IdPrefix>().unwrap().to_string(), "ed6de839-bf6e-5");
        assert!("ed6d".parse::<IdPrefix>().unwrap().matches(id.parse().unwrap()));
        assert!(!"ed6e".parse::<IdPrefix>().unwrap().matches(id.parse().unwrap()));
        for wrong in ["", "ed6", "ed6g", "ed6d-e839", "-ed6de839", &format!("{id}0"), "abcd\u{660}"] {
            assert!(wrong.parse::<IdPrefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sha256_round_trips_and_rejects_other_text() {
        let digest = Sha256([0xab; 32]);
        assert_eq!(digest.to_string().parse::<Sha256>().unwrap(), digest);
        for wrong in ["", "ab", &"AB".repeat(32), &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
    }
}
