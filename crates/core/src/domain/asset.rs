//! Assets: their states, the order of the states, and their catalog row.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Metadata;
use super::ids::{AssetId, EventId, JobId, ParseIdError, Revision, Sha256};
use super::names::{ObjectKey, ObjectRef, Tenant};
use super::object_keys;
use super::path::SourcePath;

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Text of the value, as stored and printed.
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
    /// State of an asset's revision. The order of the variants is their rank: within a revision a state never goes
    /// backwards.
    AssetState: "a state (staged, ingested, enriched or revoked)" {
        /// The bytes are in the staging bucket and the event is, or is about to be, published.
        Staged = "staged",
        /// The bytes are in the bucket of originals.
        Ingested = "ingested",
        /// Derivatives and search document are written.
        Enriched = "enriched",
        /// Taken down. Final for the revision; only lifting the takedown starts a new one.
        Revoked = "revoked",
    }
);

impl AssetState {
    /// Whether the same bytes ingested again are a duplicate: only bytes in the bucket of originals count.
    #[must_use]
    pub fn counts_as_duplicate(self) -> bool {
        matches!(self, Self::Ingested | Self::Enriched)
    }
}

text_enum!(
    /// A stage of the pipeline, run by a worker.
    Stage: "a stage (persist or enrich)" {
        /// `ingest.raw` → bucket of originals → `media.ingested`.
        Persist = "persist",
        /// `media.ingested` → text, thumbnail, search → `media.enriched`.
        Enrich = "enrich",
    }
);

impl Stage {
    /// Topic that this stage consumes.
    #[must_use]
    pub fn input(self) -> super::TopicName {
        match self {
            Self::Persist => super::names::topics::INGEST_RAW,
            Self::Enrich => super::names::topics::MEDIA_INGESTED,
        }
    }

    /// Topic that this stage produces to.
    #[must_use]
    pub fn output(self) -> super::TopicName {
        match self {
            Self::Persist => super::names::topics::MEDIA_INGESTED,
            Self::Enrich => super::names::topics::MEDIA_ENRICHED,
        }
    }

    /// Consumer group of this stage: `mfctl.<env>.<stage>`.
    ///
    /// # Errors
    /// Never for a valid environment name; the signature is that of the group name's constructor.
    pub fn group(self, env: &super::EnvName) -> Result<super::GroupName, super::InvalidName> {
        super::GroupName::new(format!("mfctl.{env}.{self}"))
    }
}

/// An asset's row in the catalog's `assets` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Asset id.
    pub asset_id: AssetId,
    /// Tenant of the asset.
    pub tenant: Tenant,
    /// Digest of the content.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type by content, e.g. `application/pdf`.
    pub media_type: String,
    /// Latest revision.
    pub revision: Revision,
    /// State of the latest revision.
    pub state: AssetState,
    /// The stage that dead-lettered it and has not processed it since, if any; also if the dead letter was discarded.
    /// Set by the claim's owner, cleared by a later success.
    pub dead_lettered: Option<Stage>,
    /// Id of its `ingest.raw` event; every retry publishes this event.
    pub event_id: EventId,
    /// Job that staged it.
    pub job_id: JobId,
    /// Object with the staged bytes; deleted after ingestion.
    pub staging: ObjectRef,
    /// Time of staging.
    #[schemars(with = "String")]
    pub staged_at: Timestamp,
    /// Time the log acknowledged its `ingest.raw` event; `None` means that it must be published again.
    #[schemars(with = "Option<String>")]
    pub published_at: Option<Timestamp>,
    /// Time it became `ingested`.
    #[schemars(with = "Option<String>")]
    pub ingested_at: Option<Timestamp>,
    /// Time it became `enriched`.
    #[schemars(with = "Option<String>")]
    pub enriched_at: Option<Timestamp>,
    /// Time of the row's last change.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// Metadata given at ingestion: title, collection, tags and the operator's own fields.
    pub metadata: Metadata,
    /// Results of enrichment.
    pub facts: AssetFacts,
}

