//! What every part of a run shares: the ports it uses, where it runs, how many it works on at once, what it has done.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::{Position, Progress, Rules, space};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{JobId, Tenant};
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{Catalog, Clock, EventLog, JobJournal, ObjectStore, Ports};
use mfctl_core::stop::Stop;

/// The ports that ingest uses.
pub struct Tools {
    /// Where events go.
    pub log: Arc<dyn EventLog>,
    /// Where bytes go.
    pub objects: Arc<dyn ObjectStore>,
    /// Where metadata goes.
    pub catalog: Arc<dyn Catalog>,
    /// Where the job's journey is kept.
    pub journal: Arc<dyn JobJournal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Writes events.
    pub codec: EventCodec,
}

impl Tools {
    /// Those of a connected profile.
    #[must_use]
    pub fn of(ports: &Ports, codec: EventCodec) -> Self {
        Self {
            log: ports.log.clone(),
            objects: ports.objects.clone(),
            catalog: ports.catalog.clone(),
            journal: ports.journal.clone(),
            clock: ports.clock.clone(),
            codec,
        }
    }
}

/// Where and for whom it runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The tenant.
    pub tenant: Tenant,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// Who runs it.
    pub actor: String,
    /// On which host.
    pub host: String,
    /// Never looked into for media.
    pub data_dir: PathBuf,
}

/// One run of a job.
pub(super) struct Engine {
    pub(super) tools: Arc<Tools>,
    pub(super) place: Place,
    pub(super) rules: Rules,
    pub(super) job: JobId,
    pub(super) stop: Stop,
    /// Files that are read at the same time, over all batches.
    pub(super) hands: Arc<Semaphore>,
    pub(super) concurrency: usize,
    /// Small objects that are sent at the same time, in each batch.
    pub(super) sends: usize,
    pub(super) guard: space::Guard,
    pub(super) done: Done,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) total: Option<space::Estimate>,
}

/// What this run has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Files with an outcome, those that had one before included.
    pub(super) files: AtomicU64,
    /// Files that got their outcome in this run.
    pub(super) settled: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) bytes: Arc<AtomicU64>,
    /// Events published again for assets that others staged.
    pub(super) republished: AtomicU64,
}

impl Engine {
    /// Tells how far it has come.
    pub(super) fn tell(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.progress.at(Position {
            files: read(&self.done.files),
            bytes: read(&self.done.bytes),
            refused: read(&self.done.refused),
            total: self.total,
        });
    }

    /// Whether to begin nothing new.
    pub(super) fn stopping(&self) -> bool {
        self.stop.requested().is_some()
    }
}
