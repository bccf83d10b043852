//! The enrich step: `media.ingested` → text, thumbnail, facts, search document → `media.enriched`.
//!
//! An [`Extractor`] parses files, in production a child process ([`mfctl_extract::sandbox`]): this step itself never parses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::sync::watch;

use crate::pipeline::worker::{CleanupFailure, PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::domain::asset::AssetFacts;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::event::{EventEnvelope, MediaEnriched, MediaIngested, trace_of};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetState, EventId, ObjectKey, ObjectRef, Sha256, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    self, Catalog, Clock, ErrorKind, ObjectStore, PutOptions, SearchDocument, SearchIndex, StateTransition,
};
use mfctl_extract::parsers::{ExtractErrorKind, Extraction, Limits};
use mfctl_extract::sandbox::{ExtractRequest, Parser, ParserFailure, ParserFailureClass, ParserFailureKind};

/// Extracts text, facts and a thumbnail from files. Whatever the file, it returns: it neither panics nor hangs, and stays
/// within its limits.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// Parses one file.
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure>;
}

#[async_trait]
impl Extractor for Parser {
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        Self::extract(self, request).await
    }
}

/// The enrich step and the ports it uses.
pub struct Enrich {
    /// Parses originals.
    pub extractor: Arc<dyn Extractor>,
    /// The extractor's limits; the latest value applies to each file.
    pub limits: watch::Receiver<Limits>,
    /// Holds the originals and derived buckets.
    pub objects: Arc<dyn ObjectStore>,
    /// Its assets advance to `enriched`.
    pub catalog: Arc<dyn Catalog>,
    /// Indexes one document per asset.
    pub search: Arc<dyn SearchIndex>,
    /// Encodes `media.enriched`.
    pub codec: Arc<EventCodec>,
    /// Timestamps of events and catalog rows.
    pub clock: Arc<dyn Clock>,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// The folder for temporary files.
    pub scratch: PathBuf,
}

/// The bulk operations left for one asset: index its document, then advance its row.
#[derive(Debug)]
pub struct EnrichEffect {
    advance: StateTransition,
    document: SearchDocument,
}

/// Text and thumbnail as they are stored.
#[derive(Default)]
struct StoredDerivatives {
    text: Option<StoredDerivative>,
    thumbnail: Option<StoredDerivative>,
}

/// A stored derivative with the digest of its bytes.
struct StoredDerivative {
    at: ObjectRef,
    sha256: Sha256,
}

/// The result of the extraction, with the bytes of the thumbnail.
struct ExtractedFile {
    extraction: Extraction,
    thumbnail: Option<Bytes>,
}

