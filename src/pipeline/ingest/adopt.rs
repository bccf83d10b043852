//! Continues a job of another host: checks that this host has the same files, and takes what was reported of them into
//! its journal.

use std::collections::HashMap;

use super::context::{IngestPorts, IngestScope, retry};
use super::error::Error;
use super::input::HeldInput;
use super::read;
use super::spec::JobSpec;
use mfctl_core::domain::job::{FileOutcome, FileStep, InputKind, Job, JobInput, JobOutcome, JobStatus};
use mfctl_core::domain::job_lease::{self, JobRecord};
use mfctl_core::domain::{Asset, AssetId, EventId, JobEpoch, JobId, LeaseState, SourcePath, Tenant, object_keys};
use mfctl_core::ports::{self, ContentDigest, ErrorKind, FileUpdate, NewJob, PlannedFile};
use mfctl_core::stop::Stop;

/// Outcomes of a page.
const PAGE: usize = 512;

/// A job that an earlier run worked on.
pub(super) struct ExistingJob {
    pub(super) job: Job,
    /// Whether this journal has it.
    pub(super) is_journalled: bool,
    /// The epoch of its lease in the catalog; `None` if it never had one.
    pub(super) epoch: Option<JobEpoch>,
    /// Whether other hosts may have recorded outcomes that this journal does not have.
    pub(super) lacks_outcomes: bool,
    /// Files that another host had found, 1 if their number is not known; `None` if the job was never another host's.
    pub(super) expected_files: Option<u64>,
    /// Whether a host finished it, as far as the catalog knows.
    pub(super) is_finished: bool,
}

/// The job as this journal and the catalog have it.
///
/// # Errors
/// [`Error::UnknownJob`], [`Error::NotRecorded`], [`Error::OtherTenant`], and [`Error::HeldElsewhere`] while another host
/// runs it.
pub(super) async fn find(
    ports: &IngestPorts,
    scope: &IngestScope,
    id: JobId,
    stop: &Stop,
) -> Result<ExistingJob, Error> {
    let own = ports.journal.job(id).await?;
    if let Some(job) = own.as_ref().filter(|job| job.tenant != scope.tenant) {
        return Err(Error::OtherTenant { job: id, tenant: job.tenant.clone() });
    }
    let known = retry(stop, || ports.jobs.job(&scope.tenant, id)).await?;
    let is_known = known.is_some();
    let record = known.and_then(|known| known.record);
    let owner = ports.journal.identity();
    if let Some(record) = record.as_ref().filter(|record| record.lease.state == LeaseState::Held)
        && record.lease.owner != owner
    {
        return Err(Error::HeldElsewhere { job: id, lease: Some(Box::new(record.lease.clone())) });
    }
    let imported = match own {
        Some(_) => ports.journal.imported_lease(id).await?,
        None => None,
    };
    let imported_epoch = imported.map(|imported| imported.epoch);
    let is_complete =
        |record: &JobRecord| own.is_some() && job_lease::is_imported(&record.lease, owner, imported_epoch);
    let lacks_outcomes = record.as_ref().is_some_and(|record| !is_complete(record));
    let expected_files = imported.and_then(|imported| imported.expected_files);
    let expected_elsewhere = record.as_ref().filter(|_| lacks_outcomes).map(|record| record.discovered.unwrap_or(1));
    let epoch = record.as_ref().map(|record| record.lease.epoch);
    let is_finished = record.as_ref().is_some_and(|record| record.status == JobStatus::Finished);
    let is_journalled = own.is_some();
    let job = match (own, record) {
        (Some(job), _) => job,
        (None, Some(record)) => adopted(id, scope, record),
        (None, None) if is_known => return Err(Error::NotRecorded(id)),
        (None, None) => return Err(Error::UnknownJob(id)),
    };
    let expected_files = expected_files.max(expected_elsewhere);
    Ok(ExistingJob { job, is_journalled, epoch, lacks_outcomes, expected_files, is_finished })
}

/// A job of another host, as this journal will have it.
fn adopted(id: JobId, scope: &IngestScope, record: JobRecord) -> Job {
    Job {
        job_id: id,
        tenant: scope.tenant.clone(),
        status: JobStatus::Interrupted,
        reason: record.reason,
        actor: record.actor,
        host: scope.host.clone(),
        spec: record.spec,
        started_at: record.started_at,
        updated_at: record.updated_at,
        finished_at: None,
        walk_complete: false,
    }
}

