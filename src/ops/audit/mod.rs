//! The audit: does every file, asset, object and event agree with the others?
//!
//! Reads only. A pass over a live platform sees things half-way, so whatever a pass finds wrong is reported only if a
//! second pass, after a pause, finds the same again. Memory grows with the number of (asset, revision) pairs (some 50
//! bytes each), never with files, objects or bytes.
//!
//! Topics and buckets are the environment's, rows are a tenant's: an audit is of one tenant. It counts the objects of the
//! others, which it can judge no more than they can its own, and passes over their events.

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

/// Audits everything of a tenant in an environment.
///
/// # Errors
/// When a port cannot be read. Disagreements are no errors: they are in the report.
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
    second.keep_those_also_in(&first);
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
