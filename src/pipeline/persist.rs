//! The persist step: `ingest.raw` → the durable bucket → `media.ingested`.
//!
//! Originals are content-addressed, so that a repeated copy is a no-op; bytes are verified by their SHA-256 before they
//! become an original, and an original that exists counts only if it has the event's bytes. The staged object is deleted
//! only after the commit, and only by the worker that committed its event.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::pipeline::store_check::{StoreBaseline, StoreCheck, mismatch};
use crate::pipeline::withdrawal::Withdrawer;
use crate::pipeline::worker::{PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, MediaIngested};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetId, AssetState, EventId, ObjectRef, SourcePath, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{
    self, Catalog, Clock, ContentDigest, CopyOutcome, Dependency, ErrorKind, ObjectInfo, ObjectStore, StateTransition,
};
use mfctl_core::retry::RetryPolicy;
use mfctl_core::wait::wait_until;

/// Upper bound of a file name in an event, in bytes.
const MAX_FILE_NAME: usize = 1024;

/// How long a new copy may take to be visible on every replica of the store.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(5);

/// The persist step and the ports it uses.
pub struct Persist {
    /// Holds the staging and originals buckets.
    pub objects: Arc<dyn ObjectStore>,
    /// Its assets advance to `ingested`.
    pub catalog: Arc<dyn Catalog>,
    /// Encodes `media.ingested`.
    pub codec: Arc<EventCodec>,
    /// Timestamps of events and catalog rows.
    pub clock: Arc<dyn Clock>,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// What the object store had at the worker's start.
    pub baseline: StoreBaseline,
}

/// The bulk operations left for one asset: advance its row, then delete its staged object.
#[derive(Debug)]
pub struct PersistEffect {
    advance: StateTransition,
    staging: ObjectRef,
}

impl Persist {
    fn store(&self) -> StoreCheck<'_> {
        StoreCheck { objects: self.objects.as_ref(), buckets: &self.buckets, baseline: self.baseline }
    }

    /// The content-addressed key of the event's original.
    fn original_of(&self, input: &IngestRaw) -> ObjectRef {
        let key = object_keys::original(&input.envelope.tenant, &input.envelope.sha256);
        ObjectRef { bucket: self.buckets.originals.clone(), key }
    }

    /// Copies the staged object to its original.
    async fn copy(&self, input: &IngestRaw, original: &ObjectRef) -> Result<(), StepError> {
        if input.staging.bucket != self.buckets.staging {
            let message = format!("the event refers to bucket {}, not to staging", input.staging.bucket);
            return Err(StepError::permanent("foreign_bucket", message));
        }
        let expected = ContentDigest { size_bytes: input.size_bytes, sha256: input.envelope.sha256 };
        failpoint::hit("before_copy");
        let copied = self.objects.copy(&input.staging, original, &expected).await;
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) => return Err(self.store().step_error(error, "staged_object_missing").await),
        };
        failpoint::hit("after_copy");
        match copied {
            CopyOutcome::Copied => self.check_copy(original, &expected).await?,
            CopyOutcome::AlreadyThere => {}
            CopyOutcome::WrongSource { found } => {
                let message = format!("staged object {} is damaged: it holds {found}, not {expected}", input.staging);
                return Err(mismatch(message));
            }
            CopyOutcome::WrongTarget { found, source } => {
                let staged = match source {
                    None => format!("staged object {} is gone", input.staging),
                    Some(staged) if staged == expected => format!("staged object {} is right", input.staging),
                    Some(staged) => format!("staged object {} holds {staged}", input.staging),
                };
                return Err(mismatch(format!(
                    "original {original} is damaged: it holds {found}, not {expected}; {staged}"
                )));
            }
        }
        Ok(())
    }

    /// Checks that the copy has the expected size and, where the store keeps a checksum, the expected SHA-256. A copy that
    /// stays invisible is an outage of the store, which confirmed it, and no fault of the record.
    async fn check_copy(&self, original: &ObjectRef, expected: &ContentDigest) -> Result<(), StepError> {
        let visible = match self.visible_copy(original, expected).await {
            Ok(visible) => visible,
            Err(error) => return Err(self.store().step_error(error, "original_missing").await),
        };
        match visible {
            Some(info) if is_as_expected(&info, expected) => Ok(()),
            Some(info) => {
                let found = match info.sha256 {
                    Some(sha256) => ContentDigest { size_bytes: info.size_bytes, sha256 }.to_string(),
                    None => format!("{} bytes", info.size_bytes),
                };
                Err(mismatch(format!("original {original} is damaged: it holds {found}, not {expected}")))
            }
            None => {
                let why = "it was copied, and the store does not show it";
                let error = ports::Error::new(ErrorKind::Unreachable, format!("look at object {original}"));
                Err(error.because(why).of(Dependency::Objects).into())
            }
        }
    }

    /// An object's metadata as soon as they are as expected, else those after [`VISIBILITY_TIMEOUT`]: a replica of the store
    /// may not have the copy yet.
    async fn visible_copy(&self, at: &ObjectRef, expected: &ContentDigest) -> ports::Result<Option<ObjectInfo>> {
        let deadline = Instant::now() + VISIBILITY_TIMEOUT;
        let head = || async {
            match self.objects.head(at).await {
                Ok(info) if !info.as_ref().is_some_and(|info| is_as_expected(info, expected)) => {
                    ControlFlow::Continue(info)
                }
                answer => ControlFlow::Break(answer),
            }
        };
        wait_until(deadline, RetryPolicy::default().backoff, head).await.unwrap_or_else(Ok)
    }
}

