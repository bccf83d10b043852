//! The contract of `JobCatalog`, and of outcomes that are recorded under a lease.

use std::time::Duration;

use futures_util::future::join_all;
use mfctl_core::domain::job::{FileOutcome, JobOutcome, JobStatus};
use mfctl_core::domain::job_lease::{CatalogJob, JobRecord};
use mfctl_core::domain::{
    AssetId, EventId, JobEpoch, JobFence, JobId, LeaseState, OutcomeCounts, SourcePath, Tenant, Timestamp,
};
use mfctl_core::ports::{Catalog, ErrorKind, JobCatalog, LeaseAnswer, LeaseEnd, LeaseRequest, NewJob};

use crate::contract::catalog::{asset_id, at, job};
use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns an empty catalog.
macro_rules! job_lease_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::job_leases:
            lease_is_refused_while_another_host_holds_it,
            expired_lease_is_taken_over_and_its_former_holder_changes_nothing,
            late_request_for_a_lease_changes_nothing,
            expired_lease_is_renewed_while_nobody_took_it,
            job_keeps_what_its_first_holder_recorded_and_how_the_last_run_ended,
            concurrent_requests_for_a_lease_have_one_holder,
            jobs_are_paged_latest_first_with_those_of_which_only_outcomes_are_known,
            outcomes_are_counted_in_pages,
            holders_record_the_most_files_that_they_found,
            outcomes_of_another_job_or_tenant_than_the_leases_are_left_out,
        );
    };
}
pub(crate) use job_lease_suite;

/// A catalog, with its jobs and with their outcomes.
pub trait JobsAndOutcomes: Catalog + JobCatalog {}

impl<T: Catalog + JobCatalog> JobsAndOutcomes for T {}

pub type JobsFixture = Fixture<dyn JobsAndOutcomes>;

const LIFETIME: Duration = Duration::from_secs(60);

fn request(n: u128, owner: &str, replaces: Option<i64>, lifetime: Duration) -> LeaseRequest {
    let job = NewJob {
        job_id: job(n),
        tenant: Tenant::default(),
        actor: format!("actor of {owner}"),
        host: format!("host of {owner}"),
        spec: serde_json::json!({ "roots": [format!("/media/{owner}")] }),
        at: at(n as i64),
    };
    LeaseRequest { job, owner: owner.into(), replaces: replaces.map(JobEpoch), lifetime }
}

fn fence(n: u128, epoch: i64) -> JobFence {
    JobFence { job_id: job(n), tenant: Tenant::default(), epoch: JobEpoch(epoch) }
}

fn lease_end(status: JobStatus, reason: Option<&str>, at: Timestamp) -> LeaseEnd {
    LeaseEnd { status, reason: reason.map(str::to_owned), discovered: None, at }
}

async fn take(f: &JobsFixture, request: LeaseRequest) -> LeaseAnswer {
    f.port.take_lease(request).await.unwrap()
}

async fn stored(f: &JobsFixture, n: u128) -> JobRecord {
    f.port.job(&Tenant::default(), job(n)).await.unwrap().unwrap().record.unwrap()
}

fn outcome(n: u128, path: &str, outcome: FileOutcome, size_bytes: u64) -> JobOutcome {
    let asset: Option<AssetId> = (outcome == FileOutcome::Accepted).then(|| asset_id(size_bytes));
    JobOutcome {
        job_id: job(n),
        tenant: Tenant::default(),
        path: SourcePath::from_text(path),
        outcome,
        asset_id: asset,
        event_id: asset.map(|asset| EventId(asset.0)),
        size_bytes: Some(size_bytes),
        refusal: None,
        at: at(n as i64),
    }
}

async fn outcomes(f: &JobsFixture, id: JobId) -> Vec<JobOutcome> {
    f.port.job_outcomes(id, None, 100).await.unwrap().items
}

