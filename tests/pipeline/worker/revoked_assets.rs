//! Workers that meet assets that were taken down.

use std::sync::Arc;

use bytes::Bytes;
use mfctl::pipeline::withdrawal::AssetObjects;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, AssetState, ObjectRef, Revision, Sha256, Tenant, object_keys};
use mfctl_core::ports::{ErrorKind, PutOptions, TakedownRequest};
use mfctl_extract::sandbox::Parser;

use super::faulty_objects::{FaultyObjects, ReadCall};
use super::platform::Platform;

async fn revoke(platform: &Platform, asset: AssetId) {
    let request = TakedownRequest {
        asset_id: asset,
        revision: Revision::FIRST,
        reason: "court order".into(),
        actor: "operator@host".into(),
        at: platform.ports.clock.now(),
        purge: false,
    };
    assert!(platform.ports.catalog.revoke(vec![request]).await.unwrap()[0].is_some());
}

fn parser() -> Parser {
    Parser::forked_by(env!("CARGO_BIN_EXE_mfctl"))
}

/// As an earlier try of the asset's record leaves one, if its worker is killed before it looks at the asset again.
async fn store_derivative(platform: &Platform, asset: AssetId) -> ObjectRef {
    let bytes = Bytes::from_static(b"text");
    let key = object_keys::derived_text(asset, Revision::FIRST, &Sha256::of(&bytes));
    let at = ObjectRef { bucket: platform.buckets.derived.clone(), key };
    platform.ports.objects.put(&at, Arc::new(bytes), PutOptions::default()).await.unwrap();
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_of_a_revoked_asset_removes_what_an_earlier_try_stored() {
    let platform = Platform::new().await;
    let texts = ["taken down".to_owned(), "stays".to_owned()];
    let assets = platform.ingest_as(&Tenant::default(), "text/plain", &texts).await;
    revoke(&platform, assets[0]).await;
    let derivative = store_derivative(&platform, assets[0]).await;
    let outcome = platform.drain(platform.enrich(parser())).await;
    assert_eq!((outcome.summary.processed, outcome.summary.emitted, outcome.summary.dead_lettered), (2, 1, 0));
    assert_eq!(platform.ports.objects.head(&derivative).await.unwrap(), None);
    assert_eq!(platform.ports.search.indexed(&assets).await.unwrap(), [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_that_an_earlier_try_copied_is_archived() {
    let platform = Platform::new().await;
    let staged = platform.stage(&["taken down".to_owned()]).await;
    let asset = platform.asset(staged[0].0).await;
    let at = AssetObjects::of(&asset, &platform.buckets);
    platform.ports.objects.copy(&asset.staging, &at.original, &at.content).await.unwrap();
    revoke(&platform, asset.asset_id).await;
    platform.ports.log.publish(vec![staged[0].1.clone()]).await.unwrap();
    let outcome = platform.drain(platform.persist()).await;
    assert_eq!((outcome.summary.processed, outcome.summary.emitted), (1, 0));
    assert_eq!(platform.ports.objects.head(&at.original).await.unwrap(), None);
    assert_eq!(platform.ports.objects.head(&at.staged).await.unwrap(), None);
    assert!(platform.ports.objects.head(&at.archived).await.unwrap().is_some());
}

/// The takedown moves the original while enrich asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_whose_objects_a_takedown_removed_is_no_dead_letter() {
    let platform = Platform::new().await;
    let texts = ["taken down".to_owned(), "stays".to_owned()];
    let assets = platform.ingest_as(&Tenant::default(), "text/plain", &texts).await;
    let row = platform.asset(assets[0]).await;
    let at = AssetObjects::of(&row, &platform.buckets);
    let (catalog, inner) = (Arc::clone(&platform.ports.catalog), Arc::clone(&platform.ports.objects));
    let (taken, original) = (at.clone(), at.original.clone());
    let runtime = tokio::runtime::Handle::current();
    let now = platform.ports.clock.now();
    let objects = FaultyObjects::new(&platform.ports.objects, move |call, asked| {
        if call != ReadCall::Bytes || asked != Some(&original) {
            return None;
        }
        let request = TakedownRequest {
            asset_id: row.asset_id,
            revision: Revision::FIRST,
            reason: "court order".into(),
            actor: "operator@host".into(),
            at: now,
            purge: false,
        };
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                catalog.revoke(vec![request]).await.unwrap();
                inner.copy_verified(&taken.original, &taken.archived, &taken.content).await.unwrap();
                inner.delete(std::slice::from_ref(&taken.original)).await.unwrap();
            });
        });
        Some(ErrorKind::NotFound)
    });
    let step = mfctl::pipeline::enrich::Enrich { objects, ..platform.enrich(parser()) };
    let outcome = platform.drain(step).await;
    assert_eq!((outcome.summary.emitted, outcome.summary.dead_lettered), (1, 0));
    assert!(platform.records(&topics::MEDIA_INGESTED.dead_letters()).await.is_empty());
    assert_eq!(platform.asset(assets[0]).await.state, AssetState::Revoked);
    assert!(platform.ports.objects.head(&at.archived).await.unwrap().is_some());
}
