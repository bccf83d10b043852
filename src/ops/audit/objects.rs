//! Checks objects against assets; without a readable catalog, against the digests in their own keys.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::StreamExt;

use super::assets::{CATALOG_ASSETS, READERS, check_identity, is_referenced};
use super::kept;
use super::known_assets::KnownAssets;
use super::log_view::LogView;
use super::object_bytes::{self, ObjectFault, Recorded};
use super::options::{AuditOptions, AuditProgress, AuditScope};
use super::report::{Findings, ViolationKind};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, BucketName, EventId, JobId, ObjectKey, ObjectRef, Tenant};
use mfctl_core::humane;
use mfctl_core::ports::{ListedObject, ObjectListing, ObjectStore, Result};

/// Assets or objects per page.
const PAGE: usize = 1000;

/// The owner of an object, by its key.
enum ObjectOwner {
    Asset(AssetId),
    /// The archive's, for an asset that was taken down.
    ArchivedFor(AssetId),
    /// Another tenant than the audit's.
    OtherTenant,
    Unknown,
}

/// Checks that every object belongs to an asset or a job, and notes the objects of `known` assets that are as recorded.
pub(super) async fn check_objects(
    scope: AuditScope<'_>,
    log: &LogView,
    known: &mut KnownAssets,
    findings: &mut Findings,
) -> Result<()> {
    let AuditScope { ports, tenant, buckets, options, progress } = scope;
    let mut owners = OwnerIndex { tenant, others: HashSet::new() };
    // Originals before derivatives, whose keys do not contain the tenant.
    for bucket in [&buckets.staging, &buckets.originals, &buckets.derived] {
        let mut after: Option<ObjectKey> = None;
        while !findings.catalog_incomplete {
            let Some(page) = next_page(ports.objects.as_ref(), bucket, after.as_ref(), findings).await? else { break };
            after = page.last().map(|object| object.key.clone());
            let mut page = page;
            if bucket == buckets.kept_records() {
                check_kept_records(&mut page, log, findings);
            }
            check_page(scope, bucket, &page, &mut owners, known, findings).await?;
            progress.done(findings.report.objects + findings.report.objects_of_others);
        }
    }
    if findings.catalog_incomplete {
        let reason = "the catalog cannot be read";
        findings.could_not_check("owners of objects", reason);
        check_by_key(ports.objects.as_ref(), buckets, options, findings, progress).await?;
    }
    Ok(())
}

/// Checks objects by the digests in their keys, which needs no catalog.
pub(super) async fn check_by_key(
    objects: &dyn ObjectStore,
    buckets: &Buckets,
    options: AuditOptions,
    findings: &mut Findings,
    progress: &dyn AuditProgress,
) -> Result<()> {
    findings.report.objects = 0;
    findings.report.objects_of_others = 0;
    for bucket in buckets.all() {
        let mut after: Option<ObjectKey> = None;
        while let Some(page) = next_page(objects, bucket, after.as_ref(), findings).await? {
            after = page.last().map(|object| object.key.clone());
            let checks = page.iter().filter(|object| object.key != object_keys::marker()).map(|object| async move {
                let at = ObjectRef { bucket: bucket.clone(), key: object.key.clone() };
                let sha256 = object_keys::digest_in_key(&object.key);
                let recorded = Recorded { size_bytes: None, sha256 };
                let checked = object_bytes::check(objects, &at, recorded, options.hash_objects).await;
                (at, sha256.is_some(), checked)
            });
            let mut checks = futures_util::stream::iter(checks).buffered(READERS);
            while let Some((at, has_digest, checked)) = checks.next().await {
                findings.report.objects += 1;
                if !has_digest {
                    findings.leave_out("bytes of objects", "their keys contain no digest", 1);
                }
                match checked? {
                    // Deleted since it was listed.
                    None | Some((ObjectFault::Missing, _)) => {}
                    Some((ObjectFault::OtherBytes, detail)) => {
                        findings.violation(ViolationKind::WrongObject, at, detail);
                    }
                    Some((ObjectFault::Unreadable, detail)) => {
                        findings.violation(ViolationKind::UnreadableObject, at, detail);
                    }
                }
            }
            progress.done(findings.report.objects);
        }
    }
    Ok(())
}

/// The next objects of a bucket; `None` at its end, or if it cannot be listed, which is then in the report.
async fn next_page(
    objects: &dyn ObjectStore,
    bucket: &BucketName,
    after: Option<&ObjectKey>,
    findings: &mut Findings,
) -> Result<Option<Vec<ListedObject>>> {
    let part = format!("bucket {bucket}");
    let listing = objects.list(bucket, "", after, PAGE).await;
    let Some(listing) = findings.readable(&part, listing)? else { return Ok(None) };
    check_foreign(bucket, &listing, findings);
    Ok(Some(listing.objects).filter(|page| !page.is_empty()))
}

