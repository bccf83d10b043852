//! The lease of an ingest job: of all hosts, one runs a job at a time. The catalog keeps it; every catalog applies the
//! rule of [`take`], the embedded one by calling it.
//!
//! Each holder has an epoch, and what it writes of the job's outcomes names it. Once another took the lease over, the
//! epoch is not the stored one any more, and what the former holder writes late is refused.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::JobId;
use super::job::JobStatus;
use super::names::Tenant;

/// The number of a holder of a job's lease: 1 for the first, and 1 more each time that the lease is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JobEpoch(pub i64);

/// Whether a job's lease can be taken. `Held` stays so by renewals; it becomes `Ended` when its holder gives it up, and
/// `Expired` when the holder does not renew it in time. `Ended` and `Expired` become `Held` when a host takes the
/// lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Its holder runs the job, or did when it renewed the lease.
    Held,
    /// Its holder died or cannot reach the catalog.
    Expired,
    /// Its holder has stopped.
    Ended,
}

impl LeaseState {
    /// The state at a time of a lease that expires at `expires_at`; `None` for one that was given up.
    #[must_use]
    pub fn at(now: Timestamp, expires_at: Option<Timestamp>) -> Self {
        match expires_at {
            None => Self::Ended,
            Some(at) if at <= now => Self::Expired,
            Some(_) => Self::Held,
        }
    }
}

/// The lease of a job, or the last one that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredLease {
    /// Identity of the journal of the holder.
    pub owner: String,
    /// Host of the holder.
    pub host: String,
    /// Epoch of the holder.
    pub epoch: JobEpoch,
    /// Whether it is in force, by the catalog's clock.
    pub state: LeaseState,
    /// When it was taken, by the catalog's clock.
    #[schemars(with = "String")]
    pub taken_at: Timestamp,
    /// When it expires or expired, by the catalog's clock; `None` once it was given up.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
}

/// Decides on a request for a lease by `owner`, which saw the epoch `replaces` (`None`: no lease). Returns the epoch of
/// the new holder; `None` if the request is refused. A request that is repeated gets the same epoch.
#[must_use]
pub fn take(stored: Option<&StoredLease>, owner: &str, replaces: Option<JobEpoch>) -> Option<JobEpoch> {
    let next = JobEpoch(replaces.map_or(0, |epoch| epoch.0) + 1);
    let Some(stored) = stored else { return replaces.is_none().then_some(next) };
    let is_own = stored.owner == owner;
    let is_held = stored.state == LeaseState::Held;
    let is_repeated = stored.epoch == next && is_own && is_held;
    let is_free = Some(stored.epoch) == replaces && (is_own || !is_held);
    (is_repeated || is_free).then_some(next)
}

/// What a journal has of the outcomes that were recorded under a job's leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedLease {
    /// The journal has the outcomes of this epoch and of those before it.
    pub epoch: JobEpoch,
    /// Files that another host had found, which this one has to find before the job is finished; `None` if the job was
    /// never another host's.
    pub expected_files: Option<u64>,
}

/// Whether a journal of this owner has every outcome that was recorded under a job's leases. A lease that the owner took
/// from the epoch that it knows has no other holder in between: its process died before the journal was written.
#[must_use]
pub fn is_imported(stored: &StoredLease, owner: &str, imported: Option<JobEpoch>) -> bool {
    let known = imported.map_or(0, |epoch| epoch.0);
    stored.epoch.0 == known || (stored.owner == owner && stored.epoch.0 == known + 1)
}

/// What a holder names in its writes: they are refused once another epoch is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFence {
    /// The job.
    pub job_id: JobId,
    /// Tenant of the job.
    pub tenant: Tenant,
    /// Epoch of the holder.
    pub epoch: JobEpoch,
}

impl JobFence {
    /// Whether it fences this job of this tenant.
    #[must_use]
    pub fn covers(&self, job: JobId, tenant: &Tenant) -> bool {
        self.job_id == job && self.tenant == *tenant
    }
}

