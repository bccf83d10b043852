//! One host at a time runs a job: its lease in the catalog, and the continuation of a job on another host. Two hosts
//! are two journals on one platform.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfctl::pipeline::ingest::spec::JobSpec;
use mfctl::pipeline::ingest::{
    self, Error, GivenInputs, IngestOutcome, IngestPorts, IngestProgress, IngestRequest, IngestScope, JobStart,
    MissingFiles, ProgressObserver, RunEnd,
};
use mfctl_core::domain::job::{FileOutcome, JobOutcome, JobStatus};
use mfctl_core::domain::job_lease::{CatalogJob, JobRecord};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{
    AssetId, EnvName, EventId, JobEpoch, JobFence, JobId, LeaseState, ObjectKey, SourcePath, Tenant,
};
use mfctl_core::events::{EventCodec, schemas, topics as contract};
use mfctl_core::ports::{
    self, CursorPage, ErrorKind, JobCatalog, JobJournal, LeaseAnswer, LeaseEnd, LeaseRequest, NewJob,
    OutcomeCountsPage, PlannedFile, Ports, SystemClock,
};
use mfctl_core::stop::Stop;
use mfctl_embedded::OpenMode;
use mfctl_embedded::journal::SqliteJournal;
use rusqlite::Connection;

use super::worker::late_catalog::{CatalogWrite, LateCatalog};
use crate::support::{Running, Site, eventually};

struct IgnoredProgress;

impl ProgressObserver for IgnoredProgress {
    fn update(&self, _: IngestProgress) {}
}

/// A platform, a folder with media, and a journal for each host.
struct Hosts {
    root: tempfile::TempDir,
    ports: Ports,
    env: EnvName,
}

