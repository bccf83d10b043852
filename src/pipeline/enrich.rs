//! The enrich step: `media.ingested` → text, thumbnail, facts, search document → `media.enriched`.
//!
//! An [`Extractor`] parses files, in production a child process ([`mfctl_extract::sandbox`]): this step itself never parses.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::pipeline::scratch::Scratch;
use crate::pipeline::store_check::{StoreBaseline, StoreCheck, mismatch};
use crate::pipeline::withdrawal::Withdrawer;
use crate::pipeline::worker::{PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::domain::asset::AssetFacts;
use mfctl_core::domain::event::{EventEnvelope, MediaEnriched, MediaIngested, trace_of};
use mfctl_core::domain::host_errors::is_host_exhausted;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetId, AssetState, EventId, ObjectKey, ObjectRef, Sha256, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    self, Catalog, Clock, ContentDigest, Dependency, ErrorKind, LocalObject, ObjectStore, PutOptions, SearchDocument,
    SearchIndex, StateTransition,
};
use mfctl_extract::parsers::{self, ExtractErrorKind, Extraction, Limits, Need};
use mfctl_extract::sandbox::{ExtractRequest, Parser, ParserFailure, ParserFailureClass, ParserFailureKind};

/// Extracts text, facts and a thumbnail from files. Whatever the file, it returns: it neither panics nor hangs, and stays
/// within its limits.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// Parses one file.
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure>;

    /// Parses built-in samples under these limits, as [`Parser::check`].
    async fn check(&self, limits: &Limits) -> Result<(), ParserFailure>;
}