#[async_trait]
impl PipelineStep for Persist {
    type Input = IngestRaw;
    type Effect = PersistEffect;

    fn stage(&self) -> Stage {
        Stage::Persist
    }

    fn envelope(input: &IngestRaw) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, _: RecordContext<'_>, input: &IngestRaw) -> Result<StepOutput<PersistEffect>, StepError> {
        let original = self.original_of(input);
        if let Err(error) = self.copy(input, &original).await {
            return Err(self.store().judge_denied(error, &[&input.staging, &original]).await);
        }
        let EventEnvelope { asset_id, revision, .. } = input.envelope;
        let now = self.clock.now();
        let topic = Stage::Persist.output();
        let envelope = EventEnvelope {
            event_id: EventId::of_output(asset_id, topic.as_str(), revision),
            occurred_at: now,
            ..input.envelope.clone()
        };
        let event = MediaIngested {
            envelope,
            original,
            size_bytes: input.size_bytes,
            media_type: input.media_type.clone(),
            file_name: file_name(&input.source_path),
            metadata: input.metadata.clone(),
        };
        let encoded = self.codec.encode(&topic, &event, &event.envelope, input.envelope.event_id, now).await;
        let record = encoded.map_err(|error| error.of(Dependency::Registry))?;
        let advance = StateTransition {
            asset_id,
            revision,
            to: AssetState::Ingested,
            at: now,
            facts: None,
            stage: Stage::Persist,
        };
        let effect = PersistEffect { advance, staging: input.staging.clone() };
        Ok(StepOutput { records: vec![record], effect, weight_bytes: 512 })
    }

    async fn check(&self, dependency: Dependency) -> Option<ports::Result<()>> {
        match dependency {
            Dependency::Objects => Some(self.store().check().await),
            _ => None,
        }
    }

    /// What was copied or staged during the takedown goes to the archive, or is purged, as the takedown would have
    /// done.
    async fn withdraw(&self, revoked: &[AssetId]) -> ports::Result<()> {
        let Self { catalog, objects, buckets, .. } = self;
        Withdrawer { catalog: catalog.as_ref(), objects: objects.as_ref(), buckets }.withdraw_bytes(revoked).await
    }

    async fn finish(&self, effects: &[&PersistEffect]) -> ports::Result<()> {
        self.objects.sync().await.map_err(|error| error.of(Dependency::Objects))?;
        failpoint::hit("before_upsert");
        let advanced = self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await;
        let revoked = advanced.map_err(|error| error.of(Dependency::Catalog))?;
        if !revoked.is_empty() {
            self.withdraw(&revoked).await?;
        }
        failpoint::hit("after_upsert");
        Ok(())
    }

    fn staged_object(&self, effect: PersistEffect) -> Option<ObjectRef> {
        Some(effect.staging)
    }
}

fn is_as_expected(info: &ObjectInfo, expected: &ContentDigest) -> bool {
    info.size_bytes == expected.size_bytes && info.sha256.is_none_or(|sha256| sha256 == expected.sha256)
}

/// The last component of a path, truncated to [`MAX_FILE_NAME`] bytes.
fn file_name(path: &SourcePath) -> String {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    name[..name.floor_char_boundary(MAX_FILE_NAME)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_is_the_last_component_within_the_limit() {
        assert_eq!(file_name(&SourcePath::from_text("/a/b/نوروز.pdf")), "نوروز.pdf");
        assert_eq!(file_name(&SourcePath::from_text("plain")), "plain");
        let long = file_name(&SourcePath::from_text(format!("/a/{}", "ن".repeat(600))));
        assert!(long.len() <= MAX_FILE_NAME && long.chars().all(|c| c == 'ن'));
    }
}