pub async fn lease_is_refused_while_another_host_holds_it(f: JobsFixture) {
    assert_eq!(f.port.job(&Tenant::default(), job(1)).await.unwrap(), None);
    assert_eq!(take(&f, request(1, "a", None, LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(1)));
    let held = stored(&f, 1).await.lease;
    assert_eq!((held.owner.as_str(), held.host.as_str(), held.state), ("a", "host of a", LeaseState::Held));
    for seen in [None, Some(1)] {
        let answer = take(&f, request(1, "b", seen, LIFETIME)).await;
        assert_eq!(answer, LeaseAnswer::Refused(Some(held.clone())), "{seen:?}");
    }
    assert_eq!(stored(&f, 1).await.lease, held);
    // A journal takes its own lease again, as after its process died.
    assert_eq!(take(&f, request(1, "a", Some(1), LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(2)));
    assert!(f.port.end_lease(&fence(1, 2), &lease_end(JobStatus::Interrupted, Some("SIGTERM"), at(5))).await.unwrap());
    assert_eq!(take(&f, request(1, "b", Some(2), LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(3)));
    assert_eq!(stored(&f, 1).await.lease.host, "host of b");
}

pub async fn expired_lease_is_taken_over_and_its_former_holder_changes_nothing(f: JobsFixture) {
    take(&f, request(1, "a", None, Duration::ZERO)).await;
    assert_eq!(stored(&f, 1).await.lease.state, LeaseState::Expired);
    let (first, second) = (fence(1, 1), fence(1, 2));
    f.port.record_outcomes(Some(&first), vec![outcome(1, "/a", FileOutcome::Failed, 1)]).await.unwrap();
    assert_eq!(take(&f, request(1, "b", Some(1), LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(2)));
    let current = outcome(1, "/a", FileOutcome::Accepted, 2);
    f.port.record_outcomes(Some(&second), vec![current.clone()]).await.unwrap();
    let before = stored(&f, 1).await;
    // What the former holder sent before it was replaced arrives now.
    let late = vec![outcome(1, "/a", FileOutcome::Failed, 1), outcome(1, "/b", FileOutcome::Accepted, 3)];
    fails_as(f.port.record_outcomes(Some(&first), late).await, ErrorKind::Fenced);
    assert!(!f.port.renew_lease(&first, LIFETIME, None).await.unwrap());
    assert!(!f.port.end_lease(&first, &lease_end(JobStatus::Finished, None, at(9))).await.unwrap());
    assert_eq!(outcomes(&f, job(1)).await, [current]);
    assert_eq!(stored(&f, 1).await, before);
    fails_as(
        f.port.record_outcomes(Some(&fence(7, 1)), vec![outcome(7, "/a", FileOutcome::Failed, 1)]).await,
        ErrorKind::Fenced,
    );
}

pub async fn late_request_for_a_lease_changes_nothing(f: JobsFixture) {
    let first = request(1, "a", None, LIFETIME);
    for _ in 0..2 {
        assert_eq!(take(&f, first.clone()).await, LeaseAnswer::Taken(JobEpoch(1)), "repeated");
    }
    assert_eq!(take(&f, request(1, "a", Some(1), LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(2)));
    assert!(matches!(take(&f, first.clone()).await, LeaseAnswer::Refused(Some(_))));
    assert!(f.port.end_lease(&fence(1, 2), &lease_end(JobStatus::Finished, None, at(5))).await.unwrap());
    let before = stored(&f, 1).await;
    for late in [first, request(1, "a", Some(1), LIFETIME), request(1, "b", None, LIFETIME)] {
        assert_eq!(take(&f, late).await, LeaseAnswer::Refused(Some(before.lease.clone())));
    }
    assert_eq!(stored(&f, 1).await, before);
}

pub async fn expired_lease_is_renewed_while_nobody_took_it(f: JobsFixture) {
    take(&f, request(1, "a", None, Duration::ZERO)).await;
    assert!(f.port.renew_lease(&fence(1, 1), LIFETIME, None).await.unwrap());
    let lease = stored(&f, 1).await.lease;
    assert_eq!((lease.state, lease.epoch), (LeaseState::Held, JobEpoch(1)));
    assert!(lease.expires_at.unwrap() > lease.taken_at);
    assert!(f.port.end_lease(&fence(1, 1), &lease_end(JobStatus::Finished, None, at(5))).await.unwrap());
    assert!(!f.port.renew_lease(&fence(1, 1), LIFETIME, None).await.unwrap(), "it was given up");
    let ended = stored(&f, 1).await.lease;
    assert_eq!((ended.state, ended.expires_at), (LeaseState::Ended, None));
    assert!(!f.port.renew_lease(&fence(2, 1), LIFETIME, None).await.unwrap(), "there is no such job");
}

pub async fn job_keeps_what_its_first_holder_recorded_and_how_the_last_run_ended(f: JobsFixture) {
    take(&f, request(1, "a", None, Duration::ZERO)).await;
    let begun = stored(&f, 1).await;
    assert_eq!((begun.status, begun.reason.as_deref(), begun.finished_at), (JobStatus::Running, None, None));
    assert!(
        f.port
            .end_lease(&fence(1, 1), &lease_end(JobStatus::Interrupted, Some("it was stopped"), at(5)))
            .await
            .unwrap()
    );
    let interrupted = stored(&f, 1).await;
    assert_eq!((interrupted.status, interrupted.reason.as_deref()), (JobStatus::Interrupted, Some("it was stopped")));
    assert_eq!((interrupted.updated_at, interrupted.finished_at), (at(5), None));
    let resumed = LeaseRequest {
        job: NewJob { at: at(7), ..request(1, "b", None, LIFETIME).job },
        ..request(1, "b", Some(1), LIFETIME)
    };
    take(&f, resumed).await;
    let running = stored(&f, 1).await;
    assert_eq!((running.actor.as_str(), &running.spec, running.started_at), ("actor of a", &begun.spec, at(1)));
    assert_eq!((running.status, running.reason, running.updated_at), (JobStatus::Running, None, at(7)));
    assert!(f.port.end_lease(&fence(1, 2), &lease_end(JobStatus::Finished, None, at(9))).await.unwrap());
    let finished = stored(&f, 1).await;
    assert_eq!(
        (finished.status, finished.finished_at, finished.lease.host.as_str()),
        (JobStatus::Finished, Some(at(9)), "host of b")
    );
}

pub async fn concurrent_requests_for_a_lease_have_one_holder(f: JobsFixture) {
    let owners: Vec<String> = (0..8).map(|n| format!("owner-{n}")).collect();
    let answers = join_all(owners.iter().map(|owner| take(&f, request(1, owner, None, LIFETIME)))).await;
    let taken: Vec<&String> = owners
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| matches!(answer, LeaseAnswer::Taken(_)))
        .map(|(owner, _)| owner)
        .collect();
    assert_eq!(taken, [&stored(&f, 1).await.lease.owner]);
}

pub async fn jobs_are_paged_latest_first_with_those_of_which_only_outcomes_are_known(f: JobsFixture) {
    for n in [1, 3, 5] {
        take(&f, request(n, "a", None, LIFETIME)).await;
    }
    // As a program of a release without leases records them.
    for n in [2, 4] {
        let reported = [outcome(n, "/a", FileOutcome::Failed, 1), outcome(n, "/b", FileOutcome::Accepted, 2)];
        f.port.record_outcomes(None, reported.into()).await.unwrap();
        f.port.record_outcomes(None, vec![outcome(n, "/a", FileOutcome::Accepted, 1)]).await.unwrap();
    }
    for page in [1, 2, 5, 100] {
        let mut found: Vec<CatalogJob> = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let got = f.port.jobs(&Tenant::default(), cursor.as_deref(), page).await.unwrap();
            assert!(got.items.len() <= page);
            found.extend(got.items);
            cursor = got.next;
            if cursor.is_none() {
                break;
            }
        }
        let ids: Vec<JobId> = found.iter().map(|one| one.job_id).collect();
        assert_eq!(ids, [5, 4, 3, 2, 1].map(job), "pages of {page}");
        assert_eq!(found.iter().map(|one| one.record.is_some()).collect::<Vec<_>>(), [true, false, true, false, true]);
    }
    let reported = f.port.job(&Tenant::default(), job(2)).await.unwrap().unwrap();
    assert_eq!((reported.recorded_at, reported.record), (at(2), None));
    assert!(f.port.jobs(&Tenant::new("other").unwrap(), None, 10).await.unwrap().items.is_empty());
    assert_eq!(f.port.job(&Tenant::new("other").unwrap(), job(2)).await.unwrap(), None);
    fails_as(f.port.jobs(&Tenant::default(), Some("nonsense"), 1).await, ErrorKind::Invalid);
    // Its host is upgraded and resumes it.
    assert_eq!(take(&f, request(2, "a", None, LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(1)));
    assert_eq!(outcomes(&f, job(2)).await.len(), 2);
}

pub async fn outcomes_are_counted_in_pages(f: JobsFixture) {
    take(&f, request(1, "a", None, LIFETIME)).await;
    let names = ["/", "/a", "/a b", "/a/b", "/a-b", "/z\n", "relative", "ز", "/é"];
    let kinds = [FileOutcome::Accepted, FileOutcome::Rejected, FileOutcome::Failed];
    let given = names.iter().enumerate().map(|(n, path)| outcome(1, path, kinds[n % 3], n as u64));
    f.port.record_outcomes(Some(&fence(1, 1)), given.collect()).await.unwrap();
    // A file that failed first is counted once.
    f.port.record_outcomes(Some(&fence(1, 1)), vec![outcome(1, "/a b", FileOutcome::Accepted, 2)]).await.unwrap();
    f.port.record_outcomes(None, vec![outcome(2, "/a", FileOutcome::Failed, 9)]).await.unwrap();
    for limit in [1, 4, 9, 100] {
        let mut counts = OutcomeCounts::default();
        let mut cursor = None::<String>;
        loop {
            let page = f.port.count_outcomes(job(1), cursor.as_deref(), limit).await.unwrap();
            assert!(page.counts.files() <= limit as u64);
            counts += page.counts;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(counts, OutcomeCounts { accepted: 4, rejected: 3, failed: 2, bytes: 36 }, "pages of {limit}");
    }
    let none = f.port.count_outcomes(job(7), None, 10).await.unwrap();
    assert_eq!((none.counts, none.next), (OutcomeCounts::default(), None));
}

pub async fn holders_record_the_most_files_that_they_found(f: JobsFixture) {
    take(&f, request(1, "a", None, LIFETIME)).await;
    assert_eq!(stored(&f, 1).await.discovered, None);
    for (given, recorded) in [(None, None), (Some(3), Some(3)), (None, Some(3)), (Some(2), Some(3)), (Some(4), Some(4))]
    {
        assert!(f.port.renew_lease(&fence(1, 1), LIFETIME, given).await.unwrap());
        assert_eq!(stored(&f, 1).await.discovered, recorded, "{given:?}");
    }
    let interrupted = LeaseEnd { discovered: Some(1), ..lease_end(JobStatus::Interrupted, None, at(5)) };
    assert!(f.port.end_lease(&fence(1, 1), &interrupted).await.unwrap());
    assert_eq!(take(&f, request(1, "b", Some(1), LIFETIME)).await, LeaseAnswer::Taken(JobEpoch(2)));
    assert_eq!(stored(&f, 1).await.discovered, Some(4));
    let finished = LeaseEnd { discovered: Some(5), ..lease_end(JobStatus::Finished, None, at(6)) };
    assert!(f.port.end_lease(&fence(1, 2), &finished).await.unwrap());
    assert_eq!(stored(&f, 1).await.discovered, Some(5));
}

pub async fn outcomes_of_another_job_or_tenant_than_the_leases_are_left_out(f: JobsFixture) {
    take(&f, request(1, "a", None, LIFETIME)).await;
    take(&f, request(2, "b", None, LIFETIME)).await;
    let own = outcome(1, "/a", FileOutcome::Accepted, 1);
    let of_other_job = outcome(2, "/a", FileOutcome::Accepted, 2);
    let other = JobOutcome { tenant: Tenant::new("other").unwrap(), ..outcome(1, "/b", FileOutcome::Accepted, 3) };
    f.port.record_outcomes(Some(&fence(1, 1)), vec![own.clone(), of_other_job, other]).await.unwrap();
    assert_eq!(outcomes(&f, job(1)).await, [own]);
    assert!(outcomes(&f, job(2)).await.is_empty());
}
