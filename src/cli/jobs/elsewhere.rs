//! A job of another host, as the catalog has it: what its holders recorded of it, and counts of the outcomes that it
//! reported.

use schemars::JsonSchema;
use serde::Serialize;

use super::own_row::status_label;
use crate::cli::context::Connected;
use crate::cli::failure::Result;
use crate::cli::output::{Tone, humane};
use crate::ops::jobs::JobSources;
use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::job_lease::{CatalogJob, StoredLease};
use mfctl_core::domain::{JobId, LeaseState, OutcomeCounts, Tenant, Timestamp};

/// What only the journal of a job's host knows, by the names of the fields of a job of this host.
const ONLY_IN_JOURNAL: [&str; 4] = ["staged", "deduplicated", "published", "inputs"];
/// What is not known either before the job is finished.
const BEFORE_ITS_END: [&str; 2] = ["discovered", "not_reported"];
/// What is not known either of a job of a release that recorded outcomes alone.
const WITHOUT_RECORD: [&str; 5] = ["status", "host", "actor", "spec", "lease"];

/// A job of another host.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobElsewhere {
    /// Job id.
    pub job_id: JobId,
    /// Tenant of its assets.
    pub tenant: Tenant,
    /// Status at the end of its latest run.
    pub status: Option<JobStatus>,
    /// Why it was interrupted.
    pub reason: Option<String>,
    /// Who started it.
    pub actor: Option<String>,
    /// Host that ran it last.
    pub host: Option<String>,
    /// Roots and options as canonical JSON.
    pub spec: Option<serde_json::Value>,
    /// Start time; of a job of an earlier release, when it was first reported.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Start or end of its latest run.
    #[schemars(with = "Option<String>")]
    pub updated_at: Option<Timestamp>,
    /// End time, once it is finished.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Files found; `null` while it is not known.
    pub discovered: Option<u64>,
    /// Files that were found and not reported; `null` while it is not known.
    pub not_reported: Option<u64>,
    /// Reported files that were ingested as an asset.
    pub accepted: u64,
    /// Reported files that cannot be ingested as they are.
    pub rejected: u64,
    /// Reported files that failed and can be retried.
    pub failed: u64,
    /// Bytes of the reported files.
    pub bytes: u64,
    /// Whether a host is running it now.
    pub active: bool,
    /// Its lease, or the last one that it had.
    pub lease: Option<StoredLease>,
    /// Names of what is not known of it on this host.
    pub unknown: Vec<&'static str>,
}

impl JobElsewhere {
    /// Counts the outcomes of a job, unless only its id is printed.
    pub(super) async fn read(connected: &Connected, job: CatalogJob, only_name: bool) -> Result<Self> {
        let counts = match only_name {
            true => OutcomeCounts::default(),
            false => JobSources::of(&connected.ports, &connected.target.tenant).count_outcomes(job.job_id).await?,
        };
        Ok(Self::new(job, counts))
    }

    fn new(job: CatalogJob, counts: OutcomeCounts) -> Self {
        let record = job.record.as_ref();
        let is_finished = record.is_some_and(|record| record.status == JobStatus::Finished);
        let recorded = record.and_then(|record| record.discovered);
        let discovered = is_finished.then(|| recorded.unwrap_or_else(|| counts.files()));
        let mut unknown = ONLY_IN_JOURNAL.to_vec();
        unknown.extend(BEFORE_ITS_END.iter().filter(|_| !is_finished));
        unknown.extend(WITHOUT_RECORD.iter().filter(|_| record.is_none()));
        Self {
            job_id: job.job_id,
            status: record.map(|record| record.status),
            reason: record.and_then(|record| record.reason.clone()),
            actor: record.map(|record| record.actor.clone()),
            host: record.map(|record| record.lease.host.clone()),
            spec: record.map(|record| record.spec.clone()),
            started_at: record.map_or(job.recorded_at, |record| record.started_at),
            updated_at: record.map(|record| record.updated_at),
            finished_at: record.and_then(|record| record.finished_at),
            discovered,
            not_reported: discovered.map(|discovered| discovered.saturating_sub(counts.files())),
            accepted: counts.accepted,
            rejected: counts.rejected,
            failed: counts.failed,
            bytes: counts.bytes,
            active: record
                .is_some_and(|record| record.status == JobStatus::Running && record.lease.state == LeaseState::Held),
            lease: record.map(|record| record.lease.clone()),
            tenant: job.tenant,
            unknown,
        }
    }

