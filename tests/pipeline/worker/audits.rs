//! Audits of platforms whose early events are gone, and the requests that an audit makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mfctl::ops::audit::{self, AuditOptions, AuditReport, ViolationKind};
use mfctl_core::domain::asset::AssetFacts;
use mfctl_core::domain::names::topics::MEDIA_INGESTED;
use mfctl_core::domain::{AssetId, AssetState, NewRecord, ObjectKey, ObjectRef, Revision, Stage, Tenant, Timestamp};
use mfctl_core::domain::{Headers, object_keys, partition};
use mfctl_core::ports::{ObjectStore, Ports, PutOptions, StateTransition};

use super::faulty_objects::{FaultyObjects, ReadCall};
use super::hidden_records::NoProgress;
use super::platform::Platform;

/// An audit that compares sizes alone.
async fn audit_sizes(platform: &Platform, objects: Arc<dyn ObjectStore>) -> AuditReport {
    let ports = Ports { objects, ..platform.ports.clone() };
    let options = AuditOptions { hash_objects: false, second_look_after: Duration::ZERO };
    let tenant = Tenant::default();
    audit::run(&ports, &platform.env, &tenant, Path::new("/none"), options, &NoProgress).await.unwrap()
}

/// The subjects of the violations of this kind.
fn subjects(report: &AuditReport, kind: ViolationKind) -> Vec<String> {
    report.violations.iter().filter(|found| found.kind == kind).map(|found| found.subject.clone()).collect()
}

fn days_ago(platform: &Platform, days: i64) -> Timestamp {
    platform.ports.clock.now().checked_sub(jiff::SignedDuration::from_hours(24 * days)).unwrap()
}

async fn advance(platform: &Platform, asset_id: AssetId, to: AssetState, at: Timestamp, facts: Option<AssetFacts>) {
    let stage = if to == AssetState::Ingested { Stage::Persist } else { Stage::Enrich };
    let transition = StateTransition { asset_id, revision: Revision::FIRST, to, at, facts, stage };
    platform.ports.catalog.advance(vec![transition]).await.unwrap();
}