/// What the holders of a job's lease recorded of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobRecord {
    /// Who started it.
    pub actor: String,
    /// Roots and options as canonical JSON.
    pub spec: serde_json::Value,
    /// Status at the end of the latest run; `running` while the lease was not given up.
    pub status: JobStatus,
    /// Why it was interrupted.
    pub reason: Option<String>,
    /// Start time.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Start or end of the latest run.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// End time, once it is finished.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Files that its holders had found when they last renewed or ended the lease; `None` if no holder said so.
    pub discovered: Option<u64>,
    /// The lease.
    pub lease: StoredLease,
}

/// A job as the catalog has it.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogJob {
    /// Job id.
    pub job_id: JobId,
    /// Tenant of its assets.
    pub tenant: Tenant,
    /// When the catalog was first told of it.
    pub recorded_at: Timestamp,
    /// What its holders recorded; `None` for a job of a release without leases, of which only outcomes are known.
    pub record: Option<JobRecord>,
}

/// Counts of the outcomes that were recorded of a job's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Files that were ingested as an asset.
    pub accepted: u64,
    /// Files that were refused for good.
    pub rejected: u64,
    /// Files that failed and may be retried.
    pub failed: u64,
    /// Total size in bytes of those with a known size.
    pub bytes: u64,
}

impl OutcomeCounts {
    /// All of them.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.accepted + self.rejected + self.failed
    }
}

impl std::ops::AddAssign for OutcomeCounts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(owner: &str, epoch: i64, state: LeaseState) -> StoredLease {
        let at = Timestamp::UNIX_EPOCH;
        let expires_at = (state != LeaseState::Ended).then_some(at);
        StoredLease {
            owner: owner.into(),
            host: "host".into(),
            epoch: JobEpoch(epoch),
            state,
            taken_at: at,
            expires_at,
        }
    }

    #[test]
    fn another_host_takes_a_lease_only_once_it_is_expired_or_ended() {
        let seen = Some(JobEpoch(3));
        for (state, taken) in [(LeaseState::Held, None), (LeaseState::Expired, Some(4)), (LeaseState::Ended, Some(4))] {
            assert_eq!(take(Some(&lease("a", 3, state)), "b", seen), taken.map(JobEpoch), "{state:?}");
            assert_eq!(take(Some(&lease("a", 3, state)), "a", seen), Some(JobEpoch(4)), "its own, {state:?}");
        }
        assert_eq!(take(None, "a", None), Some(JobEpoch(1)));
        assert_eq!(take(None, "a", seen), None);
    }

    #[test]
    fn late_request_is_refused_and_a_repeated_one_changes_nothing() {
        let held = lease("a", 3, LeaseState::Held);
        assert_eq!(take(Some(&held), "a", Some(JobEpoch(2))), Some(JobEpoch(3)), "repeated");
        assert_eq!(take(Some(&held), "b", Some(JobEpoch(2))), None, "another was faster");
        assert_eq!(take(Some(&held), "a", Some(JobEpoch(1))), None, "late");
        assert_eq!(take(Some(&lease("a", 3, LeaseState::Ended)), "a", Some(JobEpoch(2))), None, "late, after its end");
        assert_eq!(take(Some(&lease("a", 3, LeaseState::Expired)), "b", None), None, "late");
    }

    #[test]
    fn outcomes_are_imported_unless_another_holder_was_in_between() {
        let seen = Some(JobEpoch(3));
        let ended = |owner, epoch| lease(owner, epoch, LeaseState::Ended);
        assert!(is_imported(&ended("b", 3), "a", seen), "imported already");
        assert!(is_imported(&ended("a", 4), "a", seen), "taken by the owner itself");
        assert!(!is_imported(&ended("b", 4), "a", seen));
        assert!(!is_imported(&ended("a", 5), "a", seen), "another may have had epoch 4");
        assert!(is_imported(&ended("a", 1), "a", None) && !is_imported(&ended("b", 1), "a", None));
    }

    #[test]
    fn lease_expires_at_its_time() {
        let at = Timestamp::UNIX_EPOCH;
        let before = at.checked_sub(jiff::Span::new().microseconds(1)).unwrap();
        assert_eq!(LeaseState::at(before, Some(at)), LeaseState::Held);
        assert_eq!(LeaseState::at(at, Some(at)), LeaseState::Expired);
        assert_eq!(LeaseState::at(at, None), LeaseState::Ended);
    }
}