/// Checks that this host has the job's list and manifest, unless its journal keeps them, its roots, and every file that
/// was ingested, with the same bytes.
///
/// # Errors
/// [`Error::SourceDiffers`]; [`Error::Stopped`]; errors of the catalog.
pub(super) async fn check_source(
    ports: &IngestPorts,
    job: &Job,
    spec: &JobSpec,
    held: &[(InputKind, HeldInput)],
    kept: &[JobInput],
    stop: &Stop,
) -> Result<(), Error> {
    let differs = |what| Err(Error::SourceDiffers { job: job.job_id, what });
    let is_kept = |kind: InputKind| kept.iter().any(|input| input.kind == kind);
    for kind in InputKind::ALL.iter().copied().filter(|kind| spec.has_input(*kind) && !is_kept(*kind)) {
        let given = held.iter().find(|(of, _)| *of == kind).map(|(_, held)| held.sha256);
        match (given, spec.digest(kind)) {
            (None, _) => return differs(format!("its {kind} is not on this host: give it again, as a regular file")),
            (Some(given), Some(own)) if given != own => {
                return differs(format!("the {kind} on this host is not the one that the job was begun with"));
            }
            _ => {}
        }
    }
    for root in &spec.roots {
        if let Err(error) = std::fs::symlink_metadata(root.to_path()) {
            return differs(format!("{root} is not on this host: {error}"));
        }
    }
    let mut cursor: Option<String> = None;
    loop {
        let page = retry(stop, || ports.catalog.job_outcomes(job.job_id, cursor.as_deref(), PAGE)).await?;
        let tenant = job.tenant.clone();
        let stop = stop.clone();
        let compared = tokio::task::spawn_blocking(move || first_difference(&page.items, &tenant, &stop)).await;
        let internal = |error| ports::Error::new(ErrorKind::Internal, format!("compare a job's files: {error}"));
        if let Some(what) = compared.map_err(internal)?? {
            return differs(what);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn first_difference(outcomes: &[JobOutcome], tenant: &Tenant, stop: &Stop) -> Result<Option<String>, Error> {
    for outcome in outcomes {
        if let Some(reason) = stop.requested() {
            return Err(Error::Stopped(reason));
        }
        let Some(asset) = outcome.asset_id.filter(|_| outcome.outcome == FileOutcome::Accepted) else { continue };
        if let Err(difference) = compare(&outcome.path, asset, outcome.size_bytes, tenant) {
            return Ok(Some(format!("{} {difference}", outcome.path)));
        }
    }
    Ok(None)
}

/// Compares a file with the asset that it was ingested as. The error continues its path.
fn compare(path: &SourcePath, asset: AssetId, size_bytes: Option<u64>, tenant: &Tenant) -> Result<(), String> {
    let cannot_be_read = |error: std::io::Error| format!("cannot be read on this host: {error}");
    let file = read::open(&path.to_path()).map_err(cannot_be_read)?;
    let found = file.metadata().map_err(cannot_be_read)?;
    if !found.is_file() {
        return Err("is not a regular file on this host".to_owned());
    }
    if let Some(size) = size_bytes.filter(|size| *size != found.len()) {
        return Err(format!("has {} bytes on this host, not {size}", found.len()));
    }
    let digest = ContentDigest::read(file, found.len()).map_err(cannot_be_read)?;
    if AssetId::of(tenant, &digest.sha256) == asset { Ok(()) } else { Err("has other bytes on this host".to_owned()) }
}

/// Records in the journal what the catalog has of the files that were ingested: nothing is left to do for these.
pub(super) async fn record_ingested(ports: &IngestPorts, job: &NewJob, stop: &Stop) -> ports::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let page = retry(stop, || ports.catalog.job_outcomes(job.job_id, cursor.as_deref(), PAGE)).await?;
        let accepted = page.items.iter().filter(|outcome| outcome.outcome == FileOutcome::Accepted);
        let mut ids: Vec<AssetId> = accepted.clone().filter_map(|outcome| outcome.asset_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let assets = retry(stop, || ports.catalog.assets(&ids)).await?;
        let assets: HashMap<AssetId, Asset> = assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
        let known = accepted.filter_map(|outcome| Some((outcome, assets.get(&outcome.asset_id?)?)));
        let (files, updates): (Vec<_>, Vec<_>) =
            known.map(|(outcome, asset)| (planned(outcome, job), ingested(outcome, asset, job.job_id))).unzip();
        if !files.is_empty() {
            retry(stop, || ports.journal.plan(job.job_id, files.clone())).await?;
            let now = ports.clock.now();
            retry(stop, || ports.journal.update(job.job_id, updates.clone(), now)).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn planned(outcome: &JobOutcome, job: &NewJob) -> PlannedFile {
    let event_id = outcome.event_id.unwrap_or_else(EventId::fresh);
    let staging_key = object_keys::staging(&job.tenant, job.job_id, event_id);
    PlannedFile { path: outcome.path.clone(), event_id, staging_key }
}

/// Without times of the file: a verification then reads its bytes.
fn ingested(outcome: &JobOutcome, asset: &Asset, job: JobId) -> FileUpdate {
    FileUpdate {
        path: outcome.path.clone(),
        step: if asset.job_id == job { FileStep::Published } else { FileStep::Deduplicated },
        size_bytes: Some(asset.size_bytes),
        modified_ns: None,
        changed_ns: None,
        device: None,
        inode: None,
        sha256: Some(asset.sha256),
        media_type: Some(asset.media_type.clone()),
        asset_id: Some(asset.asset_id),
        refusal: None,
        staged_at: Some(asset.staged_at),
    }
}
