//! The audit: checks that files, assets, objects and events agree with each other.
//!
//! Reads only. A pass over a live platform sees changes in progress, so a violation is reported only if a second pass, after
//! a pause, finds it again. Memory grows with the number of (asset, revision) pairs (about 50 bytes each), not with files,
//! objects or bytes.
//!
//! Topics and buckets belong to the environment, catalog rows to a tenant: an audit covers one tenant. It counts the objects
//! of other tenants, which it cannot check, and skips their events.

mod files;
mod log_view;
mod objects;
mod options;
mod report;

pub use options::{AuditOptions, AuditProgress};
pub use report::{AuditReport, AuditViolation, ViolationKind};

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, InvalidName, Tenant};
use mfctl_core::ports::{Error, ErrorKind, Ports, Result};
use mfctl_core::wait;

use log_view::LogView;
use report::Findings;

/// Audits a tenant of an environment.
///
/// # Errors
/// Errors of the ports. Violations are not errors: they are in the report.
pub async fn run(
    ports: &Ports,
    env: &EnvName,
    tenant: &Tenant,
    options: AuditOptions,
    progress: &dyn AuditProgress,
) -> Result<AuditReport> {
    let first = pass(ports, env, tenant, options, progress).await?;
    if first.violations.is_empty() {
        return Ok(first);
    }
    progress.step("second look");
    wait::pause(options.second_look_after).await;
    let mut second = pass(ports, env, tenant, options, progress).await?;
    second.retain_violations_of(&first);
    Ok(second)
}

async fn pass(
    ports: &Ports,
    env: &EnvName,
    tenant: &Tenant,
    options: AuditOptions,
    progress: &dyn AuditProgress,
) -> Result<AuditReport> {
    let buckets = Buckets::of(env).map_err(invalid)?;
    let mut findings = Findings::default();
    progress.step("events");
    let log = LogView::read(ports, env, tenant, &mut findings, progress).await?;
    progress.step("files");
    files::check(ports, tenant, &log, &mut findings, progress).await?;
    progress.step("assets");
    objects::check_assets(ports, tenant, &log, &buckets, options, &mut findings, progress).await?;
    progress.step("objects");
    objects::check_objects(ports, tenant, &buckets, &mut findings, progress).await?;
    Ok(findings.into_report())
}

fn invalid(error: InvalidName) -> Error {
    Error::new(ErrorKind::Invalid, "name the environment's buckets").because(error)
}
