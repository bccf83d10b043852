//! The lease of a job in the catalog: taken before the job runs, renewed while it runs, and given up at its end. It
//! keeps other hosts from the job; the journal's lease keeps the other processes of this one from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::{IngestPorts, retry};
use super::error::Error;
use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::job_lease::is_imported;
use mfctl_core::domain::{JobEpoch, JobFence, Timestamp};
use mfctl_core::ports::{self, JobCatalog, JobJournal, LeaseAnswer, LeaseEnd, LeaseRequest, NewJob, lease_lost};
use mfctl_core::stop::Stop;
use mfctl_core::wait;

/// How long after its last renewal another host may take the lease over.
const LIFETIME: Duration = Duration::from_secs(60);
/// From one renewal to the next: two may fail.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(20);

/// A lease that this run took. It is renewed until it is dropped.
pub(super) struct CatalogLease {
    fence: JobFence,
    renewer: Arc<Renewer>,
    renewals: tokio::task::JoinHandle<()>,
}

impl CatalogLease {
    /// Takes the lease of a job whose stored epoch is still the one that was seen (`None`: no lease).
    ///
    /// # Errors
    /// [`Error::HeldElsewhere`] if another host took it; errors of the catalog.
    pub(super) async fn take(
        ports: &IngestPorts,
        job: NewJob,
        seen: Option<JobEpoch>,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let owner = ports.journal.identity().to_owned();
        let (job_id, tenant) = (job.job_id, job.tenant.clone());
        let mut request = LeaseRequest { owner, replaces: seen, lifetime: LIFETIME, job };
        let mut is_repeated = false;
        loop {
            let asked_at = Instant::now();
            match retry(stop, || ports.jobs.take_lease(request.clone())).await? {
                LeaseAnswer::Taken(epoch) => {
                    return Ok(Self::renewed(ports, JobFence { job_id, tenant, epoch }, asked_at));
                }
                // This request was granted, but its answer was lost and the lease has expired since.
                LeaseAnswer::Refused(Some(lease))
                    if !is_repeated && lease.owner == request.owner && is_imported(&lease, &request.owner, seen) =>
                {
                    request.replaces = Some(lease.epoch);
                    is_repeated = true;
                }
                LeaseAnswer::Refused(lease) => {
                    return Err(Error::HeldElsewhere { job: job_id, lease: lease.map(Box::new) });
                }
            }
        }
    }

    fn renewed(ports: &IngestPorts, fence: JobFence, asked_at: Instant) -> Self {
        let renewer = Arc::new(Renewer {
            jobs: Arc::clone(&ports.jobs),
            journal: Arc::clone(&ports.journal),
            fence: fence.clone(),
            confirmed_at: Mutex::new(asked_at),
            is_lost: AtomicBool::new(false),
        });
        let renewals = tokio::spawn(Arc::clone(&renewer).renew_regularly());
        Self { fence, renewer, renewals }
    }

    /// What writes of outcomes name.
    pub(super) fn fence(&self) -> &JobFence {
        &self.fence
    }

    /// Checks that no other host took the lease over. It asks the catalog only if the lease may have expired, as after
    /// a pause of this process.
    ///
    /// # Errors
    /// `Fenced` if another host took it over; errors of the catalog.
    pub(super) async fn require(&self) -> ports::Result<()> {
        if self.renewer.may_have_expired() && !self.renewer.is_lost() {
            self.renewer.renew().await?;
        }
        if self.renewer.is_lost() { Err(lease_lost(self.fence.job_id)) } else { Ok(()) }
    }

    /// Gives the lease up and records how the run ended.
    ///
    /// # Errors
    /// `Fenced` if another host took it over; errors of the catalog.
    pub(super) async fn end(&self, status: JobStatus, reason: Option<&str>, at: Timestamp) -> ports::Result<()> {
        self.renewals.abort();
        let discovered = self.renewer.discovered().await;
        let end = LeaseEnd { status, reason: reason.map(str::to_owned), discovered, at };
        let is_stored = self.renewer.jobs.end_lease(&self.fence, &end).await?;
        if is_stored { Ok(()) } else { Err(lease_lost(self.fence.job_id)) }
    }
}

impl Drop for CatalogLease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

struct Renewer {
    jobs: Arc<dyn JobCatalog>,
    journal: Arc<dyn JobJournal>,
    fence: JobFence,
    /// When the request was sent that the catalog answered last.
    confirmed_at: Mutex<Instant>,
    is_lost: AtomicBool,
}

impl Renewer {
    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    fn may_have_expired(&self) -> bool {
        self.confirmed_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= LIFETIME
    }

    /// Files that the journal has of the job; `None` if it cannot say, as before the job is in it.
    async fn discovered(&self) -> Option<u64> {
        self.journal.counts(self.fence.job_id).await.ok().map(|counts| counts.discovered)
    }

    async fn renew(&self) -> ports::Result<()> {
        let discovered = self.discovered().await;
        let asked_at = Instant::now();
        if self.jobs.renew_lease(&self.fence, LIFETIME, discovered).await? {
            *self.confirmed_at.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
        } else {
            self.is_lost.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// A failed renewal is tried again: while no other host takes it, an expired lease can be renewed.
    async fn renew_regularly(self: Arc<Self>) {
        while !self.is_lost() {
            wait::pause(RENEWAL_INTERVAL).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(job = %self.fence.job_id, error = error.full(), "the job's lease was not renewed");
            }
        }
    }
}
