//! Accounts for every file: each one is in exactly one count of the report.

use std::collections::HashMap;

use super::assets::CATALOG_ASSETS;
use super::log_view::LogView;
use super::options::AuditProgress;
use super::report::{CursorGuard, Findings, ViolationKind};
use mfctl_core::domain::job::{FileOutcome, JobOutcome};
use mfctl_core::domain::{Asset, AssetId, AssetState, Stage, Tenant};
use mfctl_core::ports::{Ports, Result};

/// The name of the catalog's outcomes in the report.
const OUTCOMES: &str = "catalog: outcomes of files";
/// Outcomes per page.
const PAGE: usize = 1000;

pub(super) async fn check(
    ports: &Ports,
    tenant: &Tenant,
    log: &LogView,
    findings: &mut Findings,
    progress: &dyn AuditProgress,
) -> Result<()> {
    let mut cursor = None;
    let mut cursors = CursorGuard::default();
    loop {
        let page = ports.catalog.latest_outcomes(cursor.as_deref(), PAGE).await;
        let Some(page) = findings.readable(OUTCOMES, page)? else { return Ok(()) };
        let assets = assets_of(ports, &page.items).await;
        let Some(assets) = findings.readable(CATALOG_ASSETS, assets)? else {
            findings.catalog_incomplete = true;
            return Ok(());
        };
        // A token for every tenant returns the outcomes of every tenant.
        for outcome in page.items.iter().filter(|outcome| outcome.tenant == *tenant) {
            account(outcome, &assets, log, findings);
        }
        progress.done(findings.report.files);
        let Some(next) = findings.readable(OUTCOMES, cursors.next(page.next))? else { return Ok(()) };
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn assets_of(ports: &Ports, outcomes: &[JobOutcome]) -> Result<HashMap<AssetId, Asset>> {
    let mut ids: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.asset_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let assets = ports.catalog.assets(&ids).await?;
    Ok(assets.into_iter().map(|asset| (asset.asset_id, asset)).collect())
}

fn account(outcome: &JobOutcome, assets: &HashMap<AssetId, Asset>, log: &LogView, findings: &mut Findings) {
    findings.report.files += 1;
    match outcome.outcome {
        FileOutcome::Rejected => findings.report.rejected += 1,
        FileOutcome::Failed => findings.report.failed += 1,
        FileOutcome::Accepted => match outcome.asset_id.and_then(|id| assets.get(&id)) {
            Some(asset) => *count_of(asset_progress(asset, log), findings) += 1,
            None => {
                let asset = outcome.asset_id.map_or_else(|| "no asset".to_owned(), |id| id.to_string());
                let detail = format!("{} was accepted by job {} as {asset}", outcome.path, outcome.job_id);
                findings.violation(ViolationKind::MissingAsset, asset, detail);
            }
        },
    }
}

/// Progress of an asset, for the count of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssetProgress {
    Enriched,
    InFlight,
    DeadLettered,
    Revoked,
}

/// The progress of an asset. One whose dead letter was redriven and is pending again is in flight.
pub(super) fn asset_progress(asset: &Asset, log: &LogView) -> AssetProgress {
    let is_pending = |stage: Stage| log.is_pending(stage, (asset.asset_id, asset.revision));
    match (asset.state, asset.dead_lettered) {
        (AssetState::Revoked, _) => AssetProgress::Revoked,
        (_, Some(stage)) if !is_pending(stage) => AssetProgress::DeadLettered,
        (AssetState::Enriched, _) => AssetProgress::Enriched,
        _ => AssetProgress::InFlight,
    }
}

fn count_of(progress: AssetProgress, findings: &mut Findings) -> &mut u64 {
    match progress {
        AssetProgress::Enriched => &mut findings.report.enriched,
        AssetProgress::InFlight => &mut findings.report.in_flight,
        AssetProgress::DeadLettered => &mut findings.report.dead_lettered,
        AssetProgress::Revoked => &mut findings.report.revoked,
    }
}
