//! The persist step: `ingest.raw` → the durable bucket → `media.ingested`.
//!
//! Originals are content-addressed, so that a repeated copy is a no-op. The staged object is deleted only after the commit,
//! and only by the worker that committed its event.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::pipeline::worker::{CleanupFailure, PipelineStep, RecordContext, StepError, StepOutput};
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, MediaIngested};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetState, EventId, ObjectRef, SourcePath, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{self, Catalog, Clock, ErrorKind, ObjectStore, StateTransition};
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
}

/// The bulk operations left for one asset: advance its row, then delete its staged object.
#[derive(Debug)]
pub struct PersistEffect {
    advance: StateTransition,
    staging: ObjectRef,
}

impl Persist {
    /// Copies the staged object to its content-addressed key.
    async fn copy(&self, input: &IngestRaw) -> Result<ObjectRef, StepError> {
        if input.staging.bucket != self.buckets.staging {
            let message = format!("the event refers to bucket {}, not to staging", input.staging.bucket);
            return Err(StepError::permanent("foreign_bucket", message));
        }
        let key = object_keys::original(&input.envelope.tenant, &input.envelope.sha256);
        let original = ObjectRef { bucket: self.buckets.originals.clone(), key };
        failpoint::hit("before_copy");
        let copied = self.objects.copy(&input.staging, &original, input.size_bytes).await;
        copied.map_err(|error| match error.kind() {
            ErrorKind::NotFound => StepError::permanent("staged_object_missing", error.full()),
            _ => StepError::Port(error),
        })?;
        failpoint::hit("after_copy");
        self.check_size(&original, input).await?;
        Ok(original)
    }

    /// Checks that the copy has the size given in the event. A copy that stays invisible is an outage of the store, which
    /// confirmed it, and no fault of the record.
    async fn check_size(&self, original: &ObjectRef, input: &IngestRaw) -> Result<(), StepError> {
        let expected = input.size_bytes;
        match self.visible_size(original, expected).await? {
            Some(size) if size == expected => Ok(()),
            Some(size) => {
                let message = format!("{original} should hold {expected} bytes and holds {size} bytes");
                Err(StepError::permanent("size_mismatch", message))
            }
            None => {
                let why = "it was copied, and the store does not show it";
                Err(ports::Error::new(ErrorKind::Unreachable, format!("look at object {original}")).because(why).into())
            }
        }
    }

    /// The size of an object as soon as it is the expected one, else its size after [`VISIBILITY_TIMEOUT`]: a replica of the
    /// store may not have the copy yet.
    async fn visible_size(&self, at: &ObjectRef, expected: u64) -> ports::Result<Option<u64>> {
        let deadline = Instant::now() + VISIBILITY_TIMEOUT;
        let head = || async {
            match self.objects.head(at).await.map(|info| info.map(|info| info.size_bytes)) {
                Ok(size) if size != Some(expected) => ControlFlow::Continue(size),
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
        let original = self.copy(input).await?;
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
        let record = self.codec.encode(&topic, &event, &event.envelope, input.envelope.event_id, now).await?;
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

    async fn finish(&self, effects: &[&PersistEffect]) -> ports::Result<()> {
        self.objects.sync().await?;
        failpoint::hit("before_upsert");
        self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await?;
        failpoint::hit("after_upsert");
        Ok(())
    }

    async fn after_commit(&self, effects: &[&PersistEffect]) -> Result<(), CleanupFailure> {
        let staged: Vec<ObjectRef> = effects.iter().map(|effect| effect.staging.clone()).collect();
        let objects = staged.len() as u64;
        self.objects.delete(&staged).await.map_err(|error| CleanupFailure { objects, error })
    }
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
