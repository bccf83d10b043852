//! Writes the dead letters of a batch: whole where their topic takes them; otherwise a stub, whose record is kept as an object.
//!
//! Objects are durable before the commit that refers to them. A worker that dies in between leaves an object without a dead
//! letter, and never a dead letter without its object.

use std::sync::Arc;

use super::commit_request::failure_context;
use super::context::WorkerContext;
use super::finisher::topic_id_of;
use super::outcome::FatalFailure;
use super::record::{CommitBatch, FailedRecord, RecordOutcome};
use super::step::PipelineStep;
use mfctl_core::domain::dead_letter::{FailureContext, dead_letter};
use mfctl_core::domain::dead_letter_stub::{StubSize, stub};
use mfctl_core::domain::kept_record::{self, EncodedRecord};
use mfctl_core::domain::record_limits::{self, max_message_bytes};
use mfctl_core::domain::{NewRecord, ObjectRef, TopicName, object_keys};
use mfctl_core::ports::{Dependency, PartitionFence, PutOptions};

/// The kind of a dead letter of which the log refused the outputs.
pub(super) const OUTPUT_REFUSED: &str = "output_refused";

/// A dead letter of at most this many bytes is written without a look at its topic's limit.
const ALWAYS_TAKEN_BYTES: usize = 64 << 10;

/// Writes dead letters.
pub(super) struct DeadLetterWriter<'a, S> {
    context: &'a WorkerContext<S>,
    /// The fences of the batch, for the ids of topics.
    fences: &'a [PartitionFence],
}

impl<'a, S: PipelineStep> DeadLetterWriter<'a, S> {
    pub(super) fn new(context: &'a WorkerContext<S>, fences: &'a [PartitionFence]) -> Self {
        Self { context, fences }
    }

    /// Writes the dead letter of each failed record of a batch. Waits out outages.
    pub(super) async fn write_all(&self, batch: &mut CommitBatch<S::Effect>) -> Result<(), FatalFailure> {
        let mut is_any_kept = false;
        for (ticket, outcome) in batch.iter_mut() {
            let RecordOutcome::DeadLetter(failed) = outcome else { continue };
            let refusals = self.context.refused.get(ticket).map_or(0, |refusals| refusals.count);
            // The first refusal was that of the outputs.
            let refusals = if failed.kind == OUTPUT_REFUSED { refusals.saturating_sub(1) } else { refusals };
            is_any_kept |= self.write(failed, refusals).await?;
        }
        if is_any_kept {
            let sync = || self.context.ports.objects.sync();
            let synced = self.context.call(&[Dependency::Objects], "keep records of dead letters", sync).await;
            synced.map_err(|error| FatalFailure::from(&error))?;
        }
        Ok(())
    }

    /// Writes one dead letter, of which the log refused this many forms before. Returns whether its record is kept.
    async fn write(&self, failed: &mut FailedRecord, refusals: u32) -> Result<bool, FatalFailure> {
        let context = self.context;
        let topic_id = topic_id_of(self.fences, &failed.record.topic_partition());
        let failure = failure_context(failed, topic_id, &context.group, &context.options.instance);
        let whole = dead_letter(&failed.record, &failure);
        let limit = self.limit(&whole).await;
        if refusals == 0 && record_limits::check(&whole).is_ok() && whole.encoded_bytes() <= limit {
            failed.letter = Some(Box::new(whole));
            return Ok(false);
        }
        drop(whole);
        let letter = self.keep(failed, &failure, refusals, limit).await?;
        failed.letter = Some(Box::new(letter));
        Ok(true)
    }

    /// Keeps the record of a dead letter, and returns its stub.
    async fn keep(
        &self,
        failed: &FailedRecord,
        failure: &FailureContext<'_>,
        refusals: u32,
        limit: usize,
    ) -> Result<NewRecord, FatalFailure> {
        let encoded = kept_record::encode(&failed.record);
        let source = &failed.record.address;
        let object = ObjectRef {
            bucket: self.context.ports.buckets.kept_records().clone(),
            key: object_keys::kept_record(source, &encoded.sha256, self.context.writer),
        };
        self.put(&object, &encoded).await?;
        let letter = |size| stub(&failed.record, failure, &encoded, &object, size);
        let usual = letter(StubSize::Usual);
        let is_taken = refusals <= 1 && usual.encoded_bytes() <= limit;
        tracing::warn!(%source, kind = failed.kind, %object, bytes = encoded.bytes.len(),
            "stored a record that is too large for its dead-letter topic");
        Ok(if is_taken { usual } else { letter(StubSize::Smallest) })
    }

    async fn put(&self, object: &ObjectRef, encoded: &EncodedRecord) -> Result<(), FatalFailure> {
        let put = || {
            let content_type = Some("application/octet-stream".to_owned());
            let options = PutOptions { content_type, sha256: Some(encoded.sha256) };
            self.context.ports.objects.put(object, Arc::new(encoded.bytes.clone()), options)
        };
        let put = self.context.call(&[Dependency::Objects], "keep the record of a dead letter", put).await;
        put.map(drop).map_err(|error| FatalFailure::from(&error))
    }

    /// What the dead letter's topic takes. Where the log does not tell, the limit of the contract: the commit shows it.
    async fn limit(&self, letter: &NewRecord) -> usize {
        let topic: &TopicName = &letter.topic;
        if letter.encoded_bytes() <= ALWAYS_TAKEN_BYTES {
            return max_message_bytes(topic);
        }
        self.context.ports.log.max_message_bytes(topic).await.unwrap_or_else(|error| {
            tracing::debug!(%topic, error = error.full(), "could not read the size limit of a topic");
            max_message_bytes(topic)
        })
    }
}