/// A record of `media.ingested` with a key of this partition.
fn record(partition: u32, timestamp: Timestamp) -> NewRecord {
    let mut keys = (0..).map(|number| format!("key {number}"));
    let key = keys.find(|key| partition::partition_for_key(key.as_bytes(), 3) == partition).unwrap();
    let value = Some("text".into());
    NewRecord {
        topic: MEDIA_INGESTED,
        partition: None,
        key: Some(key.into()),
        value,
        headers: Headers::default(),
        timestamp,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_retention_cannot_have_removed_is_missing_on_a_topic_that_it_has_shortened() {
    let platform = Platform::new().await;
    let staged = platform.stage(&["before retention".to_owned(), "within retention".to_owned()]).await;
    let [old, young] = [staged[0].0, staged[1].0];
    advance(&platform, old, AssetState::Ingested, days_ago(&platform, 30), None).await;
    advance(&platform, young, AssetState::Ingested, days_ago(&platform, 2), None).await;
    for days in [40, 10] {
        let records = (0..3).map(|partition| record(partition, days_ago(&platform, days)));
        platform.ports.log.publish(records.collect()).await.unwrap();
    }
    platform.ports.log.run_retention(platform.ports.clock.now()).await.unwrap();
    let offsets = platform.ports.log.offsets(&[MEDIA_INGESTED]).await.unwrap();
    assert!(offsets.iter().all(|partition| partition.span.low == 1), "{offsets:?}");

    let report = audit_sizes(&platform, Arc::clone(&platform.ports.objects)).await;
    assert_eq!(subjects(&report, ViolationKind::MissingEvent), [young.to_string()], "{report:?}");
    assert_eq!(report.unverifiable, 1, "{report:?}");
    let part = report.unchecked.iter().find(|unchecked| unchecked.part == "events on media.ingested");
    assert_eq!(part.map(|part| (part.count, part.failed)), Some((Some(1), false)), "{report:?}");
}

/// The number of calls of each kind.
#[derive(Default)]
struct Requests {
    heads: AtomicUsize,
    lists: AtomicUsize,
}

impl Requests {
    /// The store, with its calls counted.
    fn of(platform: &Platform) -> (Arc<Self>, Arc<dyn ObjectStore>) {
        let requests = Arc::new(Self::default());
        let counted = Arc::clone(&requests);
        let store = FaultyObjects::new(&platform.ports.objects, move |call, _| {
            match call {
                ReadCall::Head => drop(counted.heads.fetch_add(1, Ordering::SeqCst)),
                ReadCall::List => drop(counted.lists.fetch_add(1, Ordering::SeqCst)),
                ReadCall::Copy | ReadCall::Bytes => {}
            }
            None
        });
        (requests, store)
    }

    fn counts(&self) -> (usize, usize) {
        (self.heads.load(Ordering::SeqCst), self.lists.load(Ordering::SeqCst))
    }
}

async fn put(platform: &Platform, at: &ObjectRef, text: &str) {
    let bytes = Arc::new(Bytes::from(text.to_owned()));
    platform.ports.objects.put(at, bytes, PutOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_of_sizes_asks_only_for_objects_that_the_listings_do_not_show_as_recorded() {
    const ASSETS: usize = 30;
    let platform = Platform::new().await;
    let assets = platform.ingest(ASSETS).await;
    platform.drain(platform.persist()).await;
    let derived = |asset: AssetId| {
        let key = ObjectKey::new(format!("{asset}/1/text.txt")).unwrap();
        ObjectRef { bucket: platform.buckets.derived.clone(), key }
    };
    for asset in &assets {
        put(&platform, &derived(*asset), "text").await;
        let facts = AssetFacts { text_key: Some(derived(*asset).key.to_string()), ..AssetFacts::default() };
        advance(&platform, *asset, AssetState::Enriched, platform.ports.clock.now(), Some(facts)).await;
    }
    let of_objects = |report: &AuditReport| -> BTreeMap<String, ViolationKind> {
        use ViolationKind::{MissingDerivative, MissingObject, OrphanObject, UnreadableObject, WrongObject};
        let kinds = [MissingObject, WrongObject, MissingDerivative, OrphanObject, UnreadableObject];
        kinds.into_iter().flat_map(|kind| subjects(report, kind).into_iter().map(move |of| (of, kind))).collect()
    };

    let (requests, store) = Requests::of(&platform);
    let report = audit_sizes(&platform, store).await;
    assert_eq!(of_objects(&report), BTreeMap::new(), "{report:?}");
    assert_eq!((report.assets, report.derivatives, report.objects), (30, 30, 60), "{report:?}");
    let passes = if report.violation_count > 0 { 2 } else { 1 };
    let (heads, lists) = requests.counts();
    assert_eq!(heads, 0, "one for each of 60 objects without the listings");
    assert!(lists <= passes * 2 * 3, "{lists} requests to list three buckets {passes} times");

    let original = |asset: AssetId| {
        let platform = &platform;
        async move {
            let asset = platform.asset(asset).await;
            let key = object_keys::original(&asset.tenant, &asset.sha256);
            ObjectRef { bucket: platform.buckets.originals.clone(), key }
        }
    };
    platform.ports.objects.delete(&[original(assets[3]).await, derived(assets[5])]).await.unwrap();
    put(&platform, &original(assets[7]).await, "other bytes").await;
    let (requests, store) = Requests::of(&platform);
    let report = audit_sizes(&platform, store).await;
    let expected = BTreeMap::from([
        (assets[3].to_string(), ViolationKind::MissingObject),
        (derived(assets[5]).to_string(), ViolationKind::MissingDerivative),
        (assets[7].to_string(), ViolationKind::WrongObject),
    ]);
    assert_eq!(of_objects(&report), expected, "{report:?}");
    // An original and a derivative of each of three assets, in two passes.
    assert_eq!(requests.counts().0, 12);
}