/// Takes the records that are kept for dead letters out of a page. Those that no unresolved dead letter needs are leftovers.
fn check_kept_records(page: &mut Vec<ListedObject>, log: &LogView, findings: &mut Findings) {
    page.retain(|object| {
        let is_kept_record = kept::is_kept_record(&object.key);
        if is_kept_record {
            findings.report.objects += 1;
            findings.report.garbage += u64::from(log.knows_dead_letters() && !log.stubs().need(&object.key));
        }
        !is_kept_record
    });
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
    scope: AuditScope<'_>,
    bucket: &BucketName,
    page: &[ListedObject],
    owners: &mut OwnerIndex<'_>,
    known: &mut KnownAssets,
    findings: &mut Findings,
) -> Result<()> {
    let AuditScope { ports, buckets, .. } = scope;
    let page = page.iter().filter(|object| object.key != object_keys::marker());
    if *bucket == buckets.staging {
        for object in page {
            if owners.is_staged_by_other(&object.key) {
                findings.report.objects_of_others += 1;
                continue;
            }
            findings.report.objects += 1;
            let at = ObjectRef { bucket: bucket.clone(), key: object.key.clone() };
            let staged = owner_of_staged(scope, &at).await;
            match findings.readable("catalog and journal: owners of staged objects", staged)? {
                Some(StagedOwner::Awaited) | None => {}
                Some(StagedOwner::Leftover) => findings.report.garbage += 1,
                Some(StagedOwner::Revoked(asset)) => {
                    findings.violation(ViolationKind::NotTakenDown, at, removed_again("a staged object", asset, ""));
                }
                Some(StagedOwner::None) => {
                    findings.violation(ViolationKind::OrphanObject, at, "belongs to no event and no job");
                }
            }
        }
        return Ok(());
    }
    let page: Vec<_> = page.map(|object| (object, owners.of(&object.key))).collect();
    let ids = page.iter().filter_map(|(_, owner)| match owner {
        ObjectOwner::Asset(id) | ObjectOwner::ArchivedFor(id) => Some(*id),
        ObjectOwner::OtherTenant | ObjectOwner::Unknown => None,
    });
    let ids: Vec<_> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let Some(assets) = findings.readable(CATALOG_ASSETS, ports.catalog.assets(&ids).await)? else {
        findings.catalog_incomplete = true;
        return Ok(());
    };
    assets.iter().for_each(|asset| check_identity(asset, findings));
    let assets: HashMap<_, _> = assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
    for (object, owner) in page {
        let asset = match owner {
            ObjectOwner::OtherTenant => {
                findings.report.objects_of_others += 1;
                continue;
            }
            ObjectOwner::Asset(id) | ObjectOwner::ArchivedFor(id) => assets.get(&id),
            ObjectOwner::Unknown => None,
        };
        findings.report.objects += 1;
        let is_archived = matches!(owner, ObjectOwner::ArchivedFor(_));
        let is_revoked = asset.is_some_and(|asset| asset.state == AssetState::Revoked);
        if let Some(asset) = asset.filter(|_| !is_archived) {
            known.take(asset, buckets, bucket, object);
        }
        match asset {
            Some(_) if is_archived && is_revoked => findings.report.archived += 1,
            Some(_) if is_archived => findings.report.garbage += 1,
            Some(asset) if is_revoked => {
                let (what, unless) = match *bucket == buckets.derived {
                    true => ("a derivative", ""),
                    false => ("an original outside of the archive", ", with --purge if it is damaged"),
                };
                let detail = removed_again(what, asset.asset_id, unless);
                findings.violation(ViolationKind::NotTakenDown, format!("{bucket}/{}", object.key), detail);
            }
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

/// What is stored of an asset that was taken down, and the command that removes it.
fn removed_again(what: &str, asset: AssetId, unless: &str) -> String {
    format!("{what} of an asset that was taken down; `mfctl media takedown {asset} --reason TEXT` removes it{unless}")
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
        if let Some((tenant, sha256)) = object_keys::parse_archived_original(key) {
            let asset = AssetId::of(&tenant, &sha256);
            if tenant == *self.tenant {
                return ObjectOwner::ArchivedFor(asset);
            }
            self.others.insert(asset);
            return ObjectOwner::OtherTenant;
        }
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
    let derived = key.as_str().starts_with(&asset.asset_id.to_string());
    derived && asset.state == AssetState::Enriched && !is_referenced(asset, key)
}

/// Why a staged object is there.
enum StagedOwner {
    /// Its event is not processed yet.
    Awaited,
    /// It is left over from a processed event, or belongs to a job.
    Leftover,
    /// It is the staged object of this asset, which was taken down.
    Revoked(AssetId),
    None,
}

/// The event or job that a staged object belongs to.
async fn owner_of_staged(scope: AuditScope<'_>, at: &ObjectRef) -> Result<StagedOwner> {
    let AuditScope { ports, tenant, .. } = scope;
    let parts: Vec<_> = at.key.as_str().split('/').collect();
    let (job, event) = match parts[..] {
        [_, job, event] => (job.parse::<JobId>().ok(), event.parse::<EventId>().ok()),
        _ => (None, None),
    };
    if let Some(event) = event
        && let Some(asset) = ports.catalog.asset_of_event(event).await?
    {
        return Ok(match ports.catalog.assets(&[asset]).await?.pop() {
            Some(asset) if asset.staging != *at => StagedOwner::Leftover,
            Some(Asset { asset_id, state: AssetState::Revoked, .. }) => StagedOwner::Revoked(asset_id),
            Some(asset) if asset.state != AssetState::Staged => StagedOwner::Leftover,
            _ => StagedOwner::Awaited,
        });
    }
    let known = match job {
        // A job that has not reported any file yet is known by its lease.
        Some(job) => ports.journal.job(job).await?.is_some() || ports.jobs.job(tenant, job).await?.is_some(),
        None => false,
    };
    Ok(if known { StagedOwner::Leftover } else { StagedOwner::None })
}