#[async_trait]
impl Extractor for Parser {
    async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        Self::extract(self, request).await
    }

    async fn check(&self, limits: &Limits) -> Result<(), ParserFailure> {
        Self::check(self, limits).await
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
    /// What the object store had at the worker's start.
    pub baseline: StoreBaseline,
    /// The folder for temporary files.
    pub scratch: Scratch,
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
    fn store(&self) -> StoreCheck<'_> {
        StoreCheck { objects: self.objects.as_ref(), buckets: &self.buckets, baseline: self.baseline }
    }

    /// Why an original could not be read.
    async fn original_error(&self, error: ports::Error) -> StepError {
        self.store().step_error(error, "original_missing").await
    }

    async fn extract(&self, input: &MediaIngested) -> Result<ExtractedFile, StepError> {
        if input.original.bucket != self.buckets.originals {
            let message = format!("the event refers to bucket {}, not to the originals", input.original.bucket);
            return Err(StepError::permanent("foreign_bucket", message));
        }
        let limits = *self.limits.borrow();
        // Before anything is fetched: a video of 50 GB has no extractor.
        let need = parsers::need(&input.media_type, input.size_bytes, &limits).map_err(|error| {
            StepError::permanent(parser_error_kind(ParserFailureKind::Extract(error.kind)), error.message)
        })?;
        let need = match need {
            Need::Nothing(extraction) => {
                self.check_size(input).await?;
                return Ok(ExtractedFile { extraction: *extraction, thumbnail: None });
            }
            need => need,
        };
        let scratch = self.scratch.folder().map_err(|error| scratch_error(&error))?;
        let local = self.fetch(input, &need, scratch.path()).await?;
        let folder = scratch.path().join("out");
        std::fs::create_dir(&folder).map_err(|error| scratch_error(&error))?;
        let thumbnail_to = folder.join("thumb.webp");
        let request = ExtractRequest {
            path: &local.path,
            media_type: &input.media_type,
            limits: &limits,
            thumbnail_to: Some(&thumbnail_to),
        };
        let extraction = match self.extractor.extract(request).await {
            Ok(extraction) => extraction,
            Err(failure) if failure.kind == ParserFailureKind::File => return Err(unreadable(failure.reason)),
            Err(failure) => return Err(self.parser_error(failure, &limits).await),
        };
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
        let sha256 = Sha256::of(&bytes);
        let at = ObjectRef { bucket: self.buckets.derived.clone(), key: key_of(&sha256) };
        let options = PutOptions { content_type: Some(content_type.to_owned()), sha256: Some(sha256) };
        match self.objects.put(&at, Arc::new(bytes), options).await {
            Ok(_) => Ok(StoredDerivative { at, sha256 }),
            Err(error) => Err(self.store().step_error(error, "derivative_not_stored").await),
        }
    }

    /// The original as a local file, or the start of it where the parser reads no more.
    async fn fetch(&self, input: &MediaIngested, need: &Need, dir: &Path) -> Result<LocalObject, StepError> {
        let at = &input.original;
        let fetched = match need {
            Need::Start(bytes) if input.size_bytes > *bytes => {
                self.check_size(input).await?;
                let start = match self.objects.open(at).await {
                    Ok(start) => start,
                    Err(error) => return Err(self.original_error(error).await),
                };
                return match fetch_start(start, *bytes, at, dir).await {
                    Err(StepError::Port(error)) if error.kind() == ErrorKind::NotFound => {
                        Err(self.original_error(error).await)
                    }
                    fetched => fetched,
                };
            }
            _ => self.objects.local(at, dir).await,
        };
        let local = match fetched {
            Ok(local) => local,
            Err(error) => return Err(self.original_error(error).await),
        };
        let path = local.path.clone();
        let size_bytes = input.size_bytes;
        let read = move || ContentDigest::read(std::fs::File::open(path)?, size_bytes);
        let found = tokio::task::spawn_blocking(read).await;
        let found = found.unwrap_or_else(|error| Err(error.into())).map_err(|error| read_error(at, error))?;
        let expected = ContentDigest { size_bytes, sha256: input.envelope.sha256 };
        match found == expected {
            true => Ok(local),
            false => Err(mismatch(format!("original {at} is damaged: it holds {found}, not {expected}"))),
        }
    }

    /// Compares the original's size with its event, where its bytes are not read or only their start is.
    async fn check_size(&self, input: &MediaIngested) -> Result<(), StepError> {
        let MediaIngested { original: at, size_bytes, .. } = input;
        let missing = || ports::Error::new(ErrorKind::NotFound, format!("object {at} does not exist"));
        let head = self.objects.head(at).await.and_then(|info| info.ok_or_else(missing));
        match head {
            Ok(info) if info.size_bytes == *size_bytes => Ok(()),
            Ok(info) => {
                let message = format!("original {at} is damaged: it has {} bytes, not {size_bytes}", info.size_bytes);
                Err(mismatch(message))
            }
            Err(error) => Err(self.original_error(error).await),
        }
    }

    /// A failure of the parser as a failure of the record, or of the parser itself.
    ///
    /// What another file might meet too is a failure of the parser: it is tried again, and charged to the file only if the
    /// parser works for the built-in samples all the time. A parser that ended abnormally on the file, as its sandbox ends
    /// it, is the file's fault if the samples are parsed now.
    async fn parser_error(&self, failure: ParserFailure, limits: &Limits) -> StepError {
        let kind = parser_error_kind(failure.kind);
        if failure.kind == ParserFailureKind::HostExhausted {
            return StepError::Port(ports::Error::new(ErrorKind::Full, failure.reason).of(Dependency::Parser));
        }
        let is_files = match (failure.class, failure.kind) {
            (ParserFailureClass::Environment, _) => false,
            (ParserFailureClass::Record, ParserFailureKind::Extract(_)) => true,
            (ParserFailureClass::Record, _) => self.extractor.check(limits).await.is_ok(),
        };
        match is_files {
            true => StepError::permanent(kind, failure.reason),
            false => StepError::Dependency { dependency: Dependency::Parser, kind, message: failure.reason },
        }
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
        let extracted = match self.extract(input).await {
            Ok(extracted) => extracted,
            Err(error) => return Err(self.store().judge_denied(error, &[&input.original]).await),
        };
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
        let encoded = self.codec.encode(&topic, &event, &event.envelope, trace, now).await;
        let record = encoded.map_err(|error| error.of(Dependency::Registry))?;
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

    async fn check(&self, dependency: Dependency) -> Option<ports::Result<()>> {
        match dependency {
            Dependency::Objects => Some(self.store().check().await),
            Dependency::Search => {
                let no_asset = [AssetId(uuid::Uuid::nil())];
                Some(self.search.indexed(&no_asset).await.map(drop))
            }
            Dependency::Parser => {
                let limits = *self.limits.borrow();
                let unavailable = |failure: ParserFailure| ports::Error::new(ErrorKind::Unreachable, failure.reason);
                Some(self.extractor.check(&limits).await.map_err(unavailable))
            }
            Dependency::Scratch => Some(self.scratch.folder().map(drop).map_err(|error| {
                ports::Error::new(ErrorKind::Unreachable, "create a temporary folder").because(error)
            })),
            _ => None,
        }
    }

    async fn withdraw(&self, revoked: &[AssetId]) -> ports::Result<()> {
        let Self { catalog, objects, buckets, .. } = self;
        let withdrawer = Withdrawer { catalog: catalog.as_ref(), objects: objects.as_ref(), buckets };
        for (asset, policy) in withdrawer.revoked(revoked).await? {
            let removed = self.search.remove(asset.asset_id, asset.revision).await;
            removed.map_err(|error| error.of(Dependency::Search))?;
            withdrawer.remove_derivatives(&asset, policy.removal()).await?;
        }
        Ok(())
    }

    async fn finish(&self, effects: &[&EnrichEffect]) -> ports::Result<()> {
        self.objects.sync().await.map_err(|error| error.of(Dependency::Objects))?;
        failpoint::hit("before_upsert");
        let indexed = self.search.index(effects.iter().map(|effect| effect.document.clone()).collect()).await;
        indexed.map_err(|error| error.of(Dependency::Search))?;
        let advanced = self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await;
        let revoked = advanced.map_err(|error| error.of(Dependency::Catalog))?;
        if !revoked.is_empty() {
            self.withdraw(&revoked).await?;
        }
        failpoint::hit("after_upsert");
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
        names: vec![input.file_name.clone()],
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

/// The first bytes of an object as a temporary file.
async fn fetch_start(
    reader: impl AsyncRead + Send + Unpin,
    bytes: u64,
    at: &ObjectRef,
    dir: &Path,
) -> Result<LocalObject, StepError> {
    let file = tempfile::Builder::new().prefix("object-").tempfile_in(dir).map_err(|error| scratch_error(&error))?;
    let (file, temporary) = file.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut start = reader.take(bytes);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = start.read(&mut buffer).await.map_err(|error| read_error(at, error))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).await.map_err(|error| scratch_error(&error))?;
    }
    file.flush().await.map_err(|error| scratch_error(&error))?;
    Ok(LocalObject { path: temporary.to_path_buf(), temporary: Some(temporary) })
}

