//! An asset's life: its states, their order, and what is known of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Metadata;
use super::ids::{AssetId, EventId, JobId, ParseIdError, Revision, Sha256};
use super::names::{ObjectRef, Tenant};
use super::path::SourcePath;

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value's text, as stored and printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseIdError { text: text.chars().take(80).collect(), expected: $expected }),
                }
            }
        }
    };
}
pub(crate) use text_enum;

text_enum!(
    /// How far an asset's revision has come. The order is the rank: within a revision a state never goes backwards.
    AssetState: "a state (staged, ingested, enriched or revoked)" {
        /// Its bytes are in staging and an event is, or is about to be, published.
        Staged = "staged",
        /// Its bytes are in the durable bucket.
        Ingested = "ingested",
        /// Its derivatives and search document are written.
        Enriched = "enriched",
        /// Taken down. Ends every other state but for a lifted takedown.
        Revoked = "revoked",
    }
);

impl AssetState {
    /// Whether the same bytes ingested again are a duplicate: only what is safely in the durable bucket counts.
    #[must_use]
    pub fn counts_as_duplicate(self) -> bool {
        matches!(self, Self::Ingested | Self::Enriched)
    }
}

text_enum!(
    /// A stage of the pipeline: what a worker runs.
    Stage: "a stage (persist or enrich)" {
        /// `ingest.raw` → durable bucket → `media.ingested`.
        Persist = "persist",
        /// `media.ingested` → text, thumbnail, search → `media.enriched`.
        Enrich = "enrich",
    }
);

impl Stage {
    /// The topic this stage consumes.
    #[must_use]
    pub fn input(self) -> super::TopicName {
        match self {
            Self::Persist => super::names::topics::INGEST_RAW,
            Self::Enrich => super::names::topics::MEDIA_INGESTED,
        }
    }

    /// The topic this stage emits to.
    #[must_use]
    pub fn output(self) -> super::TopicName {
        match self {
            Self::Persist => super::names::topics::MEDIA_INGESTED,
            Self::Enrich => super::names::topics::MEDIA_ENRICHED,
        }
    }

    /// The consumer group of this stage: `mfctl.<env>.<stage>`.
    ///
    /// # Errors
    /// Never for a valid environment name; the type of the name asks for it.
    pub fn group(self, env: &super::EnvName) -> Result<super::GroupName, super::InvalidName> {
        super::GroupName::new(format!("mfctl.{env}.{self}"))
    }
}

/// An asset as the catalog's `assets` table has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Its id.
    pub asset_id: AssetId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its content.
    pub sha256: Sha256,
    /// Its size.
    pub size_bytes: u64,
    /// Its type by content, e.g. `application/pdf`.
    pub media_type: String,
    /// Its latest revision.
    pub revision: Revision,
    /// The state of that revision.
    pub state: AssetState,
    /// The stage whose dead letter is unresolved, if any. Set by the claim's owner, cleared by a later success.
    pub dead_lettered: Option<Stage>,
    /// The `ingest.raw` event that stands for it; every retry publishes this one.
    pub event_id: EventId,
    /// The job that staged it.
    pub job_id: JobId,
    /// Where its staged bytes are or were.
    pub staging: ObjectRef,
    /// When its bytes were staged.
    #[schemars(with = "String")]
    pub staged_at: Timestamp,
    /// When its `ingest.raw` event was acknowledged; `None` means it must be published again.
    #[schemars(with = "Option<String>")]
    pub published_at: Option<Timestamp>,
    /// When it was ingested.
    #[schemars(with = "Option<String>")]
    pub ingested_at: Option<Timestamp>,
    /// When it was enriched.
    #[schemars(with = "Option<String>")]
    pub enriched_at: Option<Timestamp>,
    /// When the row last changed.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// What was said of it: title, tags, collection, locale and the operator's own fields.
    pub metadata: Metadata,
    /// What enrichment found.
    pub facts: AssetFacts,
}

/// What enrichment found out about an asset. Every field is optional: a file with no extractor has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AssetFacts {
    /// The title found in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The language of its text, ISO 639-1 where there is such a code, else 639-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Characters of text taken from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_chars: Option<u64>,
    /// Whether the text was cut at the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub text_truncated: bool,
    /// Pages of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Width of an image as shown (orientation applied).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width_px: Option<u32>,
    /// Height of an image as shown (orientation applied).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_px: Option<u32>,
    /// When a photograph was taken, as its EXIF says, without a zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// The camera, as its EXIF says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// The key of the derived text in the derived bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_key: Option<String>,
    /// The key of the thumbnail in the derived bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_key: Option<String>,
    /// What could not be had, e.g. `no extractor for audio/ogg`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One file that an asset came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetSource {
    /// The asset.
    pub asset_id: AssetId,
    /// The file.
    pub path: SourcePath,
    /// The host it was read on.
    pub host: String,
    /// The job that saw it.
    pub job_id: JobId,
    /// When.
    #[schemars(with = "String")]
    pub seen_at: Timestamp,
}
