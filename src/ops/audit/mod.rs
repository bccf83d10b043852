//! The audit: checks that files, assets, objects and events agree with each other.
//!
//! Reads only. A pass over a live platform sees changes in progress, so a violation is reported only if a second pass, after
//! a pause, finds it again. Memory grows with the number of (asset, revision) pairs (about 50 bytes each), not with files,
//! objects or bytes.
//!
//! Where only sizes are compared, originals and derivatives are looked for in the listings of their buckets; one that no
//! listing shows as recorded is then asked for by its key.
//!
//! Damage does not end it: what cannot be read is a violation of its own, and whatever does not depend on it is checked all
//! the same. A part that was not checked is named in the report.
//!
//! Topics and buckets belong to the environment, catalog rows to a tenant: an audit covers one tenant. It counts the objects
//! of other tenants, which it cannot check, and skips their events.

mod assets;
mod files;
mod job_inputs;
mod kept;
mod known_assets;
mod log_view;
mod object_bytes;
mod objects;
mod options;
mod report;
mod retention;
mod takedowns;

pub use options::{AuditOptions, AuditProgress};
pub use report::{AuditReport, AuditViolation, UncheckedPart, ViolationKind};

use std::path::Path;

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, InvalidName, Tenant};
use mfctl_core::ports::{CheckDepth, Error, ErrorKind, ObjectStore, Ports, Result};
use mfctl_core::wait;

use super::owed;
use log_view::LogView;
use options::AuditScope;
use report::Findings;

/// Audits a tenant of an environment. `data_dir` has what jobs of this host were given as lists and manifests.
///
/// # Errors
/// Errors of the ports after which nothing else can be checked, such as a server that does not answer. Violations are not
/// errors: they are in the report.
pub async fn run(
    ports: &Ports,
    env: &EnvName,
    tenant: &Tenant,
    data_dir: &Path,
    options: AuditOptions,
    progress: &dyn AuditProgress,
) -> Result<AuditReport> {
    let mut findings = Findings::default();
    pass(ports, env, tenant, data_dir, options, &mut findings, progress).await?;
    if findings.report.violation_count > 0 {
        progress.step("second look");
        wait::pause(options.second_look_after).await;
        findings = findings.second_pass();
        pass(ports, env, tenant, data_dir, options, &mut findings, progress).await?;
    }
    let mut report = findings.into_report();
    report.set_owed(owed::read(ports.log.as_ref(), env).await);
    Ok(report)
}

/// Audits the objects of an environment whose other data cannot be opened, by the digests in their keys.
///
/// # Errors
/// Errors of the store after which nothing else can be checked.
pub async fn run_without_data(
    objects: Option<&dyn ObjectStore>,
    env: &EnvName,
    failure: String,
    options: AuditOptions,
    progress: &dyn AuditProgress,
) -> Result<AuditReport> {
    let mut findings = Findings::default();
    findings.report.hashed = options.hash_objects;
    findings.violation(ViolationKind::DamagedData, "data folder", failure);
    findings.could_not_check("files, assets, events and owners of objects", "the data folder's file cannot be opened");
    match objects {
        Some(objects) => {
            progress.step("objects");
            let buckets = Buckets::of(env).map_err(invalid)?;
            name_what_is_not_read(options, &mut findings);
            objects::check_by_key(objects, &buckets, options, &mut findings, progress).await?;
        }
        None => findings.could_not_check("objects", "the data folder's file cannot be opened"),
    }
    Ok(findings.into_report())
}

async fn pass(
    ports: &Ports,
    env: &EnvName,
    tenant: &Tenant,
    data_dir: &Path,
    options: AuditOptions,
    findings: &mut Findings,
    progress: &dyn AuditProgress,
) -> Result<()> {
    let buckets = Buckets::of(env).map_err(invalid)?;
    findings.report.hashed = options.hash_objects;
    name_what_is_not_read(options, findings);
    progress.step("data folder");
    check_storage(ports, options, findings).await?;
    job_inputs::check(ports.journal.as_ref(), data_dir, findings).await?;
    progress.step("events");
    let log = LogView::read(ports, env, tenant, findings, progress).await?;
    progress.step("files");
    files::check(ports, tenant, &log, findings, progress).await?;
    progress.step("assets");
    let scope = AuditScope { ports, tenant, buckets: &buckets, options, progress };
    let mut known = assets::check_assets(scope, &log, findings).await?;
    log.stubs().check(ports.objects.as_ref(), &buckets, options, findings).await?;
    progress.step("objects");
    objects::check_objects(scope, &log, &mut known, findings).await?;
    assets::check_unseen(scope, &known, findings).await
}

fn name_what_is_not_read(options: AuditOptions, findings: &mut Findings) {
    if !options.hash_objects {
        findings.leave_out_all("bytes of originals and derivatives", "only sizes were compared");
    }
}

/// Checks the data folder's file below the ports, so that damage is found in rows that no other check reads.
async fn check_storage(ports: &Ports, options: AuditOptions, findings: &mut Findings) -> Result<()> {
    let depth = if options.hash_objects { CheckDepth::Full } else { CheckDepth::Quick };
    let name = ports.storage.name();
    let checked = ports.storage.damage(depth).await;
    let Some(damage) = findings.readable(&name, checked)? else { return Ok(()) };
    damage.into_iter().for_each(|damage| findings.violation(ViolationKind::DamagedData, &name, damage));
    Ok(())
}

fn invalid(error: InvalidName) -> Error {
    Error::new(ErrorKind::Invalid, "name the environment's buckets").because(error)
}