/// Results of enrichment. Every field is optional: a file without an extractor has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AssetFacts {
    /// Title found in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Language of the text: ISO 639-1 where there is such a code, else 639-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Number of characters extracted as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_chars: Option<u64>,
    /// Whether the text was truncated at `enrich.max_text`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub text_truncated: bool,
    /// Number of pages of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Width of an image in pixels, EXIF orientation applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width_px: Option<u32>,
    /// Height of an image in pixels, EXIF orientation applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_px: Option<u32>,
    /// Time a photograph was taken, as in its EXIF, without a time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Camera, as in the EXIF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Key of the extracted text in the bucket of derivatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_key: Option<String>,
    /// SHA-256 of the extracted text; none for assets that an earlier release enriched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_sha256: Option<Sha256>,
    /// Key of the thumbnail in the bucket of derivatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_key: Option<String>,
    /// SHA-256 of the thumbnail; none for assets that an earlier release enriched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_sha256: Option<Sha256>,
    /// What could not be extracted. If nothing was, the first is the reason, e.g. `no extractor for audio/ogg`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A derivative that enrichment makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivativeKind {
    /// The extracted text.
    Text,
    /// The thumbnail.
    Thumbnail,
}

impl DerivativeKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Text, Self::Thumbnail];

    /// Name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Thumbnail => "thumbnail",
        }
    }
}

/// A derivative as the facts record it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedDerivative {
    /// Which one it is.
    pub kind: DerivativeKind,
    /// Key of the object in the bucket of derivatives, as recorded.
    pub key: String,
    /// SHA-256 of its bytes; `None` if an earlier release made it.
    pub sha256: Option<Sha256>,
}

/// The reason of facts that give none why nothing was read.
pub const NO_REASON: &str = "no reason recorded";

impl Asset {
    /// Why enrichment read nothing of the file; `None` if it read something, or has not run.
    #[must_use]
    pub fn unread(&self) -> Option<&str> {
        let facts = &self.facts;
        let is_unread = self.state == AssetState::Enriched && facts.text_key.is_none() && facts.thumbnail_key.is_none();
        is_unread.then(|| facts.notes.first().map_or(NO_REASON, String::as_str))
    }
}

impl AssetFacts {
    /// The derivative of this kind; `None` if the file has none.
    #[must_use]
    pub fn derivative(&self, kind: DerivativeKind) -> Option<RecordedDerivative> {
        let (key, sha256) = match kind {
            DerivativeKind::Text => (&self.text_key, self.text_sha256),
            DerivativeKind::Thumbnail => (&self.thumbnail_key, self.thumbnail_sha256),
        };
        key.clone().map(|key| {
            let in_key = || ObjectKey::new(key.clone()).ok().and_then(|key| object_keys::digest_in_key(&key));
            RecordedDerivative { kind, sha256: sha256.or_else(in_key), key }
        })
    }
}

/// A source file of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetSource {
    /// Asset id.
    pub asset_id: AssetId,
    /// Path of the file.
    pub path: SourcePath,
    /// Host that read the file.
    pub host: String,
    /// Job that read the file.
    pub job_id: JobId,
    /// Time it was read.
    #[schemars(with = "String")]
    pub seen_at: Timestamp,
}

/// A path that an asset's bytes were ingested from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetPath {
    /// The path.
    pub path: SourcePath,
    /// The job that read these bytes there first.
    pub job_id: JobId,
    /// Time that job had read them.
    #[schemars(with = "String")]
    pub first_seen_at: Timestamp,
}

/// The paths that an asset's bytes were ingested from, of any host.
///
/// Ordered by the first job that read the bytes there, then by the paths' bytes. The first one names the asset: neither the
/// order in which a job reads its files nor a later ingest changes it. (Ids of jobs sort by their start.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssetPaths {
    /// The first of the paths, as many as were asked for.
    pub paths: Vec<AssetPath>,
    /// Number of paths in all.
    pub count: u64,
}

impl AssetPaths {
    /// The name that the asset is shown by; `None` if no file of it is known.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.paths.first().map(|first| first.path.file_name())
    }
}

/// An ingest of an asset's bytes from a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetSighting {
    /// The path.
    pub path: SourcePath,
    /// Host that read the file; `None` where it is not known any more.
    pub host: Option<String>,
    /// The job.
    pub job_id: JobId,
    /// Time of its outcome, or of the staging while it has none.
    pub at: Timestamp,
}