impl Enrich {
    async fn extract(&self, input: &MediaIngested) -> Result<ExtractedFile, StepError> {
        if input.original.bucket != self.buckets.originals {
            let message = format!("the event refers to bucket {}, not to the originals", input.original.bucket);
            return Err(StepError::permanent("foreign_bucket", message));
        }
        let scratch = tempfile::Builder::new()
            .prefix("mfctl-enrich-")
            .tempdir_in(&self.scratch)
            .map_err(|error| scratch_error(&error))?;
        let local = self.objects.local(&input.original, scratch.path()).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => StepError::permanent("original_missing", error.full()),
            _ => StepError::Port(error),
        })?;
        let folder = scratch.path().join("out");
        std::fs::create_dir(&folder).map_err(|error| scratch_error(&error))?;
        let thumbnail_to = folder.join("thumb.webp");
        let limits = *self.limits.borrow();
        let request = ExtractRequest {
            path: &local.path,
            media_type: &input.media_type,
            limits: &limits,
            thumbnail_to: Some(&thumbnail_to),
        };
        let extraction = self.extractor.extract(request).await.map_err(parser_error)?;
        let thumbnail = match extraction.thumbnail {
            Some(_) => Some(read_thumbnail(&thumbnail_to, limits.output_bytes).await?),
            None => None,
        };
        Ok(ExtractedFile { extraction, thumbnail })
    }

    /// Stores a derivative at the key that `key_of` makes of its digest.
    async fn put_derived(
        &self,
        key_of: impl FnOnce(&Sha256) -> ObjectKey,
        bytes: Bytes,
        content_type: &str,
    ) -> Result<StoredDerivative, StepError> {
        let sha256 = Sha256(Hasher::digest(&bytes).into());
        let at = ObjectRef { bucket: self.buckets.derived.clone(), key: key_of(&sha256) };
        let options = PutOptions { content_type: Some(content_type.to_owned()), sha256: Some(sha256) };
        self.objects.put(&at, Arc::new(bytes), options).await?;
        Ok(StoredDerivative { at, sha256 })
    }

    /// Stores text and thumbnail, where there are any.
    async fn put_text_and_thumbnail(
        &self,
        envelope: &EventEnvelope,
        extracted: &ExtractedFile,
    ) -> Result<StoredDerivatives, StepError> {
        let EventEnvelope { asset_id, revision, .. } = *envelope;
        let mut stored = StoredDerivatives::default();
        if let Some(text) = extracted.extraction.text.as_deref().filter(|text| !text.trim().is_empty()) {
            let key_of = |sha256: &Sha256| object_keys::derived_text(asset_id, revision, sha256);
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            stored.text = Some(self.put_derived(key_of, bytes, "text/plain; charset=utf-8").await?);
        }
        if let Some(bytes) = &extracted.thumbnail {
            let key_of = |sha256: &Sha256| object_keys::derived_thumbnail(asset_id, revision, sha256);
            stored.thumbnail = Some(self.put_derived(key_of, bytes.clone(), "image/webp").await?);
        }
        Ok(stored)
    }
}

#[async_trait]
impl PipelineStep for Enrich {
    type Input = MediaIngested;
    type Effect = EnrichEffect;

    fn stage(&self) -> Stage {
        Stage::Enrich
    }

    fn envelope(input: &MediaIngested) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, cx: RecordContext<'_>, input: &MediaIngested) -> Result<StepOutput<EnrichEffect>, StepError> {
        let extracted = self.extract(input).await?;
        let derived = self.put_text_and_thumbnail(&input.envelope, &extracted).await?;
        let EventEnvelope { asset_id, revision, .. } = input.envelope;
        let now = self.clock.now();
        let topic = Stage::Enrich.output();
        let event = MediaEnriched {
            envelope: EventEnvelope {
                event_id: EventId::of_output(asset_id, topic.as_str(), revision),
                occurred_at: now,
                ..input.envelope.clone()
            },
            media_type: input.media_type.clone(),
            language: extracted.extraction.language().map(str::to_owned),
            text: derived.text.as_ref().map(|text| text.at.clone()),
            thumbnail: derived.thumbnail.as_ref().map(|thumbnail| thumbnail.at.clone()),
        };
        let trace = trace_of(cx.record).unwrap_or(input.envelope.event_id);
        let record = self.codec.encode(&topic, &event, &event.envelope, trace, now).await?;
        let facts = facts(&extracted.extraction, &event, &derived);
        let document = document(input, extracted.extraction);
        let advance = StateTransition {
            asset_id,
            revision,
            to: AssetState::Enriched,
            at: now,
            facts: Some(facts),
            stage: Stage::Enrich,
        };
        let weight_bytes = document.body.len() + document.title.len() + 1024;
        Ok(StepOutput { records: vec![record], effect: EnrichEffect { advance, document }, weight_bytes })
    }

    async fn finish(&self, effects: &[&EnrichEffect]) -> ports::Result<()> {
        self.objects.sync().await?;
        failpoint::hit("before_upsert");
        self.search.index(effects.iter().map(|effect| effect.document.clone()).collect()).await?;
        self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await?;
        failpoint::hit("after_upsert");
        Ok(())
    }

    async fn after_commit(&self, _: &[&EnrichEffect]) -> Result<(), CleanupFailure> {
        Ok(())
    }
}

