//! The journey of one batch. The order of its writes is what a killed run relies on:
//!
//! 1. the journal has each file's event id and staging key;
//! 2. the bytes are durable in staging;
//! 3. the catalog has the asset's row (or answers with the row of whoever came first);
//! 4. the event is published;
//! 5. the catalog has the acknowledgement and the file's outcome;
//! 6. the journal says the file is done.
//!
//! Killed anywhere, the next run does the unfinished steps again, with the same ids; each of them is idempotent but the
//! publishing, which is at least once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::Engine;
use super::record::Settled;
use super::retry_call;
use super::stage::{Sorted, Taken};
use super::walk::Candidate;
use mfctl_core::domain::job::JournalFile;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, EventId, ObjectRef, SourcePath, Timestamp};
use mfctl_core::failpoint;
use mfctl_core::ports::{PlannedFile, Result, StagedAsset, StagedRow};

/// What the catalog's answer means for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stands for its asset: its own event is published.
    Own,
    /// Its asset was there. If that waits to be ingested, its stored event is published again.
    Duplicate {
        /// Whether to publish.
        publish: bool,
    },
    /// Its asset's object was lost; the file's own bytes take its place and the stored event is published again.
    Restaged,
    /// Its asset was taken down.
    Revoked,
}

impl Verdict {
    pub(super) fn publishes(self) -> bool {
        matches!(self, Self::Own | Self::Restaged | Self::Duplicate { publish: true })
    }
}

impl Engine {
    /// Takes a batch from what was found to its outcomes.
    pub(super) async fn journey(self: &Arc<Self>, batch: Vec<Candidate>) -> Result<()> {
        let files = self.plan(batch).await?;
        failpoint::hit("ingest_planned");
        let mut sorted = self.read_all(files).await?;
        let known = self.known(&sorted.taken).await?;
        self.stage_new(&mut sorted, &known).await?;
        failpoint::hit("ingest_durable");
        let settled = self.settle(sorted, &known).await?;
        failpoint::hit("ingest_staged");
        self.record(settled).await
    }

    /// Fixes event ids and staging keys; files that have their outcome from an earlier run are passed over.
    async fn plan(&self, batch: Vec<Candidate>) -> Result<Vec<(JournalFile, Candidate)>> {
        let mut seen = HashSet::new();
        let mut found = Vec::with_capacity(batch.len());
        let mut planned = Vec::with_capacity(batch.len());
        for candidate in batch {
            let path = SourcePath::from_path(&candidate.path);
            if !seen.insert(path.clone()) {
                continue;
            }
            let event_id = EventId::fresh();
            let staging_key = object_keys::staging(&self.place.tenant, self.job, event_id);
            planned.push(PlannedFile { path, event_id, staging_key });
            found.push(candidate);
        }
        let rows = retry_call(&self.stop, || self.tools.journal.plan(self.job, planned.clone())).await?;
        let (open, done): (Vec<_>, Vec<_>) = rows.into_iter().zip(found).partition(|(row, _)| !row.step.is_final());
        self.done.files.fetch_add(done.len() as u64, Ordering::Relaxed);
        Ok(open)
    }

    /// The assets that are there already.
    async fn known(&self, taken: &[Taken]) -> Result<HashMap<AssetId, Asset>> {
        let mut ids: Vec<_> = taken.iter().map(|taken| taken.asset).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let assets = retry_call(&self.stop, || self.tools.catalog.assets(&ids)).await?;
        Ok(assets.into_iter().map(|asset| (asset.asset_id, asset)).collect())
    }

    /// Writes the catalog's rows and decides by its answers.
    async fn settle(&self, sorted: Sorted, known: &HashMap<AssetId, Asset>) -> Result<Settled> {
        let mut settled = Settled { refused: sorted.refused, ..Settled::default() };
        if sorted.taken.is_empty() {
            return Ok(settled);
        }
        let now = self.tools.clock.now();
        let rows: Vec<_> = sorted.taken.iter().map(|taken| self.catalog_row(taken, now)).collect();
        let answers = retry_call(&self.stop, || self.tools.catalog.stage(rows.clone())).await?;
        let mut published = HashSet::new();
        let mut restaged = Vec::new();
        for (taken, answer) in sorted.taken.into_iter().zip(answers) {
            let own = self.own_object(&taken.row);
            let verdict = self.verdict(&taken, &answer, &own, &published).await?;
            if verdict == Verdict::Restaged {
                restaged.push((own.clone(), answer.staging.clone(), taken.stat.size_bytes));
            }
            if verdict.publishes() {
                published.insert(answer.event_id);
            }
            let needed = answer.state == AssetState::Staged && answer.staging == own;
            if taken.put && !needed {
                settled.unneeded.push(own);
            }
            let first = known.get(&taken.asset).map(|asset| asset.metadata.clone());
            settled.files.push((taken, answer, verdict, first));
        }
        self.restage(restaged).await?;
        Ok(settled)
    }

    /// Puts bytes back where the stored event points: that event may be in the log already, and is what a worker reads.
    async fn restage(&self, lost: Vec<(ObjectRef, ObjectRef, u64)>) -> Result<()> {
        for (own, stored, bytes) in &lost {
            retry_call(&self.stop, || self.tools.objects.copy(own, stored, *bytes)).await?;
        }
        if lost.is_empty() {
            return Ok(());
        }
        retry_call(&self.stop, || self.tools.objects.sync()).await
    }

    async fn verdict(
        &self,
        taken: &Taken,
        answer: &StagedAsset,
        own: &ObjectRef,
        published: &HashSet<EventId>,
    ) -> Result<Verdict> {
        let is_own = answer.event_id == taken.row.event_id;
        Ok(match answer.state {
            AssetState::Revoked => Verdict::Revoked,
            state if state.counts_as_duplicate() && is_own => Verdict::Own,
            state if state.counts_as_duplicate() => Verdict::Duplicate { publish: false },
            _ if taken.put && answer.staging != *own && !self.is_there(&answer.staging).await? => Verdict::Restaged,
            _ if is_own => Verdict::Own,
            _ => Verdict::Duplicate { publish: !published.contains(&answer.event_id) },
        })
    }

    fn catalog_row(&self, taken: &Taken, now: Timestamp) -> StagedRow {
        StagedRow {
            asset_id: taken.asset,
            tenant: self.place.tenant.clone(),
            sha256: taken.sha256,
            size_bytes: taken.stat.size_bytes,
            media_type: taken.kind.media_type.to_owned(),
            event_id: taken.row.event_id,
            job_id: self.job,
            staging: self.own_object(&taken.row),
            staged_at: now,
            metadata: taken.known.metadata.clone(),
            source_path: taken.row.path.clone(),
            host: self.place.host.clone(),
        }
    }
}
