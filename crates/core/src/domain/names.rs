//! Names from outside as types whose constructors accept valid names only.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name that breaks the rule of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// Type of the name, e.g. `topic name`.
    pub what: &'static str,
    /// The name, truncated to 80 characters.
    pub name: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Cow<'static, str>);

        impl $name {
            /// Creates a name.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that the text breaks.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&name) {
                    Ok(Self(Cow::Owned(name)))
                } else {
                    Err(InvalidName { what: $what, name: name.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn slug(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

name_type!(
    /// A Kafka topic name.
    TopicName, "topic name", "1 to 249 of the characters a-z A-Z 0-9 . _ -, and neither . nor ..",
    |name| {
        !name.is_empty()
            && name.len() <= 249
            && name != "."
            && name != ".."
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }
);
name_type!(
    /// The id of a topic. A topic that is created after one of the same name was deleted has another id.
    TopicId, "topic id", "1 to 64 printable ASCII characters without space",
    |id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic())
);
name_type!(
    /// A consumer group name; a stage's is `mfctl.<env>.<stage>`.
    GroupName, "consumer group name", "1 to 249 printable ASCII characters without space",
    |name| !name.is_empty() && name.len() <= 249 && name.bytes().all(|b| b.is_ascii_graphic())
);
name_type!(
    /// A deployment environment, such as `dev` or `prod`.
    EnvName, "environment name", "1 to 32 of the characters a-z 0-9 -, not at the ends",
    |name| slug(name, 32)
);
name_type!(
    /// A tenant: part of every asset's identity, fixed once data exists.
    Tenant, "tenant name", "1 to 63 of the characters a-z 0-9 -, not at the ends",
    |name| slug(name, 63)
);
name_type!(
    /// The name of a bucket.
    BucketName, "bucket name", "3 to 63 of the characters a-z 0-9 - ., beginning and ending with a letter or digit",
    |name| {
        (3..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && name.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
            && !name.contains("..")
    }
);
name_type!(
    /// The key of an object: `/`-separated, relative, without empty, `.` or `..` parts, so that it is also a safe path.
    ObjectKey, "object key", "1 to 1024 bytes, parts separated by single slashes, none empty, . or .., no control character",
    |name| {
        !name.is_empty()
            && name.len() <= 1024
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && !name.chars().any(char::is_control)
    }
);

impl Default for Tenant {
    fn default() -> Self {
        Self(Cow::Borrowed("default"))
    }
}

impl TopicName {
    /// A name that is a constant of the program; not for text from outside.
    #[must_use]
    pub const fn known(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// `<topic>.dlq`, the dead-letter topic of this topic.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        Self(Cow::Owned(format!("{}{DLQ_SUFFIX}", self.0)))
    }

    /// `<topic>.parked`, the topic for records that were redriven too often.
    #[must_use]
    pub fn parked(&self) -> Self {
        Self(Cow::Owned(format!("{}{PARKED_SUFFIX}", self.0)))
    }

    /// Whether this is a dead-letter topic.
    #[must_use]
    pub fn is_dead_letters(&self) -> bool {
        self.0.ends_with(DLQ_SUFFIX)
    }

    /// Whether this is a parked topic.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.0.ends_with(PARKED_SUFFIX)
    }

    /// The topic without `.dlq` or `.parked`.
    #[must_use]
    pub fn source(&self) -> Self {
        match self.0.strip_suffix(DLQ_SUFFIX).or_else(|| self.0.strip_suffix(PARKED_SUFFIX)) {
            Some(name) => Self(Cow::Owned(name.to_owned())).interned(),
            None => self.clone(),
        }
    }

    /// The same name, without an allocation for a topic of the pipeline: every record has copies of its topic's name.
    #[must_use]
    pub fn interned(self) -> Self {
        topics::PIPELINE.into_iter().find(|known| *known == self).unwrap_or(self)
    }
}

const DLQ_SUFFIX: &str = ".dlq";
const PARKED_SUFFIX: &str = ".parked";

/// The platform's topics.
pub mod topics {
    use super::TopicName;

    /// One event per staged file; at least once.
    pub const INGEST_RAW: TopicName = TopicName::known("ingest.raw");
    /// One event per (asset, revision) whose bytes are in the bucket of originals.
    pub const MEDIA_INGESTED: TopicName = TopicName::known("media.ingested");
    /// One event per (asset, revision) whose derivatives and search document are written.
    pub const MEDIA_ENRICHED: TopicName = TopicName::known("media.enriched");
    /// One event per takedown.
    pub const MEDIA_ASSET_REVOKED: TopicName = TopicName::known("media.asset_revoked");
    /// Decision on each dead letter, keyed `<dlq-topic>:<partition>:<offset>`; compacted.
    pub const REDRIVE_LEDGER: TopicName = TopicName::known("mfctl.redrive.ledger");
    /// Every change by an operator.
    pub const AUDIT: TopicName = TopicName::known("mfctl.audit");

    /// Topics of the pipeline's events, in the order of the flow.
    pub const PIPELINE: [TopicName; 4] = [INGEST_RAW, MEDIA_INGESTED, MEDIA_ENRICHED, MEDIA_ASSET_REVOKED];
}

/// The three buckets of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// Staged bytes, until their event is committed.
    pub staging: BucketName,
    /// Originals, by content.
    pub originals: BucketName,
    /// Derivatives: extracted text and thumbnails.
    pub derived: BucketName,
}

impl Buckets {
    /// Buckets of an environment: `myfarsi-<env>-media-{staging,originals,derived}`.
    ///
    /// # Errors
    /// [`InvalidName`] when the environment's name is too long for a bucket name.
    pub fn of(env: &EnvName) -> Result<Self, InvalidName> {
        let name = |kind: &str| BucketName::new(format!("myfarsi-{env}-media-{kind}"));
        Ok(Self { staging: name("staging")?, originals: name("originals")?, derived: name("derived")? })
    }

    /// Bucket of the records that are too large for their dead-letter topic. That of the originals: nothing in it expires.
    #[must_use]
    pub fn kept_records(&self) -> &BucketName {
        &self.originals
    }

    /// All three buckets, in the order of the flow.
    #[must_use]
    pub fn all(&self) -> [&BucketName; 3] {
        [&self.staging, &self.originals, &self.derived]
    }
}

/// The address of an object: bucket and key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// Bucket name.
    pub bucket: BucketName,
    /// Key within the bucket.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

impl ObjectKey {
    /// A key put together from parts that are valid already.
    pub(super) fn from_valid(key: String) -> Self {
        debug_assert!(Self::new(key.clone()).is_ok(), "{key:?}");
        Self(Cow::Owned(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_keys_with_relative_parts_are_refused() {
        for key in ["../x", "a/../b", "/a", "a//b", "a/", "", "a/.", "a\nb"] {
            assert!(ObjectKey::new(key).is_err(), "{key:?}");
        }
        assert!(ObjectKey::new("default/sha256/ab/cd/abcd").is_ok());
    }

    #[test]
    fn dead_letter_and_parked_topics_name_their_source() {
        let dlq = topics::MEDIA_INGESTED.dead_letters();
        assert_eq!(dlq.as_str(), "media.ingested.dlq");
        assert!(dlq.is_dead_letters());
        assert_eq!(dlq.source(), topics::MEDIA_INGESTED);
        assert_eq!(topics::MEDIA_INGESTED.parked().source(), topics::MEDIA_INGESTED);
    }
}
