//! What every step of a run shares: its ports, its tenant and buckets, its rules, its job, its stop request, its counters.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::free_space::FreeSpaceGuard;
use super::input::{Incomplete, JobInputs, delete_part, incomplete};
use super::lease::CatalogLease;
use super::progress::ProgressCounters;
use super::rules::FileRules;
use mfctl_core::domain::job::JournalFile;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{JobId, ObjectRef, Tenant};
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, Catalog, Clock, ErrorKind, EventLog, JobCatalog, JobJournal, ObjectStore, Ports};
use mfctl_core::retry::{dependency_failure, retry_until_deadline};
use mfctl_core::stop::Stop;

/// After this long without an answer from a dependency the job is interrupted, and can be resumed.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The ports that ingest uses.
pub struct IngestPorts {
    /// The log that events are published to.
    pub log: Arc<dyn EventLog>,
    /// The store that bytes are staged in.
    pub objects: Arc<dyn ObjectStore>,
    /// The catalog of assets and of each file's outcome.
    pub catalog: Arc<dyn Catalog>,
    /// The jobs of all hosts, in the catalog.
    pub jobs: Arc<dyn JobCatalog>,
    /// The journal that makes a job resumable.
    pub journal: Arc<dyn JobJournal>,
    /// The clock of all timestamps.
    pub clock: Arc<dyn Clock>,
    /// Encodes events.
    pub codec: EventCodec,
}

impl IngestPorts {
    /// The ports of a connected profile.
    #[must_use]
    pub fn from_ports(ports: &Ports, codec: EventCodec) -> Self {
        Self {
            log: ports.log.clone(),
            objects: ports.objects.clone(),
            catalog: ports.catalog.clone(),
            jobs: ports.jobs.clone(),
            journal: ports.journal.clone(),
            clock: ports.clock.clone(),
            codec,
        }
    }
}

/// The tenant and buckets that a run writes to, and who runs it where.
#[derive(Debug, Clone)]
pub struct IngestScope {
    /// The tenant that owns the assets.
    pub tenant: Tenant,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// The actor that events and the job name.
    pub actor: String,
    /// The host that outcomes name.
    pub host: String,
    /// The data folder, which is never walked for media.
    pub data_dir: PathBuf,
}

/// Retries a call to a dependency for [`RETRY_TIMEOUT`]. A full store is not retried.
pub(super) async fn retry<T, F>(stop: &Stop, call: impl FnMut() -> F) -> ports::Result<T>
where
    F: Future<Output = ports::Result<T>>,
{
    let retryable = |error: &ports::Error| dependency_failure(error).filter(|_| error.kind() != ErrorKind::Full);
    retry_until_deadline(RETRY_TIMEOUT, RETRY_TIMEOUT, stop, retryable, call).await
}

/// What the steps of one run share.
pub(super) struct RunContext {
    pub(super) ports: Arc<IngestPorts>,
    pub(super) scope: IngestScope,
    pub(super) rules: Arc<FileRules>,
    pub(super) inputs: Arc<JobInputs>,
    pub(super) job: JobId,
    pub(super) lease: Arc<CatalogLease>,
    pub(super) stop: Stop,
    pub(super) free_space: FreeSpaceGuard,
    pub(super) progress: ProgressCounters,
}

impl RunContext {
    /// Whether a stop was requested: nothing new is started.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.requested().is_some()
    }

    /// Why the job does not have all of its list and manifest, by what was read so far.
    pub(super) fn incomplete(&self) -> Option<Incomplete> {
        incomplete(&self.rules.spec, &self.inputs.progress())
    }

    /// Records in the journal how far the inputs were read, and deletes the parts that were rejected.
    pub(super) async fn record_inputs(&self) -> Result<(), Error> {
        for (kind, part) in self.inputs.rejected() {
            self.ports.journal.remove_input(self.job, kind, part, self.ports.clock.now()).await?;
            delete_part(&self.scope.data_dir, self.job, kind, part)?;
        }
        for input in self.inputs.progress() {
            self.ports.journal.put_input(self.job, input, self.ports.clock.now()).await?;
        }
        Ok(())
    }

    /// As the function [`retry`], until a stop of the run is requested.
    pub(super) async fn retry<T, F>(&self, call: impl FnMut() -> F) -> ports::Result<T>
    where
        F: Future<Output = ports::Result<T>>,
    {
        retry(&self.stop, call).await
    }

    /// Fails as `Fenced` if another host took over the job.
    pub(super) async fn require_lease(&self) -> ports::Result<()> {
        self.retry(|| self.lease.require()).await
    }

    /// The staging object that the journal reserved for a file.
    pub(super) fn staging_object(&self, row: &JournalFile) -> ObjectRef {
        ObjectRef { bucket: self.scope.buckets.staging.clone(), key: row.staging_key.clone() }
    }
}