impl Hosts {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let ports = mfctl_embedded::open(&root.path().join("platform"), OpenMode::MayCreate, clock).await.unwrap();
        let env = EnvName::new("test").unwrap();
        ports.log.create_topics(&contract::contract(3, contract::Retention::default())).await.unwrap();
        ports.objects.create_buckets(&Buckets::of(&env).unwrap().all().map(Clone::clone)).await.unwrap();
        schemas::register_all(ports.registry.as_ref()).await.unwrap();
        let hosts = Self { root, ports, env };
        fs::create_dir(hosts.media()).unwrap();
        hosts
    }

    fn media(&self) -> PathBuf {
        self.root.path().join("media")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.media().join(name), text).unwrap();
    }

    fn journal_of(&self, host: &str) -> Arc<dyn JobJournal> {
        let folder = mfctl_embedded::DataFolder::open(&self.root.path().join(host), OpenMode::MayCreate).unwrap();
        Arc::new(SqliteJournal::new(folder.db().clone(), &folder.locks_dir()))
    }

    fn ingest_ports(&self, host: &str) -> IngestPorts {
        let codec = EventCodec::new(Arc::clone(&self.ports.registry), self.env.clone());
        IngestPorts { journal: self.journal_of(host), ..IngestPorts::from_ports(&self.ports, codec) }
    }

    /// Runs a job on a host with these ports.
    async fn run_with(&self, host: &str, start: JobStart, ports: IngestPorts) -> Result<IngestOutcome, Error> {
        let scope = IngestScope {
            tenant: Tenant::default(),
            buckets: Buckets::of(&self.env).unwrap(),
            actor: "me".into(),
            host: host.into(),
            data_dir: self.root.path().join(host),
        };
        let request = IngestRequest { start, concurrency: 2, sends: 2, min_free_percent: 0.0 };
        let given = GivenInputs { inputs: Vec::new(), notice: Arc::new(|_: &str| {}) };
        let stop = Stop::never();
        ingest::run(Arc::new(ports), scope, request, given, Arc::new(IgnoredProgress), stop, |_, _, _| {}).await
    }

    async fn run(&self, host: &str, start: JobStart) -> Result<IngestOutcome, Error> {
        self.run_with(host, start, self.ingest_ports(host)).await
    }

    async fn record(&self, job: JobId) -> JobRecord {
        self.ports.jobs.job(&Tenant::default(), job).await.unwrap().unwrap().record.unwrap()
    }

    async fn outcomes(&self, job: JobId) -> Vec<JobOutcome> {
        self.ports.catalog.job_outcomes(job, None, 100).await.unwrap().items
    }

    fn path(&self, name: &str) -> SourcePath {
        SourcePath::from_path(&self.media().join(name))
    }

    /// A job of this host's files that a third host began and left after it had found this many.
    async fn left_job(&self, discovered: Option<u64>) -> JobId {
        let JobStart::New(spec) = self.new_job() else { unreachable!() };
        let job = NewJob {
            job_id: JobId::fresh(),
            tenant: Tenant::default(),
            actor: "me".into(),
            host: "third".into(),
            spec: spec.canonical().unwrap(),
            at: self.ports.clock.now(),
        };
        let job_id = job.job_id;
        let request = LeaseRequest { job, owner: "third".into(), replaces: None, lifetime: Duration::ZERO };
        self.ports.jobs.take_lease(request).await.unwrap();
        let fence = JobFence { job_id, tenant: Tenant::default(), epoch: JobEpoch(1) };
        assert!(self.ports.jobs.renew_lease(&fence, Duration::ZERO, discovered).await.unwrap());
        job_id
    }

    fn new_job(&self) -> JobStart {
        let roots = [SourcePath::from_path(&self.media())].into();
        JobStart::New(JobSpec { roots, max_size_bytes: 1 << 20, ..JobSpec::default() })
    }

    /// Takes the lease of a job for a host that does nothing else.
    async fn take_lease(&self, job: JobId, owner: &str, lifetime: Duration) -> JobEpoch {
        let known = self.ports.jobs.job(&Tenant::default(), job).await.unwrap().unwrap().record.unwrap();
        let at = self.ports.clock.now();
        let (actor, spec) = (known.actor, known.spec);
        let job = NewJob { job_id: job, tenant: Tenant::default(), actor, host: owner.into(), spec, at };
        let request = LeaseRequest { job, owner: owner.into(), replaces: Some(known.lease.epoch), lifetime };
        match self.ports.jobs.take_lease(request).await.unwrap() {
            LeaseAnswer::Taken(epoch) => epoch,
            refused @ LeaseAnswer::Refused(_) => panic!("{refused:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_continued_on_another_host_that_has_the_same_files() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    hosts.write("b", "second");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    hosts.write("c", "third");
    // Nothing of the files that the first host reported is left to do, and nothing of them is published again.
    let continued = hosts.run("two", JobStart::Resume(job)).await.unwrap();
    assert!(matches!(continued.end, RunEnd::Finished), "{:?}", continued.end);
    let counts = continued.counts;
    assert_eq!((continued.job_id, counts.discovered, counts.published, continued.republished), (job, 3, 3, 0));
    assert_eq!(continued.settled, 1);
    assert_eq!(hosts.ports.catalog.job_outcomes(job, None, 10).await.unwrap().items.len(), 3);
    let record = hosts.ports.jobs.job(&Tenant::default(), job).await.unwrap().unwrap().record.unwrap();
    assert_eq!((record.status, record.lease.host.as_str()), (JobStatus::Finished, "two"));
    // The first host may go on once the second has ended.
    let again = hosts.run("one", JobStart::Resume(job)).await.unwrap();
    assert!(matches!(again.end, RunEnd::Finished), "{:?}", again.end);
    assert_eq!(again.counts.discovered, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_not_continued_where_a_file_is_missing_or_differs() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    hosts.write("b", "second");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    let before = hosts.ports.jobs.job(&Tenant::default(), job).await.unwrap();
    let refused = async |change: &dyn Fn(&Path), said: &str| {
        change(&hosts.media());
        let error = hosts.run("two", JobStart::Resume(job)).await.unwrap_err();
        assert!(matches!(error, Error::SourceDiffers { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(hosts.journal_of("two").job(job).await.unwrap(), None);
        assert_eq!(hosts.ports.jobs.job(&Tenant::default(), job).await.unwrap(), before);
    };
    refused(&|media| fs::write(media.join("b"), "secomd").unwrap(), "b has other bytes").await;
    refused(&|media| fs::write(media.join("b"), "longer than it was").unwrap(), "18 bytes on this host, not 6").await;
    refused(&|media| fs::remove_file(media.join("b")).unwrap(), "b cannot be read on this host").await;
    refused(&|media| fs::create_dir(media.join("b")).unwrap(), "b is not a regular file").await;
    refused(&|media| fs::rename(media, media.with_extension("moved")).unwrap(), "media is not on this host").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_not_continued_while_another_host_runs_it_or_without_its_specification() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    hosts.take_lease(job, "third", Duration::from_secs(60)).await;
    for host in ["one", "two"] {
        let error = hosts.run(host, JobStart::Resume(job)).await.unwrap_err();
        assert!(matches!(error, Error::HeldElsewhere { .. }), "{host}: {error:?}");
        assert!(error.to_string().contains(": third since "), "{host}: {error}");
    }
    assert_eq!(hosts.journal_of("two").job(job).await.unwrap(), None);

    let known = hosts.ports.catalog.job_outcomes(job, None, 10).await.unwrap().items.remove(0);
    let of_earlier_release = JobId::fresh();
    let reported = JobOutcome { job_id: of_earlier_release, ..known };
    hosts.ports.catalog.record_outcomes(None, vec![reported]).await.unwrap();
    let error = hosts.run("two", JobStart::Resume(of_earlier_release)).await.unwrap_err();
    assert!(matches!(error, Error::NotRecorded(_)), "{error:?}");
    let error = hosts.run("two", JobStart::Resume(JobId::fresh())).await.unwrap_err();
    assert!(matches!(error, Error::UnknownJob(_)), "{error:?}");
}

/// The first host's journal has a file as planned that the second host ingested.
#[tokio::test(flavor = "multi_thread")]
async fn journal_that_lacks_the_outcomes_of_another_host_overwrites_none_of_them() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    let staging_key = ObjectKey::new("default/planned").unwrap();
    let planned = PlannedFile { path: hosts.path("b"), event_id: EventId::fresh(), staging_key };
    let journal = hosts.journal_of("one");
    journal.plan(job, vec![planned]).await.unwrap();
    journal.set_status(job, JobStatus::Interrupted, None, hosts.ports.clock.now()).await.unwrap();
    drop(journal);
    hosts.write("b", "second");
    let continued = hosts.run("two", JobStart::Resume(job)).await.unwrap();
    assert!(matches!(continued.end, RunEnd::Finished), "{:?}", continued.end);
    let before = (hosts.outcomes(job).await, hosts.record(job).await);
    fs::remove_file(hosts.media().join("b")).unwrap();
    for start in [JobStart::RetryFailed(job), JobStart::Resume(job)] {
        let error = hosts.run("one", start).await.unwrap_err();
        assert!(matches!(error, Error::SourceDiffers { .. }), "{error:?}");
        assert_eq!((hosts.outcomes(job).await, hosts.record(job).await), before);
    }
    let JobStart::New(spec) = hosts.new_job() else { unreachable!() };
    let other = hosts.run("one", JobStart::ResumeOrNew(spec)).await.unwrap();
    assert_ne!(other.job_id, job, "the other host finished it");
    assert_eq!((hosts.outcomes(job).await, hosts.record(job).await), before);

    hosts.write("b", "second");
    let again = hosts.run("one", JobStart::RetryFailed(job)).await.unwrap();
    assert!(matches!(again.end, RunEnd::Finished), "{:?}", again.end);
    assert_eq!((again.settled, again.counts.discovered), (0, 2));
    assert_eq!(hosts.outcomes(job).await, before.0);
}

/// The process of the second host died after it had added the job to its journal.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_imported_again_if_their_import_did_not_end() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    let JobRecord { actor, spec, started_at: at, .. } = hosts.record(job).await;
    let new = NewJob { job_id: job, tenant: Tenant::default(), actor, host: "two".into(), spec, at };
    hosts.journal_of("two").begin(new).await.unwrap();
    let outcomes = hosts.outcomes(job).await;
    let continued = hosts.run("two", JobStart::Resume(job)).await.unwrap();
    assert!(matches!(continued.end, RunEnd::Finished), "{:?}", continued.end);
    assert_eq!((continued.settled, continued.counts.discovered), (0, 1));
    assert_eq!(hosts.outcomes(job).await, outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_another_host_is_not_finished_where_fewer_files_are_found() {
    let hosts = Hosts::new().await;
    for (discovered, expected) in [(Some(2), 2), (None, 1)] {
        let job = hosts.left_job(discovered).await;
        for start in [JobStart::Resume(job), JobStart::Resume(job), JobStart::RetryFailed(job)] {
            let run = hosts.run("two", start).await.unwrap();
            let missing = MissingFiles { found: 0, expected };
            assert!(matches!(run.end, RunEnd::FilesMissing(found) if found == missing), "{:?}", run.end);
            let record = hosts.record(job).await;
            assert_eq!((record.status, record.lease.state), (JobStatus::Interrupted, LeaseState::Ended));
            assert_eq!(record.discovered.unwrap_or(0), discovered.unwrap_or(0));
        }
        hosts.write("a", "first");
        hosts.write("b", "second");
        let run = hosts.run("two", JobStart::Resume(job)).await.unwrap();
        assert!(matches!(run.end, RunEnd::Finished), "{:?}", run.end);
        fs::remove_file(hosts.media().join("a")).unwrap();
        fs::remove_file(hosts.media().join("b")).unwrap();
    }
}

/// Jobs of a catalog in which a third host runs a job, and ends, before the first request for its lease arrives.
struct RunMeanwhile {
    inner: Arc<dyn JobCatalog>,
    catalog: Arc<dyn ports::Catalog>,
    outcome: JobOutcome,
    is_done: AtomicBool,
}

#[async_trait]
impl JobCatalog for RunMeanwhile {
    async fn take_lease(&self, request: LeaseRequest) -> ports::Result<LeaseAnswer> {
        if !self.is_done.swap(true, Ordering::AcqRel) {
            let job = NewJob { host: "third".into(), ..request.job.clone() };
            let third = LeaseRequest { owner: "third".into(), job, ..request.clone() };
            let LeaseAnswer::Taken(epoch) = self.inner.take_lease(third).await? else { panic!("it is held") };
            let fence = JobFence { job_id: request.job.job_id, tenant: request.job.tenant.clone(), epoch };
            self.catalog.record_outcomes(Some(&fence), vec![self.outcome.clone()]).await?;
            let end = LeaseEnd { status: JobStatus::Finished, reason: None, discovered: Some(2), at: request.job.at };
            assert!(self.inner.end_lease(&fence, &end).await?);
        }
        self.inner.take_lease(request).await
    }

    async fn renew_lease(&self, fence: &JobFence, lifetime: Duration, found: Option<u64>) -> ports::Result<bool> {
        self.inner.renew_lease(fence, lifetime, found).await
    }

    async fn end_lease(&self, fence: &JobFence, end: &LeaseEnd) -> ports::Result<bool> {
        self.inner.end_lease(fence, end).await
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> ports::Result<Option<CatalogJob>> {
        self.inner.job(tenant, job).await
    }

    async fn jobs(&self, tenant: &Tenant, cursor: Option<&str>, limit: usize) -> ports::Result<CursorPage<CatalogJob>> {
        self.inner.jobs(tenant, cursor, limit).await
    }

    async fn count_outcomes(&self, job: JobId, from: Option<&str>, limit: usize) -> ports::Result<OutcomeCountsPage> {
        self.inner.count_outcomes(job, from, limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_are_recorded_while_files_are_compared_are_compared_as_well() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    let mut outcome = hosts.outcomes(job).await.remove(0);
    outcome.path = hosts.path("only-on-third");
    outcome.asset_id = Some(AssetId(EventId::fresh().0));
    let jobs = Arc::new(RunMeanwhile {
        inner: Arc::clone(&hosts.ports.jobs),
        catalog: Arc::clone(&hosts.ports.catalog),
        outcome,
        is_done: AtomicBool::new(false),
    });
    let ports = IngestPorts { jobs, ..hosts.ingest_ports("two") };
    let error = hosts.run_with("two", JobStart::Resume(job), ports).await.unwrap_err();
    assert!(matches!(&error, Error::SourceDiffers { what, .. } if what.contains("only-on-third")), "{error:?}");
    let record = hosts.record(job).await;
    assert_eq!((record.status, record.lease.host.as_str()), (JobStatus::Finished, "third"));
}

/// The journal of the second host cannot import what the first one ingested.
#[tokio::test(flavor = "multi_thread")]
async fn lease_is_given_up_if_the_job_cannot_begin() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let job = hosts.run("one", hosts.new_job()).await.unwrap().job_id;
    drop(hosts.journal_of("two"));
    let database = Connection::open(hosts.root.path().join("two").join("mfctl.db")).unwrap();
    let refuse = "CREATE TRIGGER refused BEFORE INSERT ON journal_files BEGIN SELECT RAISE(ABORT, 'refused'); END";
    database.execute(refuse, []).unwrap();
    let error = hosts.run("two", JobStart::Resume(job)).await.unwrap_err();
    assert!(matches!(error, Error::Port(_)), "{error:?}");
    let record = hosts.record(job).await;
    assert_eq!((record.status, record.lease.state), (JobStatus::Interrupted, LeaseState::Ended));
    assert!(record.reason.is_some());
    database.execute("DROP TRIGGER refused", []).unwrap();
    let continued = hosts.run("two", JobStart::Resume(job)).await.unwrap();
    assert!(matches!(continued.end, RunEnd::Finished), "{:?}", continued.end);
    assert_eq!((continued.settled, continued.counts.discovered), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_another_tenant_is_refused() {
    let hosts = Hosts::new().await;
    let JobStart::New(spec) = hosts.new_job() else { unreachable!() };
    let job_id = JobId::fresh();
    let (tenant, at) = (Tenant::new("other").unwrap(), hosts.ports.clock.now());
    let spec = spec.canonical().unwrap();
    let new = NewJob { job_id, tenant, actor: "me".into(), host: "one".into(), spec, at };
    hosts.journal_of("one").begin(new).await.unwrap();
    let error = hosts.run("one", JobStart::Resume(job_id)).await.unwrap_err();
    assert!(matches!(error, Error::OtherTenant { .. }), "{error:?}");
}

/// A write of the first host times out and is applied after the second host has taken over.
#[tokio::test(flavor = "multi_thread")]
async fn late_outcome_of_a_former_holder_is_refused() {
    let hosts = Hosts::new().await;
    hosts.write("a", "first");
    let late = LateCatalog::new(&hosts.ports.catalog, CatalogWrite::RecordOutcomes);
    let first =
        hosts.run_with("one", hosts.new_job(), IngestPorts { catalog: late.clone(), ..hosts.ingest_ports("one") });
    let first = first.await.unwrap();
    assert!(matches!(first.end, RunEnd::Finished), "{:?}", first.end);
    let job_id = first.job_id;
    let epoch = hosts.take_lease(job_id, "two", Duration::from_secs(60)).await;
    let mut current = hosts.ports.catalog.job_outcomes(job_id, None, 10).await.unwrap().items;
    current[0].outcome = FileOutcome::Failed;
    let fence = JobFence { job_id, tenant: Tenant::default(), epoch };
    hosts.ports.catalog.record_outcomes(Some(&fence), current.clone()).await.unwrap();
    assert_eq!(late.apply_late().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(hosts.ports.catalog.job_outcomes(job_id, None, 10).await.unwrap().items, current);
}

/// While the first process waits for more of its list, its lease expires and another host takes it.
#[tokio::test(flavor = "multi_thread")]
async fn former_holder_records_no_outcome_and_exits_7() {
    let site = Site::new();
    fs::write(site.path("a.txt"), "a").unwrap();
    let mut command = site.command(["ingest", "--files-from", "-"]);
    command.stdin(Stdio::piped());
    let mut holding = Running::captured(command);
    let mut list = holding.child.stdin.take().unwrap();
    list.write_all(b"a.txt\n").unwrap();
    let jobs = || site.run(["jobs", "list", "-o", "name"]);
    eventually("the job appears", || jobs().code == 0 && !jobs().stdout.is_empty());
    let job = jobs().stdout.trim().to_owned();
    let database = Connection::open(site.data().join("mfctl.db")).unwrap();
    let taken =
        "UPDATE media_jobs SET lease_epoch = lease_epoch + 1, lease_owner = 'another', lease_host = 'elsewhere'";
    eventually("the lease is taken over", || database.execute(taken, []).unwrap() == 1);
    drop(list);
    let ended = holding.finish();
    assert_eq!(ended.code, 7, "{ended}");
    assert!(ended.stderr.contains("another host took over job"), "{ended}");
    let ports = site.ports().await;
    let id: JobId = job.parse().unwrap();
    assert!(ports.catalog.job_outcomes(id, None, 10).await.unwrap().items.is_empty());
    let record = ports.jobs.job(&Tenant::default(), id).await.unwrap().unwrap().record.unwrap();
    assert_eq!((record.status, record.lease.epoch), (JobStatus::Running, JobEpoch(2)));
}
