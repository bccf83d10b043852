//! Checks takedowns and lifts: each is finished, and the archive has the bytes of what is down and was not purged.

use std::collections::HashMap;

use futures_util::StreamExt;

use super::assets::READERS;
use super::object_bytes::{self, ObjectFault, Recorded};
use super::options::AuditScope;
use super::report::{Findings, ViolationKind};
use crate::pipeline::withdrawal::AssetObjects;
use mfctl_core::domain::{Asset, AssetId, AssetState, Revision};
use mfctl_core::ports::{Error, Result, Takedown};

/// Checks the takedowns of those of these assets that are or were down.
pub(super) async fn check(scope: AuditScope<'_>, assets: &[Asset], findings: &mut Findings) -> Result<()> {
    let concerned: Vec<&Asset> =
        assets.iter().filter(|asset| is_down(asset) || may_have_unfinished_lift(asset)).collect();
    if concerned.is_empty() {
        return Ok(());
    }
    let ids: Vec<AssetId> = concerned.iter().map(|asset| asset.asset_id).collect();
    let takedowns = scope.ports.catalog.takedowns(&ids).await;
    let Some(takedowns) = findings.readable("catalog: takedowns", takedowns)? else { return Ok(()) };
    let takedowns: HashMap<AssetId, Takedown> =
        takedowns.into_iter().map(|takedown| (takedown.asset_id, takedown)).collect();
    let mut finished = Vec::new();
    for asset in concerned {
        let id = asset.asset_id;
        match takedowns.get(&id) {
            Some(Takedown { completed_at: Some(_), purged_at, .. }) if is_down(asset) => {
                finished.push((asset, purged_at.is_some()));
            }
            _ if is_down(asset) => {
                let again = format!("`mfctl media takedown {id} --reason TEXT` does what is left");
                findings.violation(
                    ViolationKind::UnfinishedTakedown,
                    id,
                    format!("its takedown is not complete; {again}"),
                );
            }
            Some(Takedown { revision, lifted_at: Some(_), .. }) if Revision(revision.0 + 1) == asset.revision => {
                let again = format!("`mfctl media lift {id} --reason TEXT` does what is left");
                let detail = format!("its takedown was lifted, and its event was not published; {again}");
                findings.violation(ViolationKind::UnfinishedLift, id, detail);
            }
            _ => {}
        }
    }
    check_bytes(scope, &finished, findings).await
}

fn is_down(asset: &Asset) -> bool {
    asset.state == AssetState::Revoked
}

/// Whether the event of the asset's revision was not acknowledged, so that a lift may be what did not publish it.
fn may_have_unfinished_lift(asset: &Asset) -> bool {
    asset.state == AssetState::Staged && asset.revision > Revision::FIRST && asset.published_at.is_none()
}

/// Checks the archive of assets that are down, each with whether it was purged.
async fn check_bytes(scope: AuditScope<'_>, assets: &[(&Asset, bool)], findings: &mut Findings) -> Result<()> {
    let checks = assets.iter().copied().map(|(asset, is_purged)| async move {
        let found = match is_purged {
            true => purged_bytes(scope, asset).await,
            false => archive_fault(scope, asset).await,
        };
        (asset.asset_id, found)
    });
    let mut checks = futures_util::stream::iter(checks).buffered(READERS);
    while let Some((asset, found)) = checks.next().await {
        if let Some(Some((kind, detail))) = findings.readable("bytes of assets that were taken down", found)? {
            findings.violation(kind, asset, detail);
        }
    }
    Ok(())
}

async fn purged_bytes(scope: AuditScope<'_>, asset: &Asset) -> Result<Option<(ViolationKind, String)>, Error> {
    let versions = scope.ports.objects.versions(&AssetObjects::of(asset, scope.buckets).all()).await?;
    Ok((versions > 0).then(|| {
        let again = format!("`mfctl media takedown {} --reason TEXT --purge` deletes them", asset.asset_id);
        (ViolationKind::NotPurged, format!("it was purged, and versions of its bytes are stored ({versions}); {again}"))
    }))
}

async fn archive_fault(scope: AuditScope<'_>, asset: &Asset) -> Result<Option<(ViolationKind, String)>, Error> {
    let at = AssetObjects::of(asset, scope.buckets);
    let recorded = Recorded { size_bytes: Some(at.content.size_bytes), sha256: Some(at.content.sha256) };
    let objects = scope.ports.objects.as_ref();
    let fault = object_bytes::check(objects, &at.archived, recorded, scope.options.hash_objects).await?;
    let command = format!("`mfctl media takedown {} --reason TEXT", asset.asset_id);
    Ok(fault.map(|(fault, detail)| match fault {
        ObjectFault::Missing => {
            let mend =
                format!("{command}` archives another copy if there is one; with --purge it records that none is kept");
            (ViolationKind::MissingArchive, format!("its takedown cannot be lifted: {detail}; {mend}"))
        }
        ObjectFault::OtherBytes => {
            let mend = format!("{command}` replaces it by another copy if there is one; with --purge it is deleted");
            (ViolationKind::WrongArchive, format!("its takedown cannot be lifted: {detail}; {mend}"))
        }
        ObjectFault::Unreadable => (ViolationKind::UnreadableObject, detail),
    }))
}
