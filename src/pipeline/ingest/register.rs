//! Registers a batch's files in the catalog, and decides by its answers what happens to each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::context::RunContext;
use super::files::{AcceptedFile, ReadBatch, RefusedFile};
use super::stage::{LostObject, Stager};
use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, ObjectRef, Timestamp};
use mfctl_core::ports::{ContentDigest, Result, StagedAsset, StagedRow};

/// What the catalog's answer means for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StagingDecision {
    /// The file created its asset: its own event is published.
    Own,
    /// The asset existed. If it is still staged, its stored event is published again.
    Duplicate {
        /// Whether to publish the stored event.
        publish: bool,
    },
    /// The asset's staged object was lost: the file's bytes replace it and the stored event is published again.
    Restaged,
    /// The asset was taken down.
    Revoked,
}

impl StagingDecision {
    pub(super) fn publishes(self) -> bool {
        matches!(self, Self::Own | Self::Restaged | Self::Duplicate { publish: true })
    }
}

/// A file that the catalog has a row of.
pub(super) struct RegisteredFile {
    pub(super) file: AcceptedFile,
    /// The catalog's answer.
    pub(super) answer: StagedAsset,
    pub(super) decision: StagingDecision,
    /// The metadata that the asset's row had before, where there was one.
    pub(super) prior_metadata: Option<Metadata>,
}

/// A batch whose files are all decided.
#[derive(Default)]
pub(super) struct RegisteredBatch {
    pub(super) files: Vec<RegisteredFile>,
    pub(super) refused: Vec<RefusedFile>,
    /// Objects of this batch that no row refers to.
    pub(super) unreferenced: Vec<ObjectRef>,
}

/// Reads and writes the catalog's asset rows.
pub(super) struct Registrar {
    context: Arc<RunContext>,
    stager: Stager,
}

impl Registrar {
    pub(super) fn new(context: Arc<RunContext>, stager: Stager) -> Self {
        Self { context, stager }
    }

    /// The assets of these files that the catalog has already.
    pub(super) async fn known_assets(&self, files: &[AcceptedFile]) -> Result<HashMap<AssetId, Asset>> {
        let mut ids: Vec<_> = files.iter().map(|file| file.asset).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let assets = self.context.retry(|| self.context.ports.catalog.assets(&ids)).await?;
        Ok(assets.into_iter().map(|asset| (asset.asset_id, asset)).collect())
    }

    /// Writes the catalog's rows and decides by its answers. Lost objects are restored.
    pub(super) async fn register(&self, batch: ReadBatch, known: &HashMap<AssetId, Asset>) -> Result<RegisteredBatch> {
        let mut registered = RegisteredBatch { refused: batch.refused, ..RegisteredBatch::default() };
        if batch.accepted.is_empty() {
            return Ok(registered);
        }
        let now = self.context.ports.clock.now();
        let rows: Vec<_> = batch.accepted.iter().map(|file| self.catalog_row(file, now)).collect();
        let answers = self.context.retry(|| self.context.ports.catalog.stage(rows.clone())).await?;
        let mut published = HashSet::new();
        let mut lost = Vec::new();
        for (file, answer) in batch.accepted.into_iter().zip(answers) {
            let own = self.context.staging_object(&file.row);
            let decision = self.decide(&file, &answer, &own, &published).await?;
            if decision == StagingDecision::Restaged {
                lost.push(LostObject {
                    copy: own.clone(),
                    original: answer.staging.clone(),
                    content: ContentDigest { size_bytes: file.version.size_bytes, sha256: file.sha256 },
                });
            }
            if decision.publishes() {
                published.insert(answer.event_id);
            }
            let referenced = answer.state == AssetState::Staged && answer.staging == own;
            if file.staged && !referenced {
                registered.unreferenced.push(own);
            }
            let prior_metadata = known.get(&file.asset).map(|asset| asset.metadata.clone());
            registered.files.push(RegisteredFile { file, answer, decision, prior_metadata });
        }
        self.stager.restore(lost).await?;
        Ok(registered)
    }

    async fn decide(
        &self,
        file: &AcceptedFile,
        answer: &StagedAsset,
        own: &ObjectRef,
        published: &HashSet<EventId>,
    ) -> Result<StagingDecision> {
        let is_own = answer.event_id == file.row.event_id;
        Ok(match answer.state {
            AssetState::Revoked => StagingDecision::Revoked,
            state if state.counts_as_duplicate() && is_own => StagingDecision::Own,
            state if state.counts_as_duplicate() => StagingDecision::Duplicate { publish: false },
            _ if file.staged && answer.staging != *own && !self.stager.exists(&answer.staging).await? => {
                StagingDecision::Restaged
            }
            _ if is_own => StagingDecision::Own,
            _ => StagingDecision::Duplicate { publish: !published.contains(&answer.event_id) },
        })
    }

    fn catalog_row(&self, file: &AcceptedFile, staged_at: Timestamp) -> StagedRow {
        StagedRow {
            asset_id: file.asset,
            tenant: self.context.scope.tenant.clone(),
            sha256: file.sha256,
            size_bytes: file.version.size_bytes,
            media_type: file.content_type.media_type.to_owned(),
            event_id: file.row.event_id,
            job_id: self.context.job,
            staging: self.context.staging_object(&file.row),
            staged_at,
            metadata: file.metadata.metadata.clone(),
            source_path: file.row.path.clone(),
            host: self.context.scope.host.clone(),
        }
    }
}
