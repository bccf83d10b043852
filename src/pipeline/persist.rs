//! The persist step: `ingest.raw` → the durable bucket → `media.ingested`.
//!
//! Originals are stored by content, so that copying twice is copying once. The staged object goes only after the commit,
//! and only by the worker that settled its event.

use std::sync::Arc;

use async_trait::async_trait;

use crate::pipeline::worker::{Leftover, RecordContext, Step, StepError, StepOutput};
use mfctl_core::domain::event::{EventEnvelope, IngestRaw, MediaIngested};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetState, EventId, ObjectRef, SourcePath, Stage};
use mfctl_core::events::EventCodec;
use mfctl_core::failpoint;
use mfctl_core::ports::{self, Catalog, Clock, ErrorKind, ObjectStore, StateTransition};
use mfctl_core::retry::RetryPolicy;

/// The longest file name an event carries, in bytes.
const MAX_FILE_NAME: usize = 1024;

/// How often a new copy is looked at: a replica of the store may hear of it later. The waits between are the retry
/// policy's, 3 to 6 seconds together.
const LOOKS: u32 = 7;

/// What the step works with.
pub struct Persist {
    /// Where bytes are.
    pub objects: Arc<dyn ObjectStore>,
    /// Where assets are.
    pub catalog: Arc<dyn Catalog>,
    /// Writes the output.
    pub codec: Arc<EventCodec>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The environment's buckets.
    pub buckets: Buckets,
}

/// What is to be done in bulk for one asset.
#[derive(Debug)]
pub struct Persisted {
    advance: StateTransition,
    staging: ObjectRef,
}

impl Persist {
    /// Copies the bytes to where their content puts them.
    async fn copy(&self, input: &IngestRaw) -> Result<ObjectRef, StepError> {
        if input.staging.bucket != self.buckets.staging {
            let message = format!("the event points into bucket {}, not into staging", input.staging.bucket);
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

    /// Makes sure that the copy has the size it must have. One that does not show at all is the store's fault, which
    /// said that it copied.
    async fn check_size(&self, original: &ObjectRef, input: &IngestRaw) -> Result<(), StepError> {
        let wanted = input.size_bytes;
        match self.size_shown(original, wanted).await? {
            Some(size) if size == wanted => Ok(()),
            Some(size) => {
                let message = format!("{original} should hold {wanted} bytes and holds {size} bytes");
                Err(StepError::permanent("size_mismatch", message))
            }
            None => {
                let why = "it was copied, and the store does not show it";
                Err(ports::Error::new(ErrorKind::Unreachable, format!("look at object {original}")).because(why).into())
            }
        }
    }

    /// The size of an object as soon as it is the one that is wanted, else as it is after some seconds.
    async fn size_shown(&self, at: &ObjectRef, wanted: u64) -> ports::Result<Option<u64>> {
        let policy = RetryPolicy::default();
        for look in 1..LOOKS {
            let size = self.objects.head(at).await?.map(|info| info.size_bytes);
            if size == Some(wanted) {
                return Ok(size);
            }
            tokio::time::sleep(policy.backoff.delay(look)).await;
        }
        Ok(self.objects.head(at).await?.map(|info| info.size_bytes))
    }
}

#[async_trait]
impl Step for Persist {
    type Input = IngestRaw;
    type Effect = Persisted;

    fn stage(&self) -> Stage {
        Stage::Persist
    }

    fn envelope(input: &IngestRaw) -> &EventEnvelope {
        &input.envelope
    }

    async fn run(&self, _: RecordContext<'_>, input: &IngestRaw) -> Result<StepOutput<Persisted>, StepError> {
        let original = self.copy(input).await?;
        let (asset_id, revision) = (input.envelope.asset_id, input.envelope.revision);
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
        let effect = Persisted { advance, staging: input.staging.clone() };
        Ok(StepOutput { records: vec![record], effect, weight_bytes: 512 })
    }

    async fn finish(&self, effects: &[&Persisted]) -> ports::Result<()> {
        self.objects.sync().await?;
        failpoint::hit("before_upsert");
        self.catalog.advance(effects.iter().map(|effect| effect.advance.clone()).collect()).await?;
        failpoint::hit("after_upsert");
        Ok(())
    }

    async fn after_commit(&self, effects: &[&Persisted]) -> Result<(), Leftover> {
        let staged: Vec<ObjectRef> = effects.iter().map(|effect| effect.staging.clone()).collect();
        let objects = staged.len() as u64;
        self.objects.delete(&staged).await.map_err(|error| Leftover { objects, error })
    }
}

/// The file's name without its folders, cut to what an event carries.
fn file_name(path: &SourcePath) -> String {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    name[..name.floor_char_boundary(MAX_FILE_NAME)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_the_last_part_and_never_too_long_for_the_event() {
        assert_eq!(file_name(&SourcePath::from_text("/a/b/نوروز.pdf")), "نوروز.pdf");
        assert_eq!(file_name(&SourcePath::from_text("plain")), "plain");
        let long = file_name(&SourcePath::from_text(format!("/a/{}", "ن".repeat(600))));
        assert!(long.len() <= MAX_FILE_NAME && long.chars().all(|c| c == 'ن'));
    }
}