fn facts(extraction: &Extraction, event: &MediaEnriched, derived: &StoredDerivatives) -> AssetFacts {
    let image = extraction.image.as_ref();
    AssetFacts {
        title: extraction.title.clone(),
        language: event.language.clone(),
        text_chars: extraction.text.as_ref().map(|text| text.chars().count() as u64),
        text_truncated: extraction.truncated,
        pages: extraction.pages,
        width_px: image.map(|image| image.width),
        height_px: image.map(|image| image.height),
        taken_at: image.and_then(|image| image.taken_at.clone()),
        camera: image.and_then(|image| image.camera.clone()),
        text_key: derived.text.as_ref().map(|text| text.at.key.to_string()),
        text_sha256: derived.text.as_ref().map(|text| text.sha256),
        thumbnail_key: derived.thumbnail.as_ref().map(|thumbnail| thumbnail.at.key.to_string()),
        thumbnail_sha256: derived.thumbnail.as_ref().map(|thumbnail| thumbnail.sha256),
        notes: extraction.notes.clone(),
    }
}

fn document(input: &MediaIngested, extraction: Extraction) -> SearchDocument {
    let language = extraction.language().map(str::to_owned);
    SearchDocument {
        asset_id: input.envelope.asset_id,
        locale: input.envelope.locale.clone(),
        revision: input.envelope.revision,
        tenant: input.envelope.tenant.clone(),
        title: title(input, extraction.title),
        body: extraction.text.unwrap_or_default(),
        tags: input.metadata.tags.clone(),
        collection: input.metadata.collection.clone(),
        media_type: input.media_type.clone(),
        language,
    }
}

/// The title given at ingest, else the one in the file, else the file name.
fn title(input: &MediaIngested, embedded: Option<String>) -> String {
    let given = input.metadata.title.clone();
    let title = given.or(embedded).filter(|title| !title.trim().is_empty());
    title.unwrap_or_else(|| input.file_name.clone())
}

/// A failure of the parser as a failure of the record: one of the environment may pass.
fn parser_error(failure: ParserFailure) -> StepError {
    let class = match failure.class {
        ParserFailureClass::Record => FailureClass::Permanent,
        ParserFailureClass::Environment => FailureClass::Transient,
    };
    StepError::Record { kind: parser_error_kind(failure.kind), class, message: failure.reason }
}

/// The dead letter's error kind for how a parser ended.
fn parser_error_kind(kind: ParserFailureKind) -> &'static str {
    match kind {
        ParserFailureKind::Extract(ExtractErrorKind::Limit) => "parser_limit",
        ParserFailureKind::Extract(ExtractErrorKind::Malformed) => "malformed",
        ParserFailureKind::Extract(ExtractErrorKind::Encrypted) => "encrypted",
        ParserFailureKind::Extract(ExtractErrorKind::Unsupported) => "unsupported",
        ParserFailureKind::Extract(ExtractErrorKind::Io) => "parser_io",
        ParserFailureKind::Crashed => "parser_crash",
        ParserFailureKind::OutOfMemory | ParserFailureKind::Killed => "parser_memory",
        ParserFailureKind::CpuTime => "parser_cpu",
        ParserFailureKind::TimedOut => "parser_timeout",
        ParserFailureKind::OutputTooLarge => "parser_output",
        ParserFailureKind::Spawn => "parser_start",
    }
}

/// The thumbnail that the parser wrote. The parser is not trusted: only a plain file of an allowed size is read.
async fn read_thumbnail(path: &Path, max_bytes: u64) -> Result<Bytes, StepError> {
    let read = async {
        let metadata = tokio::fs::symlink_metadata(path).await?;
        if !metadata.is_file() || metadata.len() > max_bytes {
            return Err(std::io::Error::other("the parser left no thumbnail of an allowed size"));
        }
        tokio::fs::read(path).await
    };
    read.await.map(Bytes::from).map_err(|error| scratch_error(&error))
}

/// Temporary files cannot be used: the fault of the machine, not of the record.
fn scratch_error(error: &std::io::Error) -> StepError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    };
    StepError::Port(ports::Error::new(kind, format!("use a temporary file: {error}")))
}