    /// The label and tone of its status.
    pub(super) fn status_label(&self) -> (&'static str, Tone) {
        self.status.map_or(("unknown", Tone::Warn), |status| status_label(status, self.active))
    }

    /// Its host, as far as it is known.
    pub(super) fn host_text(&self) -> &str {
        self.host.as_deref().unwrap_or("unknown")
    }
}

/// A lease, for people: `held since 2026-01-02T03:04:05Z`.
pub(super) fn lease_text(lease: Option<&StoredLease>) -> String {
    let Some(lease) = lease else { return "unknown".to_owned() };
    match (lease.state, lease.expires_at) {
        (LeaseState::Held, _) => format!("held since {}", humane::time(lease.taken_at)),
        (LeaseState::Expired, Some(at)) => format!("expired at {}", humane::time(at)),
        (LeaseState::Ended | LeaseState::Expired, _) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::JobEpoch;
    use mfctl_core::domain::job_lease::JobRecord;

    fn job(record: Option<(JobStatus, LeaseState)>) -> CatalogJob {
        let at = Timestamp::UNIX_EPOCH;
        let record = record.map(|(status, state)| JobRecord {
            actor: "me".into(),
            spec: serde_json::json!({}),
            status,
            reason: None,
            started_at: at,
            updated_at: at,
            finished_at: None,
            discovered: None,
            lease: StoredLease {
                owner: "journal".into(),
                host: "other".into(),
                epoch: JobEpoch(1),
                state,
                taken_at: at,
                expires_at: (state != LeaseState::Ended).then_some(at),
            },
        });
        CatalogJob { job_id: JobId::fresh(), tenant: Tenant::default(), recorded_at: at, record }
    }

    #[test]
    fn what_only_the_journal_of_the_host_knows_is_unknown_and_never_zero() {
        let counts = OutcomeCounts { accepted: 3, rejected: 2, failed: 1, bytes: 60 };
        let unfinished = JobElsewhere::new(job(Some((JobStatus::Running, LeaseState::Expired))), counts);
        assert_eq!((unfinished.discovered, unfinished.not_reported, unfinished.active), (None, None, false));
        assert_eq!(unfinished.status_label().0, "died");
        assert!(
            ["staged", "published", "discovered", "not_reported"].iter().all(|name| unfinished.unknown.contains(name))
        );
        let finished = JobElsewhere::new(job(Some((JobStatus::Finished, LeaseState::Ended))), counts);
        assert_eq!((finished.discovered, finished.not_reported), (Some(6), Some(0)));
        assert_eq!(finished.unknown, ONLY_IN_JOURNAL);
        let reported = JobElsewhere::new(job(None), counts);
        assert_eq!(
            (reported.status_label().0, reported.host_text(), reported.discovered),
            ("unknown", "unknown", None)
        );
        assert!(reported.unknown.contains(&"host") && reported.unknown.contains(&"lease"));
    }

    #[test]
    fn lease_says_since_when_it_is_held_or_that_it_ended() {
        let text =
            |state| lease_text(job(Some((JobStatus::Running, state))).record.map(|record| record.lease).as_ref());
        assert_eq!(text(LeaseState::Held), "held since 1970-01-01T00:00:00Z");
        assert_eq!(text(LeaseState::Expired), "expired at 1970-01-01T00:00:00Z");
        assert_eq!((text(LeaseState::Ended).as_str(), lease_text(None).as_str()), ("ended", "unknown"));
    }
}
