//! Checks assets against objects and events, and objects against assets.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::StreamExt;

use super::files::{AssetProgress, asset_progress};
use super::log_view::LogView;
use super::options::{AuditOptions, AuditProgress};
use super::report::{Findings, ViolationKind};
use crate::ops::digest;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{
    Asset, AssetId, AssetState, BucketName, EventId, JobId, ObjectKey, ObjectRef, Sha256, Stage, Tenant,
};
use mfctl_core::humane;
use mfctl_core::ports::{AssetFilter, Error, ErrorKind, ListedObject, ObjectListing, ObjectStore, Ports, Result};

/// Assets or objects per page.
const PAGE: usize = 1000;
/// Number of originals that are read back concurrently.
const READERS: usize = 4;

/// Checks that every asset has its object and its events.
pub(super) async fn check_assets(
    ports: &Ports,
    tenant: &Tenant,
    log: &LogView,
    buckets: &Buckets,
    options: AuditOptions,
    findings: &mut Findings,
    progress: &dyn AuditProgress,
) -> Result<()> {
    findings.report.hashed = options.hash_objects;
    let mut known: HashMap<AssetId, AssetState> = HashMap::new();
    let filter = AssetFilter { tenant: Some(tenant.clone()), ..AssetFilter::default() };
    let mut cursor = None;
    loop {
        let page = ports.catalog.list(&filter, cursor.as_deref(), PAGE).await?;
        check_objects_of(ports, buckets, options, &page.items, findings).await?;
        check_searchable(ports, &page.items, findings).await?;
        for asset in &page.items {
            known.insert(asset.asset_id, asset.state);
            check_events_of(asset, log, findings);
        }
        findings.report.assets += page.items.len() as u64;
        progress.done(findings.report.assets);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    check_events_have_assets(log, &known, findings);
    Ok(())
}

async fn check_objects_of(
    ports: &Ports,
    buckets: &Buckets,
    options: AuditOptions,
    assets: &[Asset],
    findings: &mut Findings,
) -> Result<()> {
    let mut checks = futures_util::stream::iter(
        assets
            .iter()
            .map(|asset| async move { (asset, object_of(ports.objects.as_ref(), buckets, options, asset).await) }),
    )
    .buffered(READERS);
    while let Some((asset, checked)) = checks.next().await {
        if let Some((kind, detail)) = checked? {
            findings.violation(kind, asset.asset_id, detail);
        }
    }
    Ok(())
}

/// The violation of an asset's object, if there is one.
async fn object_of(
    objects: &dyn ObjectStore,
    buckets: &Buckets,
    options: AuditOptions,
    asset: &Asset,
) -> Result<Option<(ViolationKind, String)>> {
    let original =
        ObjectRef { bucket: buckets.originals.clone(), key: object_keys::original(&asset.tenant, &asset.sha256) };
    let at = match asset.state {
        AssetState::Revoked => return Ok(None),
        AssetState::Staged => match objects.head(&asset.staging).await? {
            Some(_) => asset.staging.clone(),
            // A worker died between its commit and its catalog write: the bytes are in the bucket of originals.
            None => original,
        },
        AssetState::Ingested | AssetState::Enriched => original,
    };
    let Some(info) = objects.head(&at).await? else {
        return Ok(Some((ViolationKind::MissingObject, format!("{at} is not there"))));
    };
    if info.size_bytes != asset.size_bytes {
        let detail = format!("{at} has {} bytes, the catalog says {}", info.size_bytes, asset.size_bytes);
        return Ok(Some((ViolationKind::WrongObject, detail)));
    }
    if !options.hash_objects {
        return Ok(None);
    }
    match hash(objects, &at).await {
        Ok(sha256) if sha256 == asset.sha256 => Ok(None),
        Ok(sha256) => {
            Ok(Some((ViolationKind::WrongObject, format!("{at} has SHA-256 {sha256}, not {}", asset.sha256))))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Some((ViolationKind::MissingObject, format!("{at} went away while it was read"))))
        }
        Err(error) => Err(error),
    }
}

/// The SHA-256 of an object, read back.
async fn hash(objects: &dyn ObjectStore, at: &ObjectRef) -> Result<Sha256> {
    let read = digest::sha256_of(objects.open(at).await?).await;
    read.map_err(|error| Error::new(ErrorKind::Unreachable, format!("read {at}")).because(error))
}

