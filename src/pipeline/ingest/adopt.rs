//! Continues a job of another host: checks that this host has the same files, and takes what was reported of them into
//! its journal.

use std::collections::HashMap;

use super::context::{IngestPorts, IngestScope};
use super::error::Error;
use super::input::HeldInput;
use super::read;
use super::spec::JobSpec;
use mfctl_core::domain::job::{FileOutcome, FileStep, InputKind, Job, JobOutcome, JobStatus};
use mfctl_core::domain::{Asset, AssetId, EventId, JobId, LeaseState, SourcePath, Tenant, object_keys};
use mfctl_core::ports::{self, ContentDigest, ErrorKind, FileUpdate, PlannedFile};
use mfctl_core::stop::Stop;

/// Outcomes of a page.
const PAGE: usize = 512;

/// The job as the catalog has it.
///
/// # Errors
/// [`Error::UnknownJob`], [`Error::NotRecorded`], and [`Error::HeldElsewhere`] while another host runs it.
pub(super) async fn find(ports: &IngestPorts, scope: &IngestScope, id: JobId) -> Result<Job, Error> {
    let known = ports.jobs.job(&scope.tenant, id).await?.ok_or(Error::UnknownJob(id))?;
    let record = known.record.ok_or(Error::NotRecorded(id))?;
    if record.lease.state == LeaseState::Held && record.lease.owner != ports.journal.identity() {
        return Err(Error::HeldElsewhere { job: id, lease: Some(Box::new(record.lease)) });
    }
    Ok(Job {
        job_id: id,
        tenant: known.tenant,
        status: JobStatus::Interrupted,
        reason: record.reason,
        actor: record.actor,
        host: scope.host.clone(),
        spec: record.spec,
        started_at: record.started_at,
        updated_at: record.updated_at,
        finished_at: None,
        walk_complete: false,
    })
}

/// Checks that this host has the job's list and manifest, its roots, and every file that was ingested, with the same
/// bytes.
///
/// # Errors
/// [`Error::SourceDiffers`]; [`Error::Stopped`]; errors of the catalog.
pub(super) async fn check_source(
    ports: &IngestPorts,
    job: &Job,
    spec: &JobSpec,
    held: &[(InputKind, HeldInput)],
    stop: &Stop,
) -> Result<(), Error> {
    let differs = |what| Err(Error::SourceDiffers { job: job.job_id, what });
    for kind in InputKind::ALL.iter().copied().filter(|kind| spec.has_input(*kind)) {
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
        let page = ports.catalog.job_outcomes(job.job_id, cursor.as_deref(), PAGE).await?;
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

/// Records in the journal, for which the job is new, what the catalog has of the files that were ingested: nothing is
/// left to do for these.
pub(super) async fn record_ingested(ports: &IngestPorts, job: &Job) -> ports::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let page = ports.catalog.job_outcomes(job.job_id, cursor.as_deref(), PAGE).await?;
        let accepted = page.items.iter().filter(|outcome| outcome.outcome == FileOutcome::Accepted);
        let mut ids: Vec<AssetId> = accepted.clone().filter_map(|outcome| outcome.asset_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let assets = ports.catalog.assets(&ids).await?;
        let assets: HashMap<AssetId, Asset> = assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
        let known = accepted.filter_map(|outcome| Some((outcome, assets.get(&outcome.asset_id?)?)));
        let (files, updates): (Vec<_>, Vec<_>) =
            known.map(|(outcome, asset)| (planned(outcome, job), ingested(outcome, asset, job.job_id))).unzip();
        if !files.is_empty() {
            ports.journal.plan(job.job_id, files).await?;
            ports.journal.update(job.job_id, updates, ports.clock.now()).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn planned(outcome: &JobOutcome, job: &Job) -> PlannedFile {
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
