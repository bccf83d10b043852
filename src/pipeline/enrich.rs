//! The enrich step: `media.ingested` → text, thumbnail, facts, search document → `media.enriched`.
//!
//! Files are looked into by an [`Extractor`], in production a child process ([`mfctl_extract::sandbox`]): this step never parses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::pipeline::live::Live;
use crate::pipeline::worker::{Leftover, RecordContext, Step, StepError, StepOutput};
use mfctl_core::domain::asset::AssetFacts;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::event::{EventEnvelope, MediaEnriched, MediaIngested, trace_of};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetState, EventId, ObjectKey, ObjectRef, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    self, Catalog, Clock, ErrorKind, ObjectStore, PutOptions, SearchDocument, SearchIndex, StateTransition,
};
use mfctl_extract::parsers::{ExtractErrorKind, Extraction, Limits};
use mfctl_extract::sandbox::{ExtractRequest, Parser, ParserFailure, ParserFailureClass, ParserFailureKind};

/// Looks into files. Whatever the file, it answers: it neither panics nor hangs nor takes more than its limits.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// Looks into one file.
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure>;
}

#[async_trait]
impl Extractor for Parser {
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        Self::extract(self, request).await
    }
}

/// What the step works with.
pub struct Enrich {
    /// Looks into files.
    pub extractor: Arc<dyn Extractor>,
    /// How far it may go.
    pub limits: Live<Limits>,
    /// Where bytes are.
    pub objects: Arc<dyn ObjectStore>,
    /// Where assets are.
    pub catalog: Arc<dyn Catalog>,
    /// Where they are found.
    pub search: Arc<dyn SearchIndex>,
    /// Writes the output.
    pub codec: Arc<EventCodec>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// Where temporary files go.
    pub scratch: PathBuf,
}

/// What is to be done in bulk for one asset.
#[derive(Debug)]
pub struct Enriched {
    advance: StateTransition,
    document: SearchDocument,
}

/// What a file gave: its facts, and bytes to be kept.
struct Found {
    extraction: Extraction,
    thumbnail: Option<Bytes>,
}

impl Enrich {
    async fn look_into(&self, input: &MediaIngested) -> Result<Found, StepError> {
        if input.original.bucket != self.buckets.originals {
            let message = format!("the event points into bucket {}, not to the originals", input.original.bucket);
            return Err(StepError::permanent("foreign_bucket", message));
        }
        let scratch = tempfile::Builder::new()
            .prefix("mfctl-enrich-")
            .tempdir_in(&self.scratch)
            .map_err(|error| unscratched(&error))?;
        let local = self.objects.local(&input.original, scratch.path()).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => StepError::permanent("original_missing", error.full()),
            _ => StepError::Port(error),
        })?;
        let folder = scratch.path().join("out");
        std::fs::create_dir(&folder).map_err(|error| unscratched(&error))?;
        let thumbnail_to = folder.join("thumb.webp");
        let limits = self.limits.now();
        let request = ExtractRequest {
            path: &local.path,
            media_type: &input.media_type,
            limits: &limits,
            thumbnail_to: Some(&thumbnail_to),
        };
        let extraction = self.extractor.extract(request).await.map_err(refused)?;
        let thumbnail = match extraction.thumbnail {
            Some(_) => Some(read_back(&thumbnail_to, limits.output_bytes).await?),
            None => None,
        };
        Ok(Found { extraction, thumbnail })
    }

    async fn keep(&self, key: ObjectKey, bytes: Bytes, content_type: &str) -> Result<ObjectRef, StepError> {
        let at = ObjectRef { bucket: self.buckets.derived.clone(), key };
        let options = PutOptions { content_type: Some(content_type.to_owned()), sha256: None };
        self.objects.put(&at, Arc::new(bytes), options).await?;
        Ok(at)
    }

    async fn keep_derived(
        &self,
        envelope: &EventEnvelope,
        found: &Found,
    ) -> Result<(Option<ObjectRef>, Option<ObjectRef>), StepError> {
        let (asset, revision) = (envelope.asset_id, envelope.revision);
        let text = match found.extraction.text.as_deref().filter(|text| !text.trim().is_empty()) {
            Some(text) => {
                let bytes = Bytes::copy_from_slice(text.as_bytes());
                Some(self.keep(object_keys::derived_text(asset, revision), bytes, "text/plain; charset=utf-8").await?)
            }
            None => None,
        };
        let thumbnail = match &found.thumbnail {
            Some(bytes) => {
                Some(self.keep(object_keys::derived_thumbnail(asset, revision), bytes.clone(), "image/webp").await?)
            }
            None => None,
        };
        Ok((text, thumbnail))
    }
}