async fn check_searchable(ports: &Ports, assets: &[Asset], findings: &mut Findings) -> Result<()> {
    let enriched: Vec<_> =
        assets.iter().filter(|asset| asset.state == AssetState::Enriched).map(|asset| asset.asset_id).collect();
    let indexed = ports.search.indexed(&enriched).await?;
    for (asset, _) in enriched.iter().zip(indexed).filter(|(_, indexed)| !indexed) {
        findings.violation(ViolationKind::NotSearchable, asset, "enriched, but the search index has no document of it");
    }
    Ok(())
}

/// Checks that the log has the events that an asset's state implies.
fn check_events_of(asset: &Asset, log: &LogView, findings: &mut Findings) {
    if asset.state == AssetState::Revoked {
        return;
    }
    let key = (asset.asset_id, asset.revision);
    for (stage, reached) in [(Stage::Persist, AssetState::Ingested), (Stage::Enrich, AssetState::Enriched)] {
        // The state is written before the event: while the input is pending, a worker will emit it (again).
        if asset.state >= reached && log.emitted(stage, key) == 0 && !log.is_pending(stage, key) {
            if log.is_cut(stage) {
                findings.report.unverifiable += 1;
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
            if !log.is_dead(asset.asset_id, stage) && !waits {
                let detail = format!("flagged as dead-lettered in {stage}, but there is no dead letter of it");
                findings.violation(ViolationKind::FlagWithoutDeadLetter, asset.asset_id, detail);
            }
        }
        _ if !waits && !log.is_dead(asset.asset_id, next) => {
            let detail = format!("is {}, and no event or dead letter would move it on to {next}", asset.state);
            findings.violation(ViolationKind::Lost, asset.asset_id, detail);
        }
        _ => {}
    }
}

fn check_events_have_assets(log: &LogView, known: &HashMap<AssetId, AssetState>, findings: &mut Findings) {
    for (stage, reached) in [(Stage::Persist, AssetState::Ingested), (Stage::Enrich, AssetState::Enriched)] {
        for ((asset, revision), count) in log.pairs(stage) {
            let subject = format!("{asset}/{revision}@{}", stage.output());
            if count > 1 {
                findings.violation(ViolationKind::EmittedTwice, &subject, format!("emitted {count} times"));
            }
            match known.get(&asset) {
                None => findings.violation(ViolationKind::EventWithoutAsset, &subject, "the catalog has no such asset"),
                Some(state) if *state < reached => {
                    let detail = format!("the catalog says it is only {state}");
                    findings.violation(ViolationKind::EventWithoutAsset, &subject, detail);
                }
                Some(_) => {}
            }
        }
    }
}

/// The owner of an object, by its key.
enum ObjectOwner {
    Asset(AssetId),
    /// Another tenant than the audit's.
    OtherTenant,
    Unknown,
}

/// Checks that every object belongs to an asset or a job.
pub(super) async fn check_objects(
    ports: &Ports,
    tenant: &Tenant,
    buckets: &Buckets,
    findings: &mut Findings,
    progress: &dyn AuditProgress,
) -> Result<()> {
    let mut owners = OwnerIndex { tenant, others: HashSet::new() };
    // Originals before derivatives, whose keys do not contain the tenant.
    for bucket in [&buckets.staging, &buckets.originals, &buckets.derived] {
        let mut after: Option<ObjectKey> = None;
        loop {
            let listing = ports.objects.list(bucket, "", after.as_ref(), PAGE).await?;
            check_foreign(bucket, &listing, findings);
            let mut page = listing.objects;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            page.retain(|object| object.key != object_keys::marker());
            check_page(ports, buckets, bucket, &page, &mut owners, findings).await?;
            progress.done(findings.report.objects + findings.report.objects_of_others);
        }
    }
    Ok(())
}

/// Objects with keys that mfctl never uses are orphans.
fn check_foreign(bucket: &BucketName, listing: &ObjectListing, findings: &mut Findings) {
    findings.report.objects += listing.foreign;
    for key in &listing.foreign_keys {
        let detail = "mfctl does not create such keys: another program stored it";
        findings.violation(ViolationKind::OrphanObject, format!("{bucket}/{key}"), detail);
    }
    let unnamed = listing.foreign - listing.foreign_keys.len() as u64;
    if unnamed > 0 {
        let detail = format!("{} more have keys that mfctl never gives", humane::counted(unnamed, "object", "objects"));
        findings.violation(ViolationKind::OrphanObject, bucket, detail);
    }
}

async fn check_page(
    ports: &Ports,
    buckets: &Buckets,
    bucket: &BucketName,
    page: &[ListedObject],
    owners: &mut OwnerIndex<'_>,
    findings: &mut Findings,
) -> Result<()> {
    if *bucket == buckets.staging {
        for object in page {
            if owners.is_staged_by_other(&object.key) {
                findings.report.objects_of_others += 1;
                continue;
            }
            findings.report.objects += 1;
            let at = ObjectRef { bucket: bucket.clone(), key: object.key.clone() };
            check_staged(ports, &at, findings).await?;
        }
        return Ok(());
    }
    let page: Vec<_> = page.iter().map(|object| (object, owners.of(&object.key))).collect();
    let ids = page.iter().filter_map(|(_, owner)| if let ObjectOwner::Asset(id) = owner { Some(*id) } else { None });
    let ids: Vec<_> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let known: HashMap<_, _> =
        ports.catalog.assets(&ids).await?.into_iter().map(|asset| (asset.asset_id, asset)).collect();
    for (object, owner) in page {
        let asset = match owner {
            ObjectOwner::OtherTenant => {
                findings.report.objects_of_others += 1;
                continue;
            }
            ObjectOwner::Asset(id) => known.get(&id),
            ObjectOwner::Unknown => None,
        };
        findings.report.objects += 1;
        match asset {
            None => findings.violation(
                ViolationKind::OrphanObject,
                format!("{bucket}/{}", object.key),
                "belongs to no asset of the catalog",
            ),
            Some(asset) if is_leftover(asset, &object.key) => findings.report.garbage += 1,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Assigns objects to their owners.
struct OwnerIndex<'a> {
    tenant: &'a Tenant,
    /// Assets of other tenants, from their originals: 16 bytes each.
    others: HashSet<AssetId>,
}

impl OwnerIndex<'_> {
    /// The owner of an original or a derivative.
    fn of(&mut self, key: &ObjectKey) -> ObjectOwner {
        let parts: Vec<_> = key.as_str().split('/').collect();
        match parts[..] {
            [tenant, "sha256", _, _, sha256] => {
                let (Ok(tenant), Ok(sha256)) = (tenant.parse::<Tenant>(), sha256.parse()) else {
                    return ObjectOwner::Unknown;
                };
                let asset = AssetId::of(&tenant, &sha256);
                if object_keys::original(&tenant, &sha256) != *key {
                    ObjectOwner::Unknown
                } else if tenant == *self.tenant {
                    ObjectOwner::Asset(asset)
                } else {
                    self.others.insert(asset);
                    ObjectOwner::OtherTenant
                }
            }
            [asset, revision, _] if revision.parse::<u32>().is_ok() => match asset.parse() {
                Ok(asset) if self.others.contains(&asset) => ObjectOwner::OtherTenant,
                Ok(asset) => ObjectOwner::Asset(asset),
                Err(_) => ObjectOwner::Unknown,
            },
            _ => ObjectOwner::Unknown,
        }
    }

    fn is_staged_by_other(&self, key: &ObjectKey) -> bool {
        let parts: Vec<_> = key.as_str().split('/').collect();
        let [tenant, job, event] = parts[..] else { return false };
        let staged = job.parse::<JobId>().is_ok() && event.parse::<EventId>().is_ok();
        staged && tenant.parse::<Tenant>().is_ok_and(|tenant| tenant != *self.tenant)
    }
}

/// Whether the object is a derivative that its enriched asset does not reference.
fn is_leftover(asset: &Asset, key: &ObjectKey) -> bool {
    let named = [&asset.facts.text_key, &asset.facts.thumbnail_key];
    let derived = key.as_str().starts_with(&asset.asset_id.to_string());
    derived && asset.state == AssetState::Enriched && !named.iter().any(|name| name.as_deref() == Some(key.as_str()))
}

/// Checks that a staged object awaits its event, is a leftover of a committed one, or belongs to an unfinished job.
async fn check_staged(ports: &Ports, at: &ObjectRef, findings: &mut Findings) -> Result<()> {
    let parts: Vec<_> = at.key.as_str().split('/').collect();
    let (job, event) = match parts[..] {
        [_, job, event] => (job.parse::<JobId>().ok(), event.parse::<EventId>().ok()),
        _ => (None, None),
    };
    if let Some(event) = event
        && let Some(asset) = ports.catalog.asset_of_event(event).await?
    {
        let asset = ports.catalog.assets(&[asset]).await?.pop();
        if asset.is_some_and(|asset| asset.state != AssetState::Staged || asset.staging != *at) {
            findings.report.garbage += 1;
        }
        return Ok(());
    }
    let known = match job {
        Some(job) => {
            ports.journal.job(job).await?.is_some() || !ports.catalog.job_outcomes(job, None, 1).await?.items.is_empty()
        }
        None => false,
    };
    if known {
        findings.report.garbage += 1;
    } else {
        findings.violation(ViolationKind::OrphanObject, at, "belongs to no event and no job");
    }
    Ok(())
}
