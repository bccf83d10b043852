//! Checks assets against their objects and events.

use futures_util::StreamExt;

use super::files::{AssetProgress, asset_progress};
use super::known_assets::KnownAssets;
use super::log_view::LogView;
use super::object_bytes::{self, ObjectFault, Recorded};
use super::options::{AuditOptions, AuditScope};
use super::report::{CursorGuard, Findings, ViolationKind};
use super::takedowns;
use mfctl_core::domain::asset::{DerivativeKind, RecordedDerivative};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectKey, ObjectRef, Stage};
use mfctl_core::ports::{AssetFilter, ObjectStore, Ports, Result};

/// Assets per page.
const PAGE: usize = 1000;
/// Number of assets whose objects are read back concurrently.
pub(super) const READERS: usize = 4;
/// The name of the catalog's assets in the report.
pub(super) const CATALOG_ASSETS: &str = "catalog: assets";

/// Checks that every asset has its events and, by reading them, its objects. Returns the assets. Where only sizes are
/// compared, the listings of the buckets show most objects, and [`check_unseen`] checks the others.
pub(super) async fn check_assets(scope: AuditScope<'_>, log: &LogView, findings: &mut Findings) -> Result<KnownAssets> {
    let AuditScope { ports, tenant, options, progress, .. } = scope;
    let mut known = KnownAssets::default();
    let filter = AssetFilter { tenant: Some(tenant.clone()), ..AssetFilter::default() };
    let mut cursor = None;
    let mut cursors = CursorGuard::default();
    loop {
        let page = ports.catalog.list(&filter, cursor.as_deref(), PAGE).await;
        let Some(page) = findings.readable(CATALOG_ASSETS, page)? else {
            findings.catalog_incomplete = true;
            break;
        };
        let is_listed = |asset: &Asset| !options.hash_objects && asset.state != AssetState::Staged;
        check_objects_of(scope, page.items.iter().filter(|asset| !is_listed(asset)), findings).await?;
        check_searchable(ports, &page.items, findings).await?;
        takedowns::check(scope, &page.items, findings).await?;
        for asset in &page.items {
            known.insert(asset, is_listed(asset));
            findings.report.derivatives += derivatives_of(asset).count() as u64;
            check_identity(asset, findings);
            check_events_of(asset, log, findings);
        }
        findings.report.assets += page.items.len() as u64;
        progress.done(findings.report.assets);
        let Some(next) = findings.readable(CATALOG_ASSETS, cursors.next(page.next))? else {
            findings.catalog_incomplete = true;
            break;
        };
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    if !findings.catalog_incomplete {
        check_events_have_assets(log, &known, findings);
    }
    Ok(known)
}

/// Checks the objects that no listing has shown as recorded, one by one.
pub(super) async fn check_unseen(scope: AuditScope<'_>, known: &KnownAssets, findings: &mut Findings) -> Result<()> {
    for ids in known.unseen().chunks(PAGE) {
        let assets = scope.ports.catalog.assets(ids).await;
        let Some(assets) = findings.readable(CATALOG_ASSETS, assets)? else { return Ok(()) };
        check_objects_of(scope, assets.iter(), findings).await?;
    }
    Ok(())
}

/// An asset's id follows from its tenant and digest: another one shows that the row is damaged.
pub(super) fn check_identity(asset: &Asset, findings: &mut Findings) {
    let expected = AssetId::of(&asset.tenant, &asset.sha256);
    if expected != asset.asset_id {
        let detail = format!("the row of asset {} has the SHA-256 of {expected}", asset.asset_id);
        findings.violation(ViolationKind::DamagedData, format!("{CATALOG_ASSETS}: {}", asset.asset_id), detail);
        // Which object and events are this asset's is then unknown.
        findings.catalog_incomplete = true;
    }
}

async fn check_objects_of(
    scope: AuditScope<'_>,
    assets: impl Iterator<Item = &Asset>,
    findings: &mut Findings,
) -> Result<()> {
    let AuditScope { ports, buckets, options, .. } = scope;
    let objects = ports.objects.as_ref();
    let checks = assets.map(|asset| async move {
        let originals = originals_of(objects, buckets, options, asset).await?;
        let derivatives = check_derivatives(objects, buckets, options, asset).await?;
        Ok::<_, mfctl_core::ports::Error>((asset, originals, derivatives))
    });
    let mut checks = futures_util::stream::iter(checks).buffered(READERS);
    while let Some(checked) = checks.next().await {
        let (asset, originals, derivatives) = checked?;
        for (fault, detail) in originals {
            let kind = match fault {
                ObjectFault::Missing => ViolationKind::MissingObject,
                ObjectFault::OtherBytes => ViolationKind::WrongObject,
                ObjectFault::Unreadable => ViolationKind::UnreadableObject,
            };
            findings.violation(kind, asset.asset_id, detail);
        }
        derivatives.into_iter().for_each(|derivative| derivative.report(options, findings));
    }
    Ok(())
}

/// The faults of an asset's original and, until it is persisted, of its staged object.
async fn originals_of(
    objects: &dyn ObjectStore,
    buckets: &Buckets,
    options: AuditOptions,
    asset: &Asset,
) -> Result<Vec<(ObjectFault, String)>> {
    let original =
        ObjectRef { bucket: buckets.originals.clone(), key: object_keys::original(&asset.tenant, &asset.sha256) };
    let recorded = Recorded { size_bytes: Some(asset.size_bytes), sha256: Some(asset.sha256) };
    let hashed = options.hash_objects;
    Ok(match asset.state {
        AssetState::Revoked => Vec::new(),
        AssetState::Ingested | AssetState::Enriched => {
            Vec::from_iter(object_bytes::check(objects, &original, recorded, hashed).await?)
        }
        AssetState::Staged => {
            let staged = object_bytes::check(objects, &asset.staging, recorded, hashed).await?;
            match (staged, object_bytes::check(objects, &original, recorded, hashed).await?) {
                // A worker died between its commit and its catalog write: the bytes are in the bucket of originals.
                (Some((ObjectFault::Missing, _)), None) => Vec::new(),
                // Not persisted yet.
                (staged, Some((ObjectFault::Missing, _))) => Vec::from_iter(staged),
                // The original of an earlier file with these bytes, perhaps damaged since.
                (staged, original) => staged.into_iter().chain(original).collect(),
            }
        }
    })
}

/// A derivative that was checked.
struct CheckedDerivative {
    at: String,
    has_digest: bool,
    fault: Option<(ObjectFault, String)>,
}

impl CheckedDerivative {
    fn report(self, options: AuditOptions, findings: &mut Findings) {
        if options.hash_objects && !self.has_digest {
            let reason = "an earlier release made them and did not record their SHA-256";
            findings.leave_out("bytes of derivatives", reason, 1);
        }
        let Some((fault, detail)) = self.fault else { return };
        let kind = match fault {
            ObjectFault::Missing => ViolationKind::MissingDerivative,
            ObjectFault::OtherBytes => ViolationKind::WrongDerivative,
            ObjectFault::Unreadable => ViolationKind::UnreadableObject,
        };
        findings.violation(kind, self.at, detail);
    }
}

/// The derivatives that an enriched asset refers to.
fn derivatives_of(asset: &Asset) -> impl Iterator<Item = RecordedDerivative> {
    let kinds = DerivativeKind::ALL.into_iter().filter(|_| asset.state == AssetState::Enriched);
    kinds.filter_map(|kind| asset.facts.derivative(kind))
}

async fn check_derivatives(
    objects: &dyn ObjectStore,
    buckets: &Buckets,
    options: AuditOptions,
    asset: &Asset,
) -> Result<Vec<CheckedDerivative>> {
    let mut checked = Vec::new();
    for derivative in derivatives_of(asset) {
        let at = format!("{}/{}", buckets.derived, derivative.key);
        let fault = match ObjectKey::new(derivative.key.as_str()) {
            Ok(key) => {
                let at = ObjectRef { bucket: buckets.derived.clone(), key };
                let recorded = Recorded { size_bytes: None, sha256: derivative.sha256 };
                object_bytes::check(objects, &at, recorded, options.hash_objects).await?
            }
            Err(error) => Some((ObjectFault::Missing, format!("the catalog's key cannot be used: {error}"))),
        };
        checked.push(CheckedDerivative { at, has_digest: derivative.sha256.is_some(), fault });
    }
    Ok(checked)
}

/// Whether the asset refers to this derivative.
pub(super) fn is_referenced(asset: &Asset, key: &ObjectKey) -> bool {
    let recorded = DerivativeKind::ALL.into_iter().filter_map(|kind| asset.facts.derivative(kind));
    recorded.map(|derivative| derivative.key).any(|recorded| recorded == key.as_str())
}

async fn check_searchable(ports: &Ports, assets: &[Asset], findings: &mut Findings) -> Result<()> {
    let checked: Vec<_> = assets.iter().filter(|asset| asset.state >= AssetState::Enriched).collect();
    let ids: Vec<AssetId> = checked.iter().map(|asset| asset.asset_id).collect();
    let Some(indexed) = findings.readable("search index", ports.search.indexed(&ids).await)? else {
        return Ok(());
    };
    for (asset, indexed) in checked.into_iter().zip(indexed) {
        match asset.state {
            AssetState::Enriched if !indexed => {
                let detail = "enriched, but the search index has no document of it";
                findings.violation(ViolationKind::NotSearchable, asset.asset_id, detail);
            }
            AssetState::Revoked if indexed => {
                let again = format!("`mfctl media takedown {} --reason TEXT` removes it", asset.asset_id);
                let detail = format!("taken down, but the search index has a document of it; {again}");
                findings.violation(ViolationKind::NotTakenDown, asset.asset_id, detail);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that the log has the events that an asset's state implies.
fn check_events_of(asset: &Asset, log: &LogView, findings: &mut Findings) {
    if asset.state == AssetState::Revoked {
        return;
    }
    let key = (asset.asset_id, asset.revision);
    let stages = [
        (Stage::Persist, AssetState::Ingested, asset.ingested_at),
        (Stage::Enrich, AssetState::Enriched, asset.enriched_at),
    ];
    for (stage, reached, reached_at) in stages {
        // The state is written before the event: while the input is pending, a worker will emit it (again).
        if asset.state >= reached && log.emitted(stage, key) == 0 && log.may_be_missing(stage, key) {
            if log.may_have_expired(stage, asset.asset_id, reached_at.unwrap_or(asset.staged_at)) {
                findings.report.unverifiable += 1;
                let reason = "retention may have removed them";
                findings.leave_out(&format!("events on {}", stage.output()), reason, 1);
            } else {
                let detail = format!("{} {reached}, but {} has no event of it", asset.revision, stage.output());
                findings.violation(ViolationKind::MissingEvent, asset.asset_id, detail);
            }
        }
    }
    check_pending(asset, log, findings);
}

/// Checks that a record is pending for every unfinished asset.
fn check_pending(asset: &Asset, log: &LogView, findings: &mut Findings) {
    let next = match asset.state {
        AssetState::Staged => Stage::Persist,
        AssetState::Ingested => Stage::Enrich,
        AssetState::Enriched | AssetState::Revoked => return,
    };
    let key = (asset.asset_id, asset.revision);
    // A staged row whose event was never acknowledged belongs to an unfinished job, which will publish it.
    let unpublished = asset.state == AssetState::Staged && asset.published_at.is_none();
    // An ingested asset whose persist input is not committed yet: its event comes with that commit.
    let awaits_commit = next == Stage::Enrich && log.is_pending(Stage::Persist, key);
    let waits = log.is_pending(next, key) || unpublished || awaits_commit;
    match asset_progress(asset, log) {
        AssetProgress::DeadLettered => {
            let stage = asset.dead_lettered.unwrap_or(next);
            if !log.is_dead(asset.asset_id, stage) && !waits && log.knows_dead_letters() {
                let detail = format!("flagged as dead-lettered in {stage}, but there is no dead letter of it");
                findings.violation(ViolationKind::FlagWithoutDeadLetter, asset.asset_id, detail);
            }
        }
        _ if !waits && !log.is_dead(asset.asset_id, next) && log.knows_pending(next) && log.knows_dead_letters() => {
            let detail = format!("is {}, and no event or dead letter would move it on to {next}", asset.state);
            findings.violation(ViolationKind::Lost, asset.asset_id, detail);
        }
        _ => {}
    }
}

fn check_events_have_assets(log: &LogView, known: &KnownAssets, findings: &mut Findings) {
    for (stage, reached) in [(Stage::Persist, AssetState::Ingested), (Stage::Enrich, AssetState::Enriched)] {
        for ((asset, revision), count) in log.pairs(stage) {
            let subject = format!("{asset}/{revision}@{}", stage.output());
            if count > 1 {
                findings.violation(ViolationKind::EmittedTwice, &subject, format!("emitted {count} times"));
            }
            match known.latest(asset) {
                None => findings.violation(ViolationKind::EventWithoutAsset, &subject, "the catalog has no such asset"),
                // The states of an earlier revision are not kept.
                Some((current, state)) if revision >= current && state < reached => {
                    let detail = format!("the catalog says it is only {state}");
                    findings.violation(ViolationKind::EventWithoutAsset, &subject, detail);
                }
                Some(_) => {}
            }
        }
    }
}