#[async_trait]
impl Step for Enrich {
    type Input = MediaIngested;
    type Effect = Enriched;

    fn stage(&self) -> Stage {
        Stage::Enrich
    }

    fn envelope(input: &MediaIngested) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, cx: RecordContext<'_>, input: &MediaIngested) -> Result<StepOutput<Enriched>, StepError> {
        let found = self.look_into(input).await?;
        let (text, thumbnail) = self.keep_derived(&input.envelope, &found).await?;
        let (asset_id, revision) = (input.envelope.asset_id, input.envelope.revision);
        let (now, topic) = (self.clock.now(), Stage::Enrich.output());
        let event = MediaEnriched {
            envelope: EventEnvelope {
                event_id: EventId::of_output(asset_id, topic.as_str(), revision),
                occurred_at: now,
                ..input.envelope.clone()
            },
            media_type: input.media_type.clone(),
            language: found.extraction.language().map(str::to_owned),
            text,
            thumbnail,
        };
        let trace = trace_of(cx.record).unwrap_or(input.envelope.event_id);
        let record = self.codec.encode(&topic, &event, &event.envelope, trace, now).await?;
        let facts = facts(&found.extraction, &event);
        let document = document(input, found.extraction);
        let advance = StateTransition {
            asset_id,
            revision,
            to: AssetState::Enriched,
            at: now,
            facts: Some(facts),
            stage: Stage::Enrich,
        };
        let weight_bytes = document.body.len() + document.title.len() + 1024;
        Ok(StepOutput { records: vec![record], effect: Enriched { advance, document }, weight_bytes })
    }

    async fn finish(&self, effects: &[&Enriched]) -> ports::Result<()> {
        self.objects.sync().await?;
        failpoint::hit("before_upsert");
        self.search.index(effects.iter().map(|effect| effect.document.clone()).collect()).await?;
        self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await?;
        failpoint::hit("after_upsert");
        Ok(())
    }

    async fn after_commit(&self, _: &[&Enriched]) -> Result<(), Leftover> {
        Ok(())
    }
}

fn facts(extraction: &Extraction, event: &MediaEnriched) -> AssetFacts {
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
        text_key: event.text.as_ref().map(|at| at.key.to_string()),
        thumbnail_key: event.thumbnail.as_ref().map(|at| at.key.to_string()),
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

/// What was said, else what the file says of itself, else its name.
fn title(input: &MediaIngested, found: Option<String>) -> String {
    let said = input.metadata.title.clone();
    let known = said.or(found).filter(|title| !title.trim().is_empty());
    known.unwrap_or_else(|| input.file_name.clone())
}

/// A failure of the parser as the loop's failure.
fn refused(failure: ParserFailure) -> StepError {
    let class = match failure.class {
        ParserFailureClass::Record => FailureClass::Permanent,
        ParserFailureClass::Environment => FailureClass::Transient,
    };
    StepError::Record { kind: word(failure.kind), class, message: failure.reason }
}

/// The short stable word for how a parser ended.
fn word(kind: ParserFailureKind) -> &'static str {
    match kind {
        ParserFailureKind::Extract(ExtractErrorKind::Limit) => "parser_limit",
        ParserFailureKind::Extract(ExtractErrorKind::Malformed) => "malformed",
        ParserFailureKind::Extract(ExtractErrorKind::Encrypted) => "encrypted",
        ParserFailureKind::Extract(ExtractErrorKind::Unsupported) => "unsupported",
        ParserFailureKind::Extract(ExtractErrorKind::Io) => "parser_io",
        ParserFailureKind::Crashed => "parser_crash",
        ParserFailureKind::OutOfMemory => "parser_memory",
        ParserFailureKind::CpuTime => "parser_cpu",
        ParserFailureKind::TimedOut => "parser_timeout",
        ParserFailureKind::OutputTooLarge => "parser_output",
        ParserFailureKind::Spawn => "parser_start",
    }
}

/// The thumbnail that the parser wrote: hostile until proven small.
async fn read_back(path: &Path, most_bytes: u64) -> Result<Bytes, StepError> {
    let read = async {
        let size = tokio::fs::symlink_metadata(path).await?;
        if !size.is_file() || size.len() > most_bytes {
            return Err(std::io::Error::other("the parser left no thumbnail of an allowed size"));
        }
        tokio::fs::read(path).await
    };
    read.await.map(Bytes::from).map_err(|error| unscratched(&error))
}

/// No room or no right for temporary files: the machine's fault, not the record's.
fn unscratched(error: &std::io::Error) -> StepError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    };
    StepError::Port(ports::Error::new(kind, format!("use a temporary file: {error}")))
}