/// Why the bytes of an original could not be read: the store's own error, which came through the reader, or the file's.
fn read_error(at: &ObjectRef, error: std::io::Error) -> StepError {
    let error = match error.downcast::<ports::Error>() {
        Ok(error) => return StepError::Port(error.of(Dependency::Objects)),
        Err(error) => error,
    };
    let what = format!("read original {at}");
    let kind = match error.kind() {
        _ if is_host_exhausted(&error) => ErrorKind::Full,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => return unreadable(format!("{what}: {error}")),
    };
    StepError::Port(ports::Error::new(kind, what).because(error).of(Dependency::Objects))
}

/// The original could not be read, which is neither the parser's fault nor, while other originals can be, the store's.
fn unreadable(message: String) -> StepError {
    StepError::Dependency { dependency: Dependency::Objects, kind: "original_unreadable", message }
}

/// The dead letter's error kind for how a parser ended.
fn parser_error_kind(kind: ParserFailureKind) -> &'static str {
    match kind {
        ParserFailureKind::Extract(ExtractErrorKind::Limit) => "parser_limit",
        ParserFailureKind::Extract(ExtractErrorKind::Malformed) => "malformed",
        ParserFailureKind::Extract(ExtractErrorKind::Encrypted) => "encrypted",
        ParserFailureKind::Extract(ExtractErrorKind::Unsupported) => "unsupported",
        ParserFailureKind::Extract(ExtractErrorKind::Io) => "parser_file_error",
        ParserFailureKind::Crashed => "parser_crash",
        ParserFailureKind::OutOfMemory | ParserFailureKind::Killed => "parser_memory",
        ParserFailureKind::CpuTime => "parser_cpu",
        ParserFailureKind::TimedOut => "parser_timeout",
        ParserFailureKind::OutputTooLarge => "parser_output",
        ParserFailureKind::File => "original_unreadable",
        ParserFailureKind::Spawn | ParserFailureKind::HostExhausted => "parser_start",
    }
}

/// The thumbnail that the parser wrote. The parser is not trusted: only a plain file of an allowed size is read.
async fn read_thumbnail(path: &Path, max_bytes: u64) -> Result<Bytes, StepError> {
    let metadata = tokio::fs::symlink_metadata(path).await.map_err(|error| scratch_error(&error))?;
    if !metadata.is_file() || metadata.len() > max_bytes {
        return Err(StepError::permanent("parser_output", "the parser left no thumbnail of an allowed size"));
    }
    tokio::fs::read(path).await.map(Bytes::from).map_err(|error| scratch_error(&error))
}

/// Temporary files cannot be used: the fault of the machine, not of the record.
fn scratch_error(error: &std::io::Error) -> StepError {
    let kind = match error.kind() {
        _ if is_host_exhausted(error) => ErrorKind::Full,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Unreachable,
    };
    StepError::Port(ports::Error::new(kind, format!("use a temporary file: {error}")).of(Dependency::Scratch))
}
